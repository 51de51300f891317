"""Why one request waits, down to its root: what moves, what frees it, who else waits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult

from ksi_tui.actions import BY_ID, Where, shown_key
from ksi_tui.client import SnapshotQuery
from ksi_tui.screens import later
from ksi_tui.screens.base import KsiScreen, Target, ask, refusal, screen_bindings
from ksi_tui.screens.layouts import Layout
from ksi_tui.screens.sub import SubScreen
from ksi_tui.widgets import chain, formats
from ksi_tui.widgets.clean import clean_block
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.pane import Pane, TextPane
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Tone, line
from ksi_tui.widgets.table import LiveTable

if TYPE_CHECKING:
    from ksi_tui.client import Snapshot
    from ksi_tui.engine.advice import Remedy
    from ksi_tui.engine.views import Live

_DEEDS = {
    "elsewhere": "elsewhere",
    "probe": "probe",
    "retry": "retry",
    "resume": "pause",
    "force_circuit": "force_circuit",
    "force_lock": "force_lock",
    "cancel": "cancel",
}
"""The action of the registry that does a remedy."""
_AT_THE_ROOT = ("probe", "resume", "force_circuit")
"""Remedies that are done to the root, and so to all that wait for it."""
AGAIN_S = 6.0
"""How long a second press does what the first one has announced."""
_FRAME, _TABLE_FRAME = 2, 3


class WhyScreen(SubScreen):
    """Why one request waits, down to its root."""

    WHERE = Where.WHY
    BINDINGS = screen_bindings(Where.WHY)
    CSS_PATH = Path(__file__).with_suffix(".tcss")
    AUTO_FOCUS = "#remedies"

    def __init__(self, request_id: str) -> None:
        super().__init__()
        self.request_id = request_id
        self._snapshot: Snapshot | None = None
        self._last: Live | None = None
        self._about: Target | None = None
        self._all: tuple[str, ...] = ()
        self._armed_until = 0.0

    @property
    def crumb(self) -> str:
        """The word, after the request where that is not on the way here."""
        name, stack = name_of(self.request_id), self.app.screen_stack
        below = stack[: stack.index(self)] if self in stack else []
        named = any(isinstance(each, KsiScreen) and each.crumb == name for each in below)
        return "why" if named else f"{name} > why"

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
        self._snapshot = self.client.snapshot(query)
        self.at = self._snapshot.at
        self._last = self._snapshot.live or self._last

    # --- the picture -----------------------------------------------------------------

    @property
    def _live(self) -> Live | None:
        return self._snapshot.live if self._snapshot is not None else None

    def show_body(self) -> None:
        live, width = self._live, self.size.width
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
        rows = [
            chain.remedy_row(remedy, place, self._key(remedy))
            for place, remedy in enumerate(live.remedies)
        ]
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
        deed = _DEEDS.get(remedy.action)
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
            f"Same root: {formats.count(total)} requests in {formats.count(sessions)} sessions",
            f"{min(table.rows_in_view, sessions)} of {sessions} · a act on all" if total else "",
        )
        table.redraw()

    def _show_ended(self) -> None:
        reading = self._snapshot is None
        text = "reading…" if reading else f"{name_of(self.request_id)} waits no more: it has ended"
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

    # --- what the keys act on --------------------------------------------------------

    def _remedy(self) -> Remedy | None:
        live, key = self._live, self.query_one("#remedies", LiveTable).cursor_key
        place = key.partition(":")[0] if key else ""
        if live is None or not place.isdigit() or int(place) >= len(live.remedies):
            return None
        return live.remedies[int(place)]

    def target(self) -> Target | None:
        """Return what the remedy that is being done is about, else the request itself."""
        if self._about is not None:
            return self._about
        return Target(session_id=self._session_of(self.request_id), request_id=self.request_id)

    def marked(self) -> tuple[str, ...]:
        """Return the requests that are acted on together: those at the same root."""
        return self._all

    def _session_of(self, request_id: str | None) -> str | None:
        live = self._last
        links = live.chain.links if live is not None and live.chain is not None else ()
        return next((each.session_id for each in links if each.request_id == request_id), None)

    def applies(self, action_id: str) -> bool:
        """Return whether an action does something here and now: what is listed does."""
        if action_id in _DEEDS.values():
            return self._listed(action_id) is not None
        if action_id == "act_all":
            remedy = self._remedy()
            return remedy is not None and bool(remedy.action) and bool(self._heads())
        if action_id == "why":
            return self._same_head() is not None
        return super().applies(action_id)

    def _listed(self, deed: str) -> Remedy | None:
        """Return the remedy that a key means: the chosen one if it is of that kind."""
        live, chosen = self._live, self._remedy()
        if chosen is not None and _DEEDS.get(chosen.action) == deed:
            return chosen
        remedies = live.remedies if live is not None else ()
        return next((each for each in remedies if _DEEDS.get(each.action) == deed), None)

    def _same_head(self) -> str | None:
        table = self.query_one("#same", LiveTable)
        rows = self._live.same_root if self._live is not None else ()
        if self.focused is not table:
            return None
        return next((row.head_id for row in rows if row.session_id == table.cursor_key), None)

    def _heads(self) -> tuple[str, ...]:
        rows = self._live.same_root if self._live is not None else ()
        return tuple(row.head_id for row in rows)

    # --- doing it --------------------------------------------------------------------

    def action_open(self) -> None:
        """Do the chosen remedy; of a session at the same root, open its head."""
        head, remedy = self._same_head(), self._remedy()
        if head is not None:
            self.open_request(head)
        elif remedy is not None and self.focused is self.query_one("#remedies"):
            self._apply(remedy)
        else:
            self.open_request(self.request_id)

    @on(LiveTable.Opened)
    def _row_opened(self) -> None:
        self.action_open()

    def action_why(self) -> None:
        """Show why the head of the chosen session at the same root waits."""
        head = self._same_head()
        if head is None:
            self.say("this is why; tab goes to the sessions at the same root", Tone.WARN)
        else:
            self.go(later.why_screen(head))

    def action_elsewhere(self) -> None:
        """Send elsewhere what the list says."""
        self._as_listed("elsewhere")

    def action_probe(self) -> None:
        """Probe what the list says."""
        self._as_listed("probe")

    def action_pause(self) -> None:
        """Let go on what the list says."""
        self._as_listed("pause")

    def action_force_circuit(self) -> None:
        """Force the circuit that the list says."""
        self._as_listed("force_circuit")

    def action_force_lock(self) -> None:
        """Force the lock that the list says."""
        self._as_listed("force_lock")

    def action_cancel(self) -> None:
        """Cancel what the list says."""
        self._as_listed("cancel")

    def _as_listed(self, deed: str) -> None:
        remedy = self._listed(deed)
        if remedy is None:
            self.say(f"{BY_ID[deed].label} would free nothing here", Tone.WARN)
        else:
            self._apply(remedy)

    def _apply(self, remedy: Remedy, all_of: tuple[str, ...] = ()) -> None:
        """Do a remedy, after whatever confirmation its action has."""
        if not remedy.action:
            self.say(f"that frees {remedy.frees}", Tone.WARN)
            return
        session = remedy.session_id or remedy.lock_session or self._session_of(remedy.request_id)
        at = None if remedy.action == "elsewhere" else remedy.provider
        self._about = Target(session_id=session, request_id=remedy.request_id, provider=at)
        self._all = all_of
        try:
            getattr(super(), f"action_{_DEEDS[remedy.action]}")()
        finally:
            self._about, self._all = None, ()

    def action_act_all(self) -> None:
        """Do the chosen remedy to all that wait for the same root."""
        remedy, heads = self._remedy(), self._heads()
        if remedy is None or not remedy.action or not heads:
            self.say("nothing is chosen that could be done to all", Tone.WARN)
        elif remedy.action in _AT_THE_ROOT or remedy.action == "cancel":
            self._apply(remedy, heads if remedy.action == "cancel" else ())
        elif remedy.action != "elsewhere":
            self.say(f"{remedy.what}: that can be done to one only", Tone.WARN)
        elif self.host.clock() > self._armed_until:
            self._armed_until = self.host.clock() + AGAIN_S
            what = f"the heads of {len(heads)} sessions to {name_of(remedy.provider)}"
            self.say(f"a again sends {what}; {remedy.also_hits}", Tone.WARN)
        else:
            self._armed_until = 0.0
            self.run_worker(self._send_all(remedy, heads), name="elsewhere", group="deeds")

    async def _send_all(self, remedy: Remedy, heads: tuple[str, ...]) -> None:
        how = {"model": remedy.model} if remedy.model else {}
        by = self.host.ui.operator
        reply = await ask(self.host, "completion:retry", request_ids=list(heads), by=by, **how)
        error = refusal(reply)
        moved = [each for each in reply.get("retried", ()) if each.get("changed")]
        said = f"not sent: {error}" if error else f"{len(moved)} of {len(heads)} go on elsewhere"
        self.say(said, Tone.BAD if error or not moved else Tone.PLAIN)

    def action_copy(self) -> None:
        """Copy what is told in plain words, with the moment and the ids."""
        live = self._last
        if live is None or not live.plain or self.at is None:
            self.say("nothing to copy: it waits for nothing", Tone.WARN)
            return
        session = name_of(self._session_of(self.request_id))
        head = f"{formats.clock(self.at)} UTC  {name_of(self.request_id)} ({session}): "
        self.copy_out(head + clean_block(live.plain, 4000), "the explanation")

    def action_step_pane(self, step: int) -> None:
        """Go to the next pane or the one before."""
        names = [
            n for n in ("remedies", "same", "chain", "moves") if self.query_one(f"#{n}").display
        ]
        here = self.focused.id if self.focused is not None else None
        place = names.index(here) if here in names else -step
        self.query_one(f"#{names[(place + step) % len(names)]}").focus()


def _high(pane: Pane, height: int) -> None:
    """Make a pane so high; no layout pass where it is."""
    now = pane.styles.inline.height
    if now is None or now.value != height:
        pane.styles.height = height
