"""Makes an answer of `completion:series` coarser: a bundle holds each time in one width only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from ksi_tui.engine.clock import iso
from ksi_tui.incident.fitting import time_of

_RATES: Final = ("tokens", "input", "requests", "errors", "cost")
_MEANS: Final = ("latency_ms", "ttft_ms")

Values = Sequence[float | None]


def resampled(reply: Mapping[str, Any], points: int) -> dict[str, Any]:
    """Return the answer with at most `points` steps, each as many of the old ones in one.

    Steps are joined from the newest back; what is left over at the old end goes. Raises
    ValueError where its lists are not of one length.
    """
    count, step_s = len(reply["total"]["tokens"]), reply["step_s"]
    _check(reply, count)
    joined = -(-count // max(1, points))
    if joined <= 1:
        return dict(reply)
    left_over = count % joined
    widths = [float(step_s)] * (count - 1) + [float(reply["last_s"])]

    def lists(of: Mapping[str, Any]) -> dict[str, Any]:
        made = {name: _rates(of[name][left_over:], widths[left_over:], joined) for name in _RATES}
        weights = [w * (n or 0.0) for w, n in zip(widths, of["requests"], strict=True)]
        for name in _MEANS:
            made[name] = _means(of[name][left_over:], weights[left_over:], joined)
        return {**of, **made}

    start = time_of(reply["start"]) + timedelta(seconds=left_over * step_s)
    return {
        **reply,
        "start": iso(start.timestamp()),
        "step_s": step_s * joined,
        "last_s": (joined - 1) * step_s + reply["last_s"],
        "series": [lists(one) for one in reply["series"]],
        "others": reply["others"] and lists(reply["others"]),
        "total": lists(reply["total"]),
    }


def _check(reply: Mapping[str, Any], count: int) -> None:
    every = [reply["total"], *reply["series"], *([reply["others"]] if reply["others"] else [])]
    lengths = {len(each[name]) for each in every for name in (*_RATES, *_MEANS)}
    if lengths != {count} or not count or reply["step_s"] <= 0 or reply["last_s"] <= 0:
        raise ValueError("its lists are of several lengths, or its steps of none")


def _rates(values: Values, widths: Sequence[float], joined: int) -> list[float | None]:
    found: list[float | None] = []
    for at in range(0, len(values), joined):
        some = [
            (value, width)
            for value, width in zip(values[at : at + joined], widths[at : at + joined], strict=True)
            if value is not None
        ]
        span = sum(widths[at : at + joined])
        found.append(sum(v * w for v, w in some) / span if some and span else None)
    return found


def _means(values: Values, weights: Sequence[float], joined: int) -> list[float | None]:
    found: list[float | None] = []
    for at in range(0, len(values), joined):
        some = [
            (value, weight or 1.0)
            for value, weight in zip(
                values[at : at + joined], weights[at : at + joined], strict=True
            )
            if value is not None
        ]
        whole = sum(weight for _, weight in some)
        found.append(sum(v * w for v, w in some) / whole if some else None)
    return found
