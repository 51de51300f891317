"""What an operator does to a request from any screen: cancel, retry, elsewhere, submit, copy.

A deed is one event of the engine and one line about its reply. The dialogs that come
before one are screens of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ksi_tui.screens import later
from ksi_tui.screens.base import Target, ask, refusal
from ksi_tui.screens.composing import ComposingScreen
from ksi_tui.widgets.spans import Tone

if TYPE_CHECKING:
    from ksi_tui.engine.views import LockView
    from ksi_tui.screens.receipt import Stopped


class ActingScreen(ComposingScreen):
    """A full screen with a target to act on."""

    def action_retry(self) -> None:
        """Try the target again."""
        target = self.target()
        if target is None:
            self.say("retry needs a request or a session under the cursor", Tone.WARN)
            return
        self.run_worker(self._retry(target), name="retry", group="deeds")

    async def _retry(self, target: Target, **how: Any) -> None:
        named = (
            {"request_id": target.request_id}
            if target.request_id
            else {"session_id": target.session_id}
        )
        reply = await ask(self.host, "completion:retry", **named, **how, by=self.host.ui.operator)
        error = refusal(reply)
        if error is not None:
            self.say(f"not retried: {error}", Tone.BAD)
            return
        moved = [entry for entry in reply.get("retried", ()) if entry.get("changed", True)]
        if not moved:
            self.say("nothing to retry: it neither failed nor waits in backoff", Tone.WARN)
        elif avoided := how.get("avoid"):
            self.say(f"{target.request_id} leaves {', '.join(avoided)}: next attempt elsewhere")
        else:
            self.say(f"{', '.join(str(entry['request_id']) for entry in moved)} goes again")

    def action_elsewhere(self) -> None:
        """Send the target's request to another provider."""
        target = self.target()
        if target is None or target.request_id is None:
            self.say("send elsewhere needs a request: choose one in Active or Queues", Tone.WARN)
            return
        self.run_worker(self._elsewhere(target), name="elsewhere", group="deeds")

    async def _elsewhere(self, target: Target) -> None:
        provider = target.provider or await self._waits_for(target)
        if provider is None:
            self.say(f"{target.request_id} is at no provider and waits for none", Tone.WARN)
            return
        await self._retry(target, avoid=[provider])

    async def _waits_for(self, target: Target) -> str | None:
        reply = await ask(self.host, "completion:request_status", request_id=target.request_id)
        cause = reply.get("cause") or {}
        named = cause.get("kind") in ("slot", "circuit", "cooldown", "rate", "running", "no_token")
        return str(cause["target"]) if named and cause.get("target") else None

    def action_cancel(self) -> None:
        """Ask what is to be stopped, and stop it."""
        target = self.target()
        if target is None:
            self.say("cancel needs a request or a session under the cursor", Tone.WARN)
            return
        self.app.push_screen(later.cancel_dialog(target), self._after_cancel)

    def _after_cancel(self, answer: Stopped | str | None) -> None:
        if isinstance(answer, str):
            self.action_elsewhere()
        elif answer is not None:
            self.app.push_screen(later.receipt(answer))

    def force_lock(self, lock: LockView) -> None:
        """Ask whether a lock is to be taken from its holder, and take it."""
        self.app.push_screen(later.force_dialog(lock), self._after_force)

    def _after_force(self, answer: str | None) -> None:
        if answer:
            self.say(answer)

    def copy_out(self, text: str, what: str) -> None:
        """Copy a text, and say by which way and whether that can be known."""
        self.run_worker(self._copy_out(text, what), name="copy", group="copy", exclusive=True)

    async def _copy_out(self, text: str, what: str) -> None:
        self.say(f"{what}, {len(text):,} characters: {await self.host.copy(text)}")
