"""Tokens, cost and waste: five charts over a window of time, and a table by what one asks for."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from textual import on
from textual.app import ComposeResult
from textual.containers import Grid

from ksi_tui.actions import Where
from ksi_tui.client import SnapshotQuery
from ksi_tui.screens import later
from ksi_tui.screens.base import Target, screen_bindings
from ksi_tui.screens.layouts import Layout
from ksi_tui.screens.series import WINDOWS, Charted, WindowedScreen
from ksi_tui.screens.sub import SubScreen
from ksi_tui.screens.sums import Sums
from ksi_tui.widgets import formats, usage_rows
from ksi_tui.widgets.axis import Times
from ksi_tui.widgets.chart import Plotted, lettered
from ksi_tui.widgets.chart_pane import ChartPane
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.pane import Pane, TextPane
from ksi_tui.widgets.spans import Line, Span, Tone
from ksi_tui.widgets.table import LiveTable

CHARTS: Final = ("tokens", "requests", "errors", "latency_ms", "cost")
_TITLES: Final = ("Tokens/s", "Requests/s", "Errors/s", "Latency, mean", "Cost, $/h")
_LABELS: Final = (formats.rate, formats.fine, formats.fine, formats.latency, formats.money)
_EMPTY: Final = {
    "latency_ms": "no answer ended in this time",
    "cost": "no call of this time has a price",
}
_SPLITS: Final[tuple[str | None, ...]] = (None, "provider", "model")
_CLOCK_ONLY = SnapshotQuery(
    active_limit=0, queue_limit=0, lock_limit=0, pause_limit=0, trend_points=1
)


class UsageScreen(WindowedScreen, SubScreen):
    """What was used, what it cost, and what of it was in vain."""

    WHERE = Where.USAGE
    BINDINGS = screen_bindings(Where.USAGE)
    CSS_PATH = Path(__file__).with_suffix(".tcss")
    AUTO_FOCUS = "#groups"

    def __init__(self) -> None:
        super().__init__()
        self.window = WINDOWS[1]
        self._chosen = 0
        self._zoomed = False
        self._split: str | None = None
        self._sums = Sums()
        self._charts: Charted | str = "reading…"

    def compose_body(self) -> ComposeResult:
        yield Bar(id="tabs")
        with Grid(id="charts"):
            for index, name in enumerate(CHARTS):
                yield ChartPane(
                    f"{index + 1} {_TITLES[index]}",
                    id=name,
                    label=_LABELS[index],
                    stacked=name != "latency_ms",
                    empty=_EMPTY.get(name, "no call has ended yet"),
                )
            yield TextPane("Whole", id="whole")
        table = LiveTable("", usage_rows.columns(self._sums.by), id="groups", clock=self.host.clock)
        yield table

    # --- layout ----------------------------------------------------------------------

    def place(self) -> None:
        """One chart and the table where there is little room; one pane when zoomed."""
        tabs = self.fits is not Layout.PANES
        zoomed = self.focused if self._zoomed else None
        alone = zoomed.id if zoomed is not None else None
        for index, name in enumerate(CHARTS):
            wanted = index == self._chosen if tabs else True
            self.query_one(f"#{name}").display = wanted if alone is None else name == alone
        self.query_one("#whole").display = alone == "whole" or (alone is None and not tabs)
        self.query_one("#groups").display = alone in (None, "groups")
        self.query_one("#charts").display = alone != "groups"
        self.query_one("#tabs").display = tabs
        self.set_class(alone is not None, "zoomed")

    @property
    def _panes(self) -> list[Pane]:
        return [pane for pane in self.query(Pane) if pane.display]

    def action_pane(self, number: int) -> None:
        """Go to a chart by its number."""
        self._zoomed = self._zoomed and self.fits is Layout.PANES
        self._chosen = number - 1
        self.set_focus(self.query_one(f"#{CHARTS[number - 1]}"))
        self.place()
        self.call_after_refresh(self.show)

    def action_step_pane(self, step: int) -> None:
        """Go to the next pane or the one before."""
        panes = self._panes
        if panes:
            here = panes.index(self.focused) if self.focused in panes else -1
            self.set_focus(panes[(here + step) % len(panes)])

    def action_zoom(self) -> None:
        """Give the screen to the pane with the focus, or take it back."""
        self._zoomed = not self._zoomed and isinstance(self.focused, Pane)
        self.place()
        self.call_after_refresh(self.show)

    def on_descendant_focus(self) -> None:
        now = self.focused.id if self.focused is not None else None
        if now in CHARTS:
            self._chosen = CHARTS.index(now)

    # --- reading ---------------------------------------------------------------------

    def read(self) -> None:
        """Ask for charts and sums where it is time to; the screen waits for neither."""
        if self.client is None:
            return
        self.at = self.client.snapshot(_CLOCK_ONLY).at
        charts = [pane for pane in self.query(ChartPane) if pane.display and pane.size.width]
        points = [pane.points for pane in charts]
        if points:
            self._charts = self.chart_series(max(points), self._split)
        wanted = self._sums.wants(self.window, self.host.clock())
        if wanted is not None:
            self.start(partial(self._sums.read, self.host, wanted), name="usage", group="read")

    # --- the picture -----------------------------------------------------------------

    def show_body(self) -> None:
        """Show charts, sums and the table."""
        self.query_one("#tabs", Bar).show(self._tabs())
        for index, name in enumerate(CHARTS):
            pane = self.query_one(f"#{name}", ChartPane)
            pane.set_head(f"{index + 1} {_TITLES[index]}", self._chart_note(name))
            if isinstance(self._charts, str):
                pane.show_instead(self._charts)
            else:
                times = Times(self._charts.last, self._charts.step_s)
                pane.show(self._plotted(self._charts, name), times)
        table, whole = self.query_one("#groups", LiveTable), self.query_one("#whole", TextPane)
        self._sums.show(table, whole, self.window)

    def _plotted(self, charts: Charted, name: str) -> tuple[Plotted, ...]:
        """Return a chart's series: split, or of all; whole answers with their first tokens."""
        if self._split is not None:
            return charts.split[name]
        whole, first = charts.total[name], charts.total["ttft_ms"]
        if name != "latency_ms" or all(value is None for value in first.values):
            return (whole,)
        return lettered((("answer", whole.values), ("first token", first.values)))

    def _chart_note(self, name: str) -> Line:
        parts = [*self.window_note().spans] if name == CHARTS[self._chosen] else []
        unpriced = 0 if isinstance(self._charts, str) else self._charts.unpriced
        if name == "cost" and unpriced:
            parts.insert(0, Span(f"{formats.count(unpriced)} unpriced ", Tone.WARN))
        return Line(tuple(parts))

    def _tabs(self) -> Line:
        spans: list[Span] = []
        for index, title in enumerate(_TITLES):
            text = f"{index + 1} {title.split(',')[0]}"
            chosen = index == self._chosen
            spans.append(Span(f"[{text}]" if chosen else f" {text} ", _tab_tone(chosen=chosen)))
        return Line(tuple(spans))

    # --- keys ------------------------------------------------------------------------

    def action_group(self) -> None:
        """Show the table by the next thing."""
        self._sums.next_by()
        table = self.query_one("#groups", LiveTable)
        table.set_columns(usage_rows.columns(self._sums.by))
        table.to_top()
        self.tick()

    def action_split(self) -> None:
        """Split the charts by the next thing, or not."""
        self._split = _SPLITS[(_SPLITS.index(self._split) + 1) % len(_SPLITS)]
        self.say(f"charts by {self._split}" if self._split else "charts of all together")
        self.tick()

    @property
    def _key(self) -> str | None:
        return self.query_one("#groups", LiveTable).cursor_key or None

    def target(self) -> Target | None:
        """Return the provider or session under the cursor."""
        if self._key is None or self._sums.by not in ("provider", "session"):
            return None
        if self._sums.by == "provider":
            return Target(provider=self._key)
        return Target(session_id=self._key)

    def action_open(self) -> None:
        """Open the provider or session of the row, or the requests of its agent or model."""
        if self._key is None:
            self.say("nothing to open: the table has no row", Tone.WARN)
        elif self._sums.by in usage_rows.GROUPS[4:]:
            self.say(f"a row by {self._sums.by} opens nothing: o chooses what the table is by")
        elif self._sums.by in ("agent", "model"):
            quoted = self._key.replace("\\", "\\\\").replace('"', '\\"')
            self.go(later.requests_screen(f'{self._sums.by}="{quoted}"'))
        else:
            super().action_open()

    @on(LiveTable.Opened)
    def _row_opened(self) -> None:
        self.action_open()

    def applies(self, action_id: str) -> bool:
        """Return whether an action does something here and now."""
        if action_id == "open":
            return self._key is not None and self._sums.by in usage_rows.GROUPS[:4]
        return super().applies(action_id)

    def action_copy(self) -> None:
        """Copy the table, tabs between its cells."""
        text = self._sums.as_text()
        if text is None:
            self.say("nothing was read yet", Tone.WARN)
        else:
            self.copy_out(text, "the table")


def _tab_tone(*, chosen: bool) -> Tone:
    return Tone.FOCUS if chosen else Tone.DIM
