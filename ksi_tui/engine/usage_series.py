"""Answers `completion:series`: what charts are drawn from, out of the store's sums.

Steps are aligned to the clock, not to now: a picture of them moves on and does not shimmer.
Building the lists is given to a thread, since a week by model has ten thousands of numbers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ksi_tui.engine.clock import iso
from ksi_tui.engine.store.base import Reader
from ksi_tui.engine.store.series import SeriesPoint, SeriesQuery
from ksi_tui.engine.usage_payloads import Series

STEPS_S: Final = tuple(
    [60 * minutes for minutes in (1, 2, 3, 5, 10, 15, 20, 30)]
    + [3600 * hours for hours in (1, 2, 3, 4, 6, 8, 12, 24, 48, 96)]
)
"""Steps that a person can read off an axis; each divides a day, or is whole days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The steps of one answer. The newest is still running: it covers `last_s` seconds so far."""

    start: int
    step_s: int
    count: int
    last_s: float

    @classmethod
    def over(cls, hours: float, points: int, now: float) -> Steps:
        """Return the shortest steps that cover `hours` up to now with no more than `points`."""
        span_s = hours * 3600
        step_s = next(step for step in STEPS_S if step * points >= span_s)
        count = -int(-span_s // step_s)
        last = int(now // step_s) * step_s
        start = last - (count - 1) * step_s
        return cls(start=start, step_s=step_s, count=count, last_s=max(1.0, now - last))

    @property
    def end(self) -> int:
        """Where the newest step will end, epoch seconds."""
        return self.start + self.count * self.step_s

    def rates(self, sums: Sequence[float], per_s: float = 1.0) -> list[float]:
        """Return what was summed in each step as a rate, per second times `per_s`."""
        widths = [float(self.step_s)] * (self.count - 1) + [self.last_s]
        return [
            round(amount * per_s / width, 9) for amount, width in zip(sums, widths, strict=True)
        ]


async def series_report(store: Reader, data: Series, now: float) -> dict[str, Any]:
    """Return the reply. Names with the most tokens come first; the rest is summed as `others`.

    `tokens` are those of the answers, as the live trend counts them. A cost is null where no
    call of the step has a price, a mean where no answer ended in it. `since` tells from when on
    there are sums at all: before it, nothing is known.
    """
    steps = Steps.over(data.hours, data.points, now)
    query = SeriesQuery(low=steps.start, high=steps.end, step_s=steps.step_s, by=data.by)
    since, points = await store.series(query)
    reply = await asyncio.to_thread(_reply, points, steps, data)
    return {**reply, "since": None if since is None else iso(float(since))}


def _reply(points: Sequence[SeriesPoint], steps: Steps, data: Series) -> dict[str, Any]:
    by_name: dict[str, list[SeriesPoint]] = {}
    for point in points:
        by_name.setdefault(point.name, []).append(point)
    weight = {
        name: (sum(p.tokens + p.input for p in some), sum(p.requests + p.errors for p in some))
        for name, some in by_name.items()
    }
    names = sorted(by_name, key=lambda name: (*(-each for each in weight[name]), name))
    shown, rest = names[: data.limit], names[data.limit :]
    others = [point for name in rest for point in by_name[name]]
    return {
        "start": iso(float(steps.start)),
        "step_s": steps.step_s,
        "last_s": round(steps.last_s, 3),
        "names": shown if data.by else [],
        "series": [{"name": n, **_lists(by_name[n], steps)} for n in shown] if data.by else [],
        "others": {"names": len(rest), **_lists(others, steps)} if rest else None,
        "total": _lists(points, steps),
    }


def _lists(points: Iterable[SeriesPoint], steps: Steps) -> Mapping[str, Any]:
    sums: dict[str, list[float]] = {name: [0.0] * steps.count for name in _SUMMED}
    for point in points:
        index = min(max(0, (point.start - steps.start) // steps.step_s), steps.count - 1)
        for name in _SUMMED:
            sums[name][index] += getattr(point, name)
    costs = steps.rates(sums["cost"], 3600)
    return {
        "tokens": steps.rates(sums["tokens"]),
        "input": steps.rates(sums["input"]),
        "requests": steps.rates(sums["requests"]),
        "errors": steps.rates(sums["errors"]),
        "cost": [
            None if unpriced and not cost else cost
            for cost, unpriced in zip(costs, sums["unpriced"], strict=True)
        ],
        "unpriced": int(sum(sums["unpriced"])),
        "latency_ms": _means(sums["latency_s"], sums["timed_calls"]),
        "ttft_ms": _means(sums["ttft_s"], sums["ttft_calls"]),
    }


_SUMMED: Final = (
    "tokens",
    "input",
    "requests",
    "errors",
    "cost",
    "unpriced",
    "latency_s",
    "timed_calls",
    "ttft_s",
    "ttft_calls",
)


def _means(seconds: Sequence[float], counts: Sequence[float]) -> list[float | None]:
    """Return the mean of each step in milliseconds; None where there is nothing to average."""
    return [
        round(total * 1000 / count, 3) if count else None
        for total, count in zip(seconds, counts, strict=True)
    ]
