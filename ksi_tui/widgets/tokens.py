"""The Tokens pane: the rate as a chart from 0, today's totals by provider beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.axis import Times
from ksi_tui.widgets.chart import Plotted, chart, plot
from ksi_tui.widgets.pane import Pane
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line

if TYPE_CHECKING:
    from ksi_tui.engine.views import TokenRow, TokenView

_TOTALS = 41
_LEAST_CHART = 24


class Past(NamedTuple):
    """A longer time than the live trend: its rate, when the newest point began, its step (s)."""

    rate: Plotted
    last: float
    step_s: float


class TokenPane(Pane):
    """Chart and totals; in a narrow pane the totals stand under the chart."""

    def __init__(self, title: str, *, id: str) -> None:
        super().__init__(title, id=id)
        self._view: TokenView | None = None
        self._past: Past | str | None = None
        self._body: list[Line] = []
        self._composed: object = None

    def show(self, view: TokenView | None, past: Past | str | None = None) -> None:
        """Show the given numbers; `past` instead of the live trend, or in words why not yet."""
        self._view, self._past = view, past
        self.redraw()

    def body_state(self) -> object:
        """Return the numbers."""
        return self._view, self._past

    @property
    def chart_points(self) -> int:
        """How many points of the trend have room."""
        return max(1, self.size.width - 10 - (_TOTALS if self._beside else 0))

    @property
    def _beside(self) -> bool:
        return self.size.width - 2 - _TOTALS >= _LEAST_CHART + 20

    def body_at(self, y: int, width: int) -> Line:
        """Return a line of chart and totals."""
        now = (self._view, self._past, width, self.body_height)
        if self._composed != now:
            self._body, self._composed = self._compose_body(width, self.body_height), now
        return self._body[y] if y < len(self._body) else Line()

    def _drawn_rate(self, view: TokenView, width: int, height: int) -> list[Line]:
        past = self._past
        if past is None:
            return chart(view.trend, width=width, height=height)
        if isinstance(past, str):
            return _not_yet(past, width, height)
        times = Times(past.last, past.step_s)
        return plot([past.rate], width=width, height=height, times=times)

    def _compose_body(self, width: int, height: int) -> list[Line]:
        if self._view is None:
            return []
        totals = totals_lines(self._view, height if self._beside else len(self._view.rows) + 2)
        chart_height = height - 1 if self._beside else max(4, height - len(totals) - 2)
        room = width - 3 - (_TOTALS if self._beside else 0)
        bars = [line("  ", Span("tok/s", Tone.DIM))]
        drawn = self._drawn_rate(self._view, room, chart_height)
        bars += [Line((Span(" "), *bar.spans)) for bar in drawn]
        if not self._beside:
            return [*bars, Line(), *(Line((Span("  "), *total.spans)) for total in totals)]
        return [
            fit.both_ends(bars[y] if y < len(bars) else Line(), _wide(totals, y), width - 1)
            for y in range(height)
        ]


def _not_yet(text: str, width: int, height: int) -> list[Line]:
    """Return lines that say why there is no chart."""
    said = line(Span(fit.end(f"  {text}", width), Tone.DIM))
    return [Line(), said, *[Line()] * (height - 2)][:height]


def _wide(totals: list[Line], y: int) -> Line:
    shown = totals[y] if y < len(totals) else Line()
    return Line((*shown.spans, Span(" " * (_TOTALS - 1 - fit.width_of(shown)))))


def totals_lines(view: TokenView, height: int) -> list[Line]:
    """Return at most `height` lines: heads, the providers with most tokens, the rest, the waste."""
    heads = f"{'TODAY':<10}{'IN':>6}{'OUT':>7}{'CACHE':>7}{'COST':>10}"
    rows = sorted(view.rows, key=lambda row: row.input + row.output, reverse=True)
    room = max(1, height - 2)
    shown = [_totals_row(row) for row in rows[: room if len(rows) <= room else room - 1]]
    if len(rows) > room:
        shown.append(line(Span(f"and {len(rows) - room + 1} more", Tone.DIM)))
    return [line(Span(heads, Tone.DIM)), *shown, _waste(view)][:height]


def _totals_row(row: TokenRow) -> Line:
    cost = formats.cost(row.cost) if row.cost is not None and not row.unpriced else None
    bound = f"≥ {formats.money(row.cost)}" if row.cost is not None and row.unpriced else "unpriced"
    sign = "~" if row.estimated else ""
    name = fit.pad(fit.middle(name_of(row.provider), 10), 10)
    return line(
        f"{name}{sign + formats.count(row.input):>6}{sign + formats.count(row.output):>7}"
        f"{formats.percent(row.cache_share):>7}{cost or bound:>10}"
    )


def _waste(view: TokenView) -> Line:
    if not view.waste_tokens:
        return line(Span("waste none" if view.rows else "nothing was sent today", Tone.DIM))
    parts = [
        f"waste {formats.percent(view.waste_share)}",
        f"{formats.count(view.waste_tokens)} tok",
    ]
    if view.waste_cost is not None:
        parts.append(formats.money(view.waste_cost))
    return line(Span(", ".join(parts), Tone.WARN))
