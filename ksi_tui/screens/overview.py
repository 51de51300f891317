"""The overview: verdict, numbers and five live panes; tabs where the terminal is smaller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from ksi_tui.actions import Where
from ksi_tui.screens import empty, fill, later
from ksi_tui.screens.base import Target, screen_bindings
from ksi_tui.screens.folding import Folds
from ksi_tui.screens.host import looks_only
from ksi_tui.screens.overview_finding import FindsFromPanes
from ksi_tui.screens.overview_panes import ORDER, OverviewPanes
from ksi_tui.screens.series import WINDOWS, WindowedScreen
from ksi_tui.screens.targets import target_of
from ksi_tui.widgets import fit, header, rows
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.spans import Span, Tone, line
from ksi_tui.widgets.table import LiveTable
from ksi_tui.widgets.tokens import TokenPane

if TYPE_CHECKING:
    from ksi_tui.client import Snapshot, SnapshotQuery
    from ksi_tui.engine.states import Verdict
    from ksi_tui.engine.views import ActiveView


class Overview(OverviewPanes, WindowedScreen, FindsFromPanes):
    """Everything at one glance."""

    WHERE = Where.OVERVIEW
    BINDINGS = screen_bindings(Where.OVERVIEW)
    AUTO_FOCUS = "#active"

    def __init__(self) -> None:
        super().__init__()
        self._snapshot: Snapshot | None = None
        self._frozen_at: float | None = None
        self._notices: tuple[str, ...] = ()
        self._folds = Folds()

    def compose(self) -> ComposeResult:
        clock = self.host.clock
        yield Bar(id="small")
        yield Bar(id="verdict")
        yield Bar(id="banner")
        yield Bar(id="numbers")
        yield Bar(id="calm")
        yield LiveTable("! Attention", rows.ATTENTION, id="attention", clock=clock)
        yield Bar(id="tabs")
        with Vertical(id="body"):
            yield LiveTable("3 Providers", rows.PROVIDERS, id="providers", clock=clock)
            yield LiveTable("2 Active", rows.ACTIVE, id="active", clock=clock)
            with Horizontal(id="low"):
                yield LiveTable("1 Queues", rows.QUEUES, id="queues", clock=clock)
                yield LiveTable("4 Locks", rows.LOCKS, id="locks", clock=clock)
            yield TokenPane("5 Tokens", id="tokens")
        yield Bar(id="hidden")
        yield Bar(id="footer")

    def on_mount(self) -> None:
        self._arrange()
        self._show()

    @on(events.Click, "#tabs")
    def _tab_clicked(self, event: events.Click) -> None:
        number = header.tab_at(header.tabs_line(self._snapshot, self._chosen), event.x)
        if number is not None:
            self.action_pane(number)

    # --- the picture -----------------------------------------------------------------

    def tick(self) -> None:
        """Read the engine and show it, unless frozen."""
        if self.client is not None and self._frozen_at is None:
            self._snapshot = self.client.snapshot(self._query())
        self._show()

    @on(LiveTable.WindowMoved)
    def _window_moved(self) -> None:
        if self._frozen_at is None:
            self.tick()

    def _query(self) -> SnapshotQuery:
        from ksi_tui.client import SnapshotQuery  # noqa: PLC0415 - after the first frame

        active, queue = self._table("active").window(), self._table("queues").window()
        return SnapshotQuery(
            active_offset=active[0],
            active_limit=active[1],
            queue_offset=queue[0],
            queue_limit=queue[1],
            lock_limit=sum(self._table("locks").window()),
            attention_limit=self.attention_limit(),
            looked_at=self.host.looked.at,
            trend_points=self.query_one("#tokens", TokenPane).chart_points,
        )

    def _show(self) -> None:
        snapshot, width = self._snapshot, self.app.size.width
        verdict, at = self._verdict(), snapshot.at if snapshot else None
        name = self.host.display_name
        self.query_one("#verdict", Bar).show(header.verdict_line(name, verdict, at, width))
        totals = self.host.looked.left(snapshot) if snapshot else None
        who = self.host.ui.operator if self.host.recording is None else ""
        note = looks_only(self.host, long=width >= 120)
        paused = snapshot.pauses_total if snapshot else 0
        others = snapshot.attached if snapshot else ()
        numbers = header.numbers_line(totals, who, width, note=note, paused=paused, others=others)
        self.query_one("#numbers", Bar).show(numbers)
        self.query_one("#tabs", Bar).show(header.tabs_line(snapshot, self._chosen))
        self.host.show_verdict(verdict)
        attached = self.host.attached
        said = empty.active(snapshot, self.host.fault, width, attached=attached)
        self._table("active").set_empty(*said)
        if snapshot is None:
            self._table("active").redraw()
        else:
            self._show_panes(snapshot)
        hidden = self._hidden()
        self.query_one("#hidden", Bar).show(
            line(Span(f" {fit.items(hidden, width - 2)}", Tone.DIM))
        )
        self.show_footer()

    def _verdict(self) -> Verdict:
        if self.host.attached and self._snapshot is None and self.host.fault is None:
            return header.ATTACHING
        frozen_s = None if self._frozen_at is None else self.host.clock() - self._frozen_at
        stale_s = self.host.stale_s if frozen_s is None else None
        return header.shown_verdict(self._snapshot, self.host.fault, frozen_s, stale_s)

    def _show_panes(self, snapshot: Snapshot) -> None:
        query = self._query()
        hidden = self._zoomed or self.has_class("small")
        self.show_attention(snapshot, hidden=hidden, otherwise=ORDER[self._chosen - 1])
        fill.active(self._table("active"), snapshot, query.active_offset)
        fill.queues(self._table("queues"), snapshot, query.queue_offset)
        fill.locks(self._table("locks"), snapshot)
        folded = self._folds.classes(snapshot.queues_total, snapshot.locks_total, self.host.clock())
        for name, folds in folded.items():
            self.set_class(folds and not self.has_class("tabs"), name)
        fill.providers(self._table("providers"), snapshot, fixed=not self.has_class("tabs"))
        pane = self.query_one("#tokens", TokenPane)
        live = self.window is WINDOWS[0]
        longer = None if live else self.chart_series(pane.chart_points)
        fill.tokens(pane, snapshot, self.window_note(), longer)
        if snapshot.notices != self._notices:
            self._notices = snapshot.notices
            if self._notices:
                self.say(" · ".join(self._notices), Tone.WARN)

    def _hidden(self) -> str:
        if self.attends and self._snapshot is not None:
            return self.attention_hidden(self._snapshot)
        view = self._active_view()
        if view is None or self._chosen != 2:
            return ""
        return rows.active_hidden(view, self._table("active").columns_shown)

    # --- what the keys act on --------------------------------------------------------

    def _active_view(self) -> ActiveView | None:
        key = self._table("active").cursor_key
        views = self._snapshot.active if self._snapshot else ()
        return next((view for view in views if view.request_id == key), None)

    def marked(self) -> tuple[str, ...]:
        """Return the marked requests; a row of Attention is acted on alone."""
        return () if self.attends else super().marked()

    def target(self) -> Target | None:
        """Return what the cursor of the chosen pane stands on."""
        if self._snapshot is None:
            return None
        return target_of(self._snapshot, self.pane_name, self._cursor())

    def applies(self, action_id: str) -> bool:
        """Return whether an action does something here and now."""
        if action_id == "open":
            return self.target() is not None or self.opens_attention(self._snapshot)
        if action_id == "attention":
            return self.attention_table.total > 0
        if action_id == "force_lock":
            return self.pane_name == "locks" and self.target() is not None
        if action_id in ("probe", "force_circuit"):
            target = self.target()
            return target is not None and target.provider is not None and not target.request_id
        if action_id == "pause":
            return self.target() is not None or self.attends  # all may be paused, and goes on
        if action_id == "copy":
            return self.target() is not None
        if action_id == "palette":
            return self.target() is None
        if action_id in ("demo", "providers"):
            return self._snapshot is not None and self._snapshot.simulated_only
        return super().applies(action_id)

    def action_open(self) -> None:
        """Open what the cursor is on."""
        if not self.opened_attention(self._snapshot):
            super().action_open()

    @on(LiveTable.Opened)
    def _row_opened(self) -> None:
        self.action_open()

    def action_freeze(self) -> None:
        """Hold the picture, or let it go on."""
        self._frozen_at = self.host.clock() if self._frozen_at is None else None
        self.tick()

    def action_demo(self) -> None:
        """Start or stop the demo load; on simulated providers only."""
        if not self.applies("demo"):
            self.say("demo load runs on simulated providers only", Tone.WARN)
            return
        self.start(self._toggle_demo, name="demo", group="deeds")

    async def _toggle_demo(self) -> None:
        self.say(await self.host.toggle_demo())

    def action_providers(self) -> None:
        """Say how a provider is added."""
        self.app.push_screen(later.add_provider(self.host.config_hint))
