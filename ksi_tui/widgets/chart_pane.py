"""A pane with one chart of one or several series, its unit, and what is what in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ksi_tui.widgets import formats
from ksi_tui.widgets.axis import Times
from ksi_tui.widgets.chart import Plotted, legend, plot
from ksi_tui.widgets.fit import end
from ksi_tui.widgets.pane import Pane
from ksi_tui.widgets.spans import Line, Span, Tone, line

_LEAST_HEIGHT = 3


class ChartPane(Pane):
    """Draws what it is given; instead of a chart it may say why there is none."""

    def __init__(
        self,
        title: str,
        *,
        id: str,
        label: Callable[[float], str] = formats.count,
        stacked: bool = True,
        empty: str = "nothing is known of this time",
    ) -> None:
        super().__init__(title, id=id)
        self._label = label
        self._stacked = stacked
        self._empty = empty
        self._series: tuple[Plotted, ...] = ()
        self._times: Times | None = None
        self._instead: str | None = None
        self._body: list[Line] = []
        self._composed: object = None

    @property
    def points(self) -> int:
        """How many points have room."""
        return max(2, self.size.width - 12)

    def show(self, series: Sequence[Plotted], times: Times) -> None:
        """Draw series."""
        self._series, self._times, self._instead = tuple(series), times, None
        self.redraw()

    def show_instead(self, text: str) -> None:
        """Say why there is no chart; clean text only."""
        self._instead = text
        self.redraw()

    def body_state(self) -> object:
        """Return what is drawn."""
        return self._series, self._times, self._instead

    def body_at(self, y: int, width: int) -> Line:
        """Return a line of the chart, the legend last where there are several series."""
        now = (self.body_state(), width, self.body_height)
        if self._composed != now:
            self._body, self._composed = self._compose_body(width, self.body_height), now
        return self._body[y] if y < len(self._body) else Line()

    def _compose_body(self, width: int, height: int) -> list[Line]:
        if self._instead is not None:
            return [Line(), line(Span(end(f"  {self._instead}", width), Tone.DIM))]
        known = any(value is not None for one in self._series for value in one.values)
        if not known:
            return [Line(), line(Span(end(f"  {self._empty}", width), Tone.DIM))]
        legends = [] if len(self._series) == 1 else [legend(self._series, width - 2)]
        room = height - len(legends)
        timed = self._times if room > _LEAST_HEIGHT else None
        drawn = plot(
            self._series,
            width=width - 1,
            height=max(2, room),
            label=self._label,
            times=timed,
            stacked=self._stacked,
        )
        return [*drawn, *(Line((Span(" "), *each.spans)) for each in legends)]
