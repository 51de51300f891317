"""One provider: its circuit and what that did, health, what it is called for, limits, charts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal

from ksi_tui.actions import Where
from ksi_tui.client import Snapshot, SnapshotQuery
from ksi_tui.engine.views import ProviderView
from ksi_tui.screens.base import Target, screen_bindings
from ksi_tui.screens.copying import Copyable, CopyMenu
from ksi_tui.screens.host import refusal
from ksi_tui.screens.kept import Kept
from ksi_tui.screens.reads import Reads
from ksi_tui.screens.report import provider as told
from ksi_tui.screens.report.journal import happenings
from ksi_tui.screens.tabbed import TabbedScreen
from ksi_tui.widgets import rows
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.pane import TextPane
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line
from ksi_tui.widgets.table import LiveTable

SERIES = "completion:series"
_STATUS_S, _JOURNAL_S, _SERIES_S = 1.0, 2.0, 10.0
"""How often each is read again, in seconds."""


class ProviderScreen(TabbedScreen):
    """Shows one provider by its name."""

    WHERE = Where.PROVIDER
    BINDINGS = screen_bindings(Where.PROVIDER)
    CSS_PATH = Path(__file__).with_suffix(".tcss")
    PANES = (
        ("circuit", "Circuit"),
        ("flight", "In flight"),
        ("health", "Health"),
        ("limits", "Limits"),
        ("charts", "Charts"),
    )
    ROWS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "high": ("circuit", "health"),
        "low": ("limits", "charts"),
    }
    FIRST = "flight"

    def __init__(self, provider: str) -> None:
        super().__init__()
        self.provider = provider
        self._snapshot: Snapshot | None = None
        self._reply: dict[str, Any] = {}
        self._error: str | None = None
        self._journal: dict[str, Any] | None = None
        self._series: dict[str, Any] | None = None
        self._hours = told.WINDOWS[1]
        self._reads = Reads(self)
        self._kept = Kept()

    @property
    def crumb(self) -> str:
        """The provider's name."""
        return name_of(self.provider)

    def compose_body(self) -> ComposeResult:
        yield Bar(id="summary")
        yield Bar(id="tabs")
        with Horizontal(id="high"):
            yield TextPane("1 Circuit", id="circuit")
            yield TextPane("3 Health", id="health")
        yield LiveTable("2 In flight", told.FLIGHT, id="flight", clock=self.host.clock)
        with Horizontal(id="low"):
            yield TextPane("4 Limits", id="limits")
            yield TextPane("5 Charts", id="charts")

    @property
    def _table(self) -> LiveTable:
        return self.query_one("#flight", LiveTable)

    @property
    def _view(self) -> ProviderView | None:
        found = self._snapshot.providers if self._snapshot else ()
        return next((view for view in found if view.name == self.provider), None)

    # --- reading ---------------------------------------------------------------------

    def read(self) -> None:
        """Take what it is called for, and ask for what is due."""
        if self.client is None:
            return
        offset, limit = self._table.window()
        self._snapshot = self.client.snapshot(
            SnapshotQuery(
                active_offset=offset,
                active_limit=limit,
                queue_limit=0,
                lock_limit=0,
                attention_limit=0,
                trend_points=1,
                provider=self.provider,
            )
        )
        self.at = self._snapshot.at
        journal = partial(setattr, self, "_journal")
        named = {"provider": self.provider}
        self._reads.ask("completion:provider_status", _STATUS_S, self._take, **named)
        self._reads.ask("system:journal", _JOURNAL_S, journal, **named, limit=200)
        asked = {"hours": self._hours, "by": "provider", "points": 120, "limit": 50}
        self._reads.ask(SERIES, _SERIES_S, partial(self._take_series, self._hours), **asked)

    def _take(self, reply: dict[str, Any]) -> None:
        self._error = refusal(reply)
        if self._error is None:
            self._reply = reply

    def _take_series(self, hours: float, reply: dict[str, Any]) -> None:
        if hours == self._hours:
            self._series = reply
        else:  # another time was chosen while it was on its way
            self._reads.again(SERIES)

    @on(LiveTable.WindowMoved)
    def _window_moved(self) -> None:
        self.tick()

    # --- the picture -----------------------------------------------------------------

    def notes(self) -> Mapping[str, str]:
        """Return what tabs say beside their names."""
        view = self._view
        return {"flight": str(view.in_flight)} if view else {}

    def show_body(self) -> None:
        """Show the provider, that it is being read, or that there is none of the name."""
        self.show_tabs()
        view, summary = self._view, self.query_one("#summary", Bar)
        if view is not None:
            summary.show(told.summary(view, self._reply, self.at, self.size.width))
        elif self._error is not None:
            summary.show(line(Span(f" ! {self._error}", Tone.BAD)))
        else:
            summary.show(line(Span(" ○ reading…", Tone.BUSY)))
        self._show_flight()
        self._show_facts(view)
        self._show_charts()

    def _show_flight(self) -> None:
        table, snapshot = self._table, self._snapshot
        if snapshot is None:
            table.redraw()
            return
        views, total = snapshot.active, snapshot.active_total
        offset = table.window()[0] if total > len(views) else 0
        table.set_rows([told.flight_row(view) for view in views], offset=offset, total=total)
        table.set_empty(line(Span("  it is not called for anything now", Tone.DIM)))
        table.set_head(f"2 In flight  {total}", "worst first" if total else "")
        table.redraw()
        chosen = next((v for v in views if v.request_id == table.cursor_key), None)
        shown = chosen is not None and self.chosen == "flight"
        self.show_hidden(rows.active_hidden(chosen, self._shown()) if chosen and shown else "")

    def _shown(self) -> frozenset[str]:
        return self._table.columns_shown | {"PROVIDER"}

    def _show_facts(self, view: ProviderView | None) -> None:
        circuit, health = self._pane("circuit"), self._pane("health")
        limits, read = self._pane("limits"), bool(self._reply)
        circuit.set_head("1 Circuit", "history below, newest first")
        width = circuit.text_width
        now = told.circuit(view, self._reply, self.at, width) if view else []
        circuit.show([*now, Line(), *self._history(width)])
        health.set_head("3 Health")
        health.show(told.health(self._reply, self.at, health.text_width) if read else [])
        limits.set_head("4 Limits")
        shown = view is not None and read
        limits.show(told.limits(view, self._reply, limits.text_width) if view and shown else [])

    def _history(self, width: int) -> list[Line]:
        compose = partial(happenings, self._journal, width)
        return list(self._kept.lines("journal", (id(self._journal), width), compose))

    def _show_charts(self) -> None:
        pane = self._pane("charts")
        pane.set_head("5 Charts", f"{told.window_note(self._hours)} · [ ] change")
        size = (pane.text_width, pane.body_height)
        compose = partial(told.charts, self._series, self.provider, *size)
        pane.show(self._kept.lines("charts", (id(self._series), size), compose))

    def _pane(self, name: str) -> TextPane:
        return self.query_one(f"#{name}", TextPane)

    # --- keys ------------------------------------------------------------------------

    def action_window_shorter(self) -> None:
        """Show a shorter time in the charts."""
        self._change_window(-1)

    def action_window_longer(self) -> None:
        """Show a longer time in the charts."""
        self._change_window(1)

    def _change_window(self, step: int) -> None:
        at = told.WINDOWS.index(self._hours) + step
        if not 0 <= at < len(told.WINDOWS):
            self.say(f"there is no {'longer' if step > 0 else 'shorter'} time", Tone.WARN)
            return
        self._hours, self._series = told.WINDOWS[at], None
        self._reads.again(SERIES)
        self.tick()

    def target(self) -> Target | None:
        """Return the provider; the keys that act do so on it, not on a row."""
        return Target(provider=self.provider) if self._view is not None else None

    def applies(self, action_id: str) -> bool:
        """Return whether an action does something here and now."""
        if action_id == "open":
            return self._table.cursor_key is not None and self.chosen == "flight"
        if action_id in ("pause", "probe", "force_circuit"):
            return self._view is not None
        return super().applies(action_id)

    def action_open(self) -> None:
        """Open the request under the cursor."""
        key = self._table.cursor_key
        if key is None:
            self.say("nothing to open: it is not called for anything now", Tone.WARN)
        elif self.focused is not self._table:
            self.say("enter opens a row of In flight: 2 goes there", Tone.WARN)
        else:
            self.open_request(key)

    @on(LiveTable.Opened)
    def _opened(self, event: LiveTable.Opened) -> None:
        self.open_request(event.key)

    def action_copy(self) -> None:
        """Offer what can be copied."""
        words = told.in_words(self.provider, self._view, self._reply, self.at, self._history(200))
        offered = [
            Copyable(key="i", name="name", text=self.provider),
            Copyable(key="l", name="state and history in words", text=words),
        ]
        if key := self._table.cursor_key:
            offered.append(Copyable(key="r", name="request id", text=key))
        self.app.push_screen(CopyMenu(offered), self.copy_chosen)
