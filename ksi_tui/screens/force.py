"""Force a conversation lock free, after a confirmation that names the holder."""

from __future__ import annotations

from ksi_tui.engine.views import LockView
from ksi_tui.screens.base import ask, refusal
from ksi_tui.screens.dialog import Act, Confirm, Sheet
from ksi_tui.widgets import formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line


class ForceDialog(Confirm[str]):
    """Asks whether a lock is to be taken from its holder. Answers what happened, or None."""

    SAFE = "Leave the lock"

    def __init__(self, lock: LockView) -> None:
        super().__init__()
        self._lock = lock
        self._sent = False

    def on_mount(self) -> None:
        super().on_mount()
        lock = self._lock
        holder, session = name_of(lock.holder), name_of(lock.session_id)
        self.set_heading(f"Take the lock of {session} from {holder}?")
        self.query_one("#act", Act).relabel("Take the lock")
        waits = "1 request" if lock.waiting == 1 else f"{lock.waiting} requests"
        facts = (
            ("Holder", f"{holder}: {clean(lock.doing, 120) or 'nothing known'}"),
            ("Expires", f"by itself in {formats.countdown(lock.left_s)}, unless extended"),
            ("Frees", f"{waits} that wait for it" if lock.waiting else "nothing: nobody waits"),
            ("Also hits", f"{holder} is told; it may still write out of turn"),
            ("Milder", "wait for the expiry, or cancel the holder's request"),
        )
        rows = [line(Span(f"  {what:<10}", Tone.DIM), text) for what, text in facts]
        self.query_one("#question", Sheet).show(*rows, Line())

    def act(self) -> None:
        """Release the lock by force."""
        if not self._sent:
            self._sent = True
            self.run_worker(self._force(), name="force-lock")

    async def _force(self) -> None:
        lock = self._lock
        reason = {"reason": self.reason} if self.reason else {}
        reply = await ask(
            self.host,
            "conversation:release_lock",
            session_id=lock.session_id,
            agent_id=lock.holder,
            force=True,
            by=self.host.ui.operator,
            **reason,
        )
        self._sent = False
        error = refusal(reply)
        if error is not None:
            self.show_error(error)
        elif reply.get("released"):
            self.dismiss(f"the lock of {name_of(lock.session_id)} is free")
        else:
            self.dismiss("there was no lock any more: it had ended by itself")
