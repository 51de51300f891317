"""Force a conversation lock free, after a confirmation that names the holder and who waits."""

from __future__ import annotations

from typing import Any

from ksi_tui.client import SnapshotQuery
from ksi_tui.screens.dialogs import moment
from ksi_tui.screens.dialogs.confirm import Confirm
from ksi_tui.screens.dialogs.stakes import many, named
from ksi_tui.screens.host import ask, refusal
from ksi_tui.widgets import formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line

_LOCKS = SnapshotQuery(active_limit=0, queue_limit=0, lock_limit=500, trend_points=1)


class LockDialog(Confirm[str]):
    """Asks whether a session's lock is to be taken from its holder. Answers what happened."""

    SAFE = "Leave the lock"
    CRUMB = "force lock"

    def __init__(self, session_id: str) -> None:
        super().__init__()
        self._session_id = session_id
        self._holder: str | None = None

    def on_mount(self) -> None:
        super().on_mount()
        self.set_heading(f"Lock of {named(self._session_id)}: reading…")
        self.label_act("reading…")
        self.start(self._open, name="read-lock")

    @property
    def subject(self) -> str:
        """The session."""
        return named(self._session_id)

    async def _open(self) -> None:
        reply = await ask(self.host, "completion:session_status", session_id=self._session_id)
        error = refusal(reply)
        session = reply.get("session") or {}
        if error is not None:
            self.show_error(error)
        elif not session.get("lock_holder"):
            self.dismiss(f"{named(self._session_id)} has no lock")
        else:
            self._holder = str(session["lock_holder"])
            self._show(session, int((reply.get("queue") or {}).get("queue_size") or 0))

    def _show(self, session: dict[str, Any], queued: int) -> None:
        holder, name = name_of(self._holder), named(self._session_id)
        at = self.moment
        self.set_heading(
            f"Take the lock of {name} from {holder}?", f"as of {formats.clock(at)}" if at else ""
        )
        self.label_act("Take the lock")
        doing, waiting = self._doing()
        waiting = queued if waiting is None else waiting
        left = formats.countdown(moment.left_s(session.get("lock_expiry"), at))
        own = session.get("lock_request")
        facts = (
            ("Holder", f"{holder}: {doing or 'nothing known of what it does'}"),
            ("Taken", f"by its request {named(own)}" if own else "by hand, not by a request"),
            ("Expires", f"by itself in {left}, unless extended"),
            ("Frees", f"{many(waiting)} that wait for it" if waiting else "nothing: nobody waits"),
            ("Also hits", f"{holder} is told; it may still write out of turn"),
            ("They see", f"the messages of {name} go on, in their order"),
            ("Undo", "cannot be taken back"),
            ("Milder", "wait for the expiry, or cancel the holder's request"),
        )
        rows = [shown for what, text in facts for shown in self.fact(what, text)]
        self.show(*rows, Line())

    def _doing(self) -> tuple[str, int | None]:
        """Return what the holder does and how many wait, where the screen can see that."""
        client = self.host.client
        locks = client.snapshot(_LOCKS).locks if client is not None else ()
        for lock in locks:
            if lock.session_id == self._session_id:
                return clean(lock.doing, 120), lock.waiting
        return "", None

    async def act(self) -> None:
        """Release the lock by force."""
        if self._holder is None:
            return
        reply = await ask(
            self.host,
            "conversation:release_lock",
            session_id=self._session_id,
            agent_id=self._holder,
            force=True,
            **self.signed,
        )
        error = refusal(reply)
        if error is not None:
            self.show_error(error)
        elif reply.get("released"):
            self.dismiss(f"the lock of {named(self._session_id)} is free")
        else:
            self.dismiss("there was no lock any more: it had ended by itself")
