"""What the keys of the why chain do: each remedy is done as its row says, to what it names.

How the rows look is `why`'s; the dialogs before a deed are those of every screen.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from textual import on

from ksi_tui.actions import BY_ID
from ksi_tui.screens import later
from ksi_tui.screens.base import Target
from ksi_tui.screens.host import ask, refusal
from ksi_tui.screens.sub import SubScreen
from ksi_tui.widgets import formats
from ksi_tui.widgets.chain import remedy_key
from ksi_tui.widgets.clean import clean_block
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Tone
from ksi_tui.widgets.table import LiveTable

if TYPE_CHECKING:
    from ksi_tui.engine.advice import Remedy
    from ksi_tui.engine.views import Live

DEEDS = {
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


class Frees(SubScreen):
    """A screen over one request with the tables of what frees it, and of its company.

    `live` is the request now (None: it has ended), `last` as it was last seen.
    """

    request_id: str
    live: Live | None = None
    last: Live | None = None
    _armed_until = 0.0

    # --- what the keys act on --------------------------------------------------------

    def _remedy(self) -> Remedy | None:
        """Return the chosen remedy; None when it is not listed any more."""
        key = self.query_one("#remedies", LiveTable).cursor_key
        remedies = self.live.remedies if self.live is not None else ()
        return next((each for each in remedies if remedy_key(each) == key), None)

    def target(self) -> Target | None:
        """Return the request that is explained."""
        return Target(session_id=self._session_of(self.request_id), request_id=self.request_id)

    def _session_of(self, request_id: str | None) -> str | None:
        live = self.last
        links = live.chain.links if live is not None and live.chain is not None else ()
        return next((each.session_id for each in links if each.request_id == request_id), None)

    def applies(self, action_id: str) -> bool:
        """Return whether an action does something here and now: what is listed does."""
        if action_id in DEEDS.values():
            return self._listed(action_id) is not None
        if action_id == "act_all":
            remedy = self._remedy()
            return remedy is not None and bool(remedy.action) and bool(self._heads())
        if action_id == "why":
            return self._same_head() is not None
        return super().applies(action_id)

    def _listed(self, deed: str) -> Remedy | None:
        """Return the remedy that a key means: the chosen one if it is of that kind."""
        live, chosen = self.live, self._remedy()
        if chosen is not None and DEEDS.get(chosen.action) == deed:
            return chosen
        remedies = live.remedies if live is not None else ()
        return next((each for each in remedies if DEEDS.get(each.action) == deed), None)

    def _same_head(self) -> str | None:
        table = self.query_one("#same", LiveTable)
        rows = self.live.same_root if self.live is not None else ()
        if self.focused is not table:
            return None
        return next((row.head_id for row in rows if row.session_id == table.cursor_key), None)

    def _heads(self) -> tuple[str, ...]:
        rows = self.live.same_root if self.live is not None else ()
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

    def _apply(self, remedy: Remedy) -> None:
        """Do a remedy, after whatever confirmation its action has."""
        request, provider = remedy.request_id, remedy.provider
        session = remedy.session_id or self._session_of(request)
        match remedy.action:
            case "elsewhere":
                about = Target(session_id=session, request_id=request)
                self.do_elsewhere(about, remedy.model or "")
            case "cancel":
                self.do_cancel(Target(session_id=session, request_id=request))
            case "retry":
                self.do_retry(Target(session_id=session, request_id=request))
            case "probe":
                self.do_probe(provider or "")
            case "force_circuit":
                self.do_force_circuit(provider or "")
            case "force_lock":
                self.do_force_lock(remedy.lock_session or "")
            case "resume":
                whole = remedy.scope == "engine"
                self.do_pause(None if whole else Target(session_id=session, provider=provider))
            case _:
                self.say(f"that frees {remedy.frees}", Tone.WARN)

    def action_act_all(self) -> None:
        """Do the chosen remedy to all that wait for the same root."""
        remedy, heads = self._remedy(), self._heads()
        if remedy is None or not remedy.action or not heads:
            self.say("nothing is chosen that could be done to all", Tone.WARN)
        elif remedy.action in _AT_THE_ROOT:
            self._apply(remedy)
        elif remedy.action == "cancel":
            self.do_cancel(None, heads)
        elif not self.allowed("act_all"):
            return
        elif remedy.action != "elsewhere":
            self.say(f"{remedy.what}: that can be done to one only", Tone.WARN)
        elif self.host.clock() > self._armed_until:
            self._armed_until = self.host.clock() + AGAIN_S
            what = f"the heads of {len(heads)} sessions to {name_of(remedy.provider)}"
            self.say(f"a again sends {what}; {remedy.also_hits}", Tone.WARN)
        else:
            self._armed_until = 0.0
            self.start(partial(self._send_all, remedy, heads), name="elsewhere", group="deeds")

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
        live = self.last
        if live is None or not live.plain or self.at is None:
            self.say("nothing to copy: it waits for nothing", Tone.WARN)
            return
        session = name_of(self._session_of(self.request_id))
        head = f"{formats.clock(self.at)} UTC  {name_of(self.request_id)} ({session}): "
        self.copy_out(head + clean_block(live.plain, 4000), "the explanation")
