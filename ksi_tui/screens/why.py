"""Why one request waits, down to its root: what moves, what frees it, who else waits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import ComposeResult

from ksi_tui.actions import BY_ID, Where, shown_key
from ksi_tui.client import SnapshotQuery
from ksi_tui.in_sight import why_in_sight
from ksi_tui.screens.base import KsiScreen, screen_bindings
from ksi_tui.screens.layouts import Layout
from ksi_tui.screens.why_frees import DEEDS, Frees
from ksi_tui.widgets import chain, formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.pane import Pane, TextPane
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, line
from ksi_tui.widgets.table import LiveTable

if TYPE_CHECKING:
    from ksi_tui.client import Snapshot
    from ksi_tui.engine.advice import Remedy
    from ksi_tui.engine.views import Live

_FRAME, _TABLE_FRAME = 2, 3
_ALL = 1_000_000


class WhyScreen(Frees):
    """Why one request waits, down to its root."""

    WHERE = Where.WHY
    BINDINGS = screen_bindings(Where.WHY)
    CSS_PATH = Path(__file__).with_suffix(".tcss")
    AUTO_FOCUS = "#remedies"

    def __init__(self, request_id: str) -> None:
        super().__init__()
        self.request_id = request_id
        self._snapshot: Snapshot | None = None

    @property
    def crumb(self) -> str:
        """The word, after the request where that is not on the way here."""
        name, stack = name_of(self.request_id), self.app.screen_stack
        below = stack[: stack.index(self)] if self in stack else []
        named = any(isinstance(s, KsiScreen) and s.crumb.split(" > ")[-1] == name for s in below)
        if named:
            return "why"
        session = self._session_of(self.request_id)
        own = session is None or session == self.request_id
        return f"{name} > why" if own else f"{name_of(session)} > {name} > why"

    def compose_body(self) -> ComposeResult:
        clock = self.host.clock
        yield Bar(id="head")
        yield TextPane("Chain", id="chain")
        yield TextPane("If nobody acts", id="moves")
        yield LiveTable("What frees it", chain.REMEDIES, id="remedies", clock=clock)
        yield LiveTable("Same root", chain.SAME, id="same", clock=clock)
        yield TextPane("In plain words", id="plain")

    def place(self) -> None:
        """Where there is little room, company and plain words go: y still copies them."""
        wide = self.fits is Layout.PANES
        self.query_one("#same").display = self.query_one("#plain").display = wide

    def read(self) -> None:
        """Ask for this request and nothing else."""
        assert self.client is not None
        query = SnapshotQuery(
            request_id=self.request_id,
            explain=True,
            active_limit=0,
            queue_limit=0,
            lock_limit=0,
            pause_limit=0,
            attention_limit=0,
            trend_points=1,
        )
        snapshot = self.client.snapshot(query)
        if not snapshot.answers and self._snapshot is None:
            return  # from afar: its own picture is on the way
        self._snapshot = snapshot
        self.at = self._snapshot.at
        self.live = self._snapshot.live
        self.last = self.live or self.last

    # --- the picture -----------------------------------------------------------------

    def show_body(self) -> None:
        live, width = self.live, self.size.width
        if live is None or live.chain is None or self._snapshot is None:
            self._show_ended()
            return
        now = self._snapshot.at
        self.query_one("#head", Bar).show(chain.head_line(live, now, width))
        pane = self.query_one("#chain", TextPane)
        inside = max(20, width - 4)
        pane.set_head(
            "Chain  (what waits on top, root cause at the bottom)" if width >= 120 else "Chain",
            "│ certain  ¦ inferred",
        )
        room = None if pane.has_focus else pane.size.height - _FRAME
        pane.show(chain.chain_lines(live, self._snapshot.providers, inside, room))
        self._fill("#moves", chain.moves_lines(live, now, inside), 4)
        self._fill("#plain", chain.plain_lines(live, inside), 5)
        self.query_one("#plain", TextPane).set_head(
            "In plain words", "y copies this, with times and ids"
        )
        self._show_remedies(live)
        self._show_same(live)

    def _fill(self, name: str, lines: list[Line], most: int) -> None:
        pane = self.query_one(name, TextPane)
        _high(pane, max(1, min(most, len(lines))) + _FRAME)
        pane.show(lines)

    def _show_remedies(self, live: Live) -> None:
        table = self.query_one("#remedies", LiveTable)
        rows = [chain.remedy_row(remedy, self._key(remedy)) for remedy in live.remedies]
        most = 8 if self.fits is Layout.PANES else 4
        _high(table, max(1, min(most, len(rows))) + _TABLE_FRAME)
        table.set_rows(rows)
        table.set_empty(line(" nothing: it goes on by itself, or nobody can help it"))
        wide = self.size.width >= 120
        table.set_head(
            "What frees it  (least harm first)" if wide else "What frees it, least harm first",
            "enter does the chosen one, after its confirmation" if wide and rows else "",
        )
        table.redraw()

    def _key(self, remedy: Remedy) -> str:
        deed = DEEDS.get(remedy.action)
        if deed is None:
            return formats.NOTHING
        here = Where.WHY in BY_ID[deed].where
        return shown_key(BY_ID[deed], self.host.ui.keymap) if here else "enter"

    def _show_same(self, live: Live) -> None:
        table = self.query_one("#same", LiveTable)
        table.set_rows([chain.same_row(view) for view in live.same_root])
        total, sessions = live.same_root_requests, live.same_root_sessions
        _high(table, max(1, min(6, len(live.same_root))) + _TABLE_FRAME)
        table.set_empty(line(" nobody else waits for it"))
        table.set_head(
            f"Same root: {chain.same_root(live, total)} requests "
            f"in {formats.count(sessions)} sessions",
            f"{min(table.rows_in_view, sessions)} of {sessions} · a act on all" if total else "",
        )
        table.redraw()

    def _show_ended(self) -> None:
        reading = self._snapshot is None
        text = "reading…" if reading else f"{name_of(self.request_id)} waits no more: it has ended"
        recorded = None if reading else self._recorded()
        if recorded is not None:
            text = recorded
        self.query_one("#head", Bar).show(line(f" {text}"))
        more = "" if reading else "enter opens it · esc goes back"
        self.query_one("#chain", TextPane).show([line(text), line(more)])
        for name in ("#moves", "#plain"):
            self.query_one(name, TextPane).show(())
        for name in ("#remedies", "#same"):
            table = self.query_one(name, LiveTable)
            table.set_rows(())
            table.set_empty()
            table.redraw()

    def _recorded(self) -> str | None:
        """Return what is said in place of a chain that is not at hand; None: it has ended."""
        missing = "the chain of this moment was not recorded"
        if self.live is not None:  # in a recording: only the last moment has them
            return f"{clean(self.live.why, 200)}; {missing}"
        if self.host.recording is None or self.client is None:
            return None
        picture = self.client.snapshot(SnapshotQuery(queue_limit=_ALL, attention_limit=_ALL))
        why = why_in_sight(self.request_id, picture)
        if why is not None:
            return f"{clean(why, 200)}; {missing}"
        return None if self.host.recording.records_at is None else missing

    # --- moving ----------------------------------------------------------------------

    def action_step_pane(self, step: int) -> None:
        """Go to the next pane or the one before."""
        panes = ("remedies", "same", "chain", "moves")
        names = [name for name in panes if self.query_one(f"#{name}").display]
        if not names:  # no room for any
            return
        here = self.focused.id if self.focused is not None else None
        place = names.index(here) if here in names else -step
        self.set_focus(self.query_one(f"#{names[(place + step) % len(names)]}"))


def _high(pane: Pane, height: int) -> None:
    """Make a pane so high; no layout pass where it is."""
    now = pane.styles.inline.height
    if now is None or now.value != height:
        pane.styles.height = height
