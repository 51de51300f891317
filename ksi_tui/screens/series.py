"""Time windows of charts, and the reading of `completion:series` for them.

One question is on its way at most, and the last answer stays until the next is there. What
is drawn from it is the widgets' business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

from ksi_tui.screens.base import KsiScreen
from ksi_tui.screens.host import ask, refusal
from ksi_tui.widgets.chart import OTHERS, Plotted, lettered
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone


class Window(NamedTuple):
    """A span of time that charts can show."""

    name: str
    hours: float


WINDOWS: Final = (Window("15m", 0.25), Window("1h", 1), Window("24h", 24), Window("7d", 168))
_RATES: Final = ("tokens", "requests", "errors", "cost")
_LEAST_POINTS, _MOST_POINTS = 2, 300
_SOONEST_S, _LATEST_S = 5.0, 60.0
"""How often an answer is read again, in seconds: a sixth of a step, within these."""

Values = tuple[float | None, ...]
Wanted = tuple[float, str | None, int]
"""What was asked for: hours, split, points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charted:
    """An answer as it is drawn: by measure, the series with the most first, and their total."""

    last: float
    step_s: float
    split: Mapping[str, tuple[Plotted, ...]]
    total: Mapping[str, Plotted]
    unpriced: int


def charted(reply: Mapping[str, Any]) -> Charted:
    """Return a reply of `completion:series`. Rates before the first call ever are gaps."""
    total, step_s = reply["total"], float(reply["step_s"])
    start, count = _epoch(reply["start"]), len(total["tokens"])
    since = _epoch(reply["since"]) if reply.get("since") else float("inf")
    unknown = sum(start + (index + 1) * step_s <= since for index in range(count))
    measures = (*_RATES, "latency_ms", "ttft_ms")

    def values(of: Mapping[str, Any], measure: str) -> Values:
        found = tuple(of[measure])
        return (None,) * unknown + found[unknown:] if measure in _RATES else found

    split: dict[str, tuple[Plotted, ...]] = {}
    for measure in measures:
        named = [(name_of(one["name"]), values(one, measure)) for one in reply["series"]]
        split[measure] = lettered(named)
        if reply.get("others"):
            name = f"{reply['others']['names']} others"
            rest = Plotted(name, values(reply["others"], measure), OTHERS, Tone.DIM)
            split[measure] += (rest,)
    return Charted(
        last=start + (count - 1) * step_s,
        step_s=step_s,
        split=split,
        total={measure: Plotted("all", values(total, measure)) for measure in measures},
        unpriced=int(total["unpriced"]),
    )


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


class WindowedScreen(KsiScreen):
    """A full screen with charts over a chosen window of time."""

    window: Window = WINDOWS[0]
    _held: tuple[Wanted, Charted] | None = None
    _asked: Wanted | None = None
    _asking = False
    _ask_again_at = 0.0
    _series_error: str | None = None

    def action_window_shorter(self) -> None:
        """Show a shorter time in charts."""
        self._step_window(-1)

    def action_window_longer(self) -> None:
        """Show a longer time in charts."""
        self._step_window(1)

    def _step_window(self, step: int) -> None:
        index = WINDOWS.index(self.window) + step
        if not 0 <= index < len(WINDOWS):
            self.say(f"{self.window.name} is the {'longest' if step > 0 else 'shortest'}")
            return
        self.window = WINDOWS[index]
        self.tick()

    def window_note(self) -> Line:
        """Return the windows, the chosen one in brackets."""
        return windows_line(WINDOWS, self.window)

    def chart_series(self, points: int, by: str | None = None) -> Charted | str:
        """Return what is to be drawn, or in words why there is nothing yet; asks where needed.

        A former answer stands until the one for another window is there, never for another
        split or measure of time.
        """
        wanted = self.window.hours, by, max(_LEAST_POINTS, min(points, _MOST_POINTS))
        due = wanted != self._asked or self.host.clock() >= self._ask_again_at
        if due and not self._asking and self.client is not None:
            self._asking, self._asked = True, wanted
            self.start(partial(self._read_series, wanted), name="series", group="series")
        if self._held is not None and self._held[0][:2] == wanted[:2]:
            return self._held[1]
        return self._series_error or "reading…"

    async def _read_series(self, wanted: Wanted) -> None:
        hours, by, points = wanted
        split = {"by": by} if by is not None else {}
        try:
            reply = await ask(self.host, "completion:series", hours=hours, points=points, **split)
        finally:
            self._asking = False
        self._series_error = refusal(reply)
        wait_s = _SOONEST_S
        if self._series_error is None:
            found = charted(reply)
            self._held = (wanted, found)
            wait_s = min(_LATEST_S, max(_SOONEST_S, found.step_s / 6))
        self._ask_again_at = self.host.clock() + wait_s


def windows_line(windows: Sequence[Window], chosen: Window) -> Line:
    """Return the names of windows; the chosen one stands in brackets."""
    spans = [
        Span(f"[{each.name}]", Tone.STRONG) if each is chosen else Span(f" {each.name} ", Tone.DIM)
        for each in windows
    ]
    return Line(tuple(spans))
