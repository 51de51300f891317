"""What a user does from any screen: cancel, retry, send elsewhere, pause, probe, force, undo.

The keys act on what the cursor is on, and on what is marked; the functions `do_…` act on
what they are told, for a screen that shows other requests than the one it is about. Each
asks first where it can do harm. The dialogs are screens of their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ksi_tui.screens import later
from ksi_tui.screens.base import SAY_S, Target
from ksi_tui.screens.composing import ComposingScreen
from ksi_tui.screens.host import ask, refusal
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Tone

if TYPE_CHECKING:
    from textual.screen import ModalScreen

    from ksi_tui.screens.dialogs.retried import RetryReceipt
    from ksi_tui.screens.dialogs.stopped import StopReceipt
    from ksi_tui.screens.done import Receipt

AT_PROVIDER = ("slot", "circuit", "cooldown", "rate", "running", "no_token")
"""Kinds of causes whose target is a provider."""


class ActingScreen(ComposingScreen):
    """A full screen with a target to act on."""

    def matching(self) -> str | None:
        """Return the filter of the list that is shown, as text; None where no list is shown."""
        return None

    # --- cancel ------------------------------------------------------------------------

    def action_cancel(self) -> None:
        """Ask what is to be stopped, and stop it."""
        self.do_cancel(self.target(), self.marked())

    def do_cancel(self, target: Target | None, ids: Sequence[str] = ()) -> None:
        """Ask whether a request, its session or the requests `ids` are to be stopped."""
        if self._names_requests(target, ids, "cancel"):
            dialog = later.cancel_dialog(target or Target(), tuple(ids), self.matching())
            self._confirm("cancel", dialog, lambda answer: self._after_cancel(target, answer))

    def _names_requests(self, target: Target | None, ids: Sequence[str], what: str) -> bool:
        if ids or (target is not None and (target.request_id or target.session_id)):
            return True
        self.say(f"{what} needs a request or a session under the cursor", Tone.WARN)
        return False

    def _after_cancel(self, target: Target | None, answer: StopReceipt | str | None) -> None:
        if isinstance(answer, str):
            if target is not None:
                self.do_elsewhere(target)
        elif answer is not None:
            follow = answer.follow(self.host)
            self.app.run_worker(follow, name=f"receipt {answer.id}", group="receipts")
            self._show_receipt(answer)

    def _show_receipt(self, receipt: Receipt) -> None:
        def closed(answer: str | None) -> None:
            if answer == "undo":
                self.action_undo()

        self.app.push_screen(later.receipt_page(receipt), closed)

    # --- retry, and send elsewhere -----------------------------------------------------

    def action_retry(self) -> None:
        """Try the target again, or what is marked."""
        self.do_retry(self.target(), self.marked())

    def do_retry(self, target: Target | None, ids: Sequence[str] = ()) -> None:
        """Try one request again at once; a session or the requests `ids` after asking."""
        if not self._names_requests(target, ids, "retry"):
            return
        if not ids and target is not None and target.request_id is not None:
            self._do("retry", partial(self._retry, target.request_id))
            return
        dialog = later.retry_dialog(target or Target(), tuple(ids), self.matching())
        self._confirm("retry", dialog, self._after_retry)

    def _after_retry(self, receipt: RetryReceipt | None) -> None:
        if receipt is not None:
            self._show_receipt(receipt)

    async def _retry(self, request_id: str) -> None:
        reply = await ask(
            self.host, "completion:retry", request_id=request_id, by=self.host.ui.operator
        )
        error = refusal(reply)
        if error is not None:
            self.say(f"not retried: {error}", Tone.BAD)
        elif later.note_retry(self.host, reply):
            self.say(f"{name_of(request_id)} goes again; u takes that back")
        else:
            self.say(f"{name_of(request_id)} goes again")

    def action_elsewhere(self) -> None:
        """Send the target's request to another provider."""
        self.do_elsewhere(self.target())

    def do_elsewhere(self, target: Target | None, model: str = "") -> None:
        """Ask where a request is to go on, proposing a model, and let it go on there."""
        if target is None or target.request_id is None:
            self.say("send elsewhere needs a request under the cursor", Tone.WARN)
            return
        self._confirm("elsewhere", later.elsewhere_dialog(target, model), self._tell)

    # --- pauses, circuits, locks -------------------------------------------------------

    def action_pause(self) -> None:
        """Pause what the cursor is on, or let it go on."""
        self.do_pause(self.target())

    def do_pause(self, target: Target | None) -> None:
        """Ask how far a pause goes: the target's session or provider, or everything.

        What is paused is offered to go on. Without a target: everything.
        """
        self._confirm("pause", later.pause_dialog(target), self._tell)

    def action_probe(self) -> None:
        """Let one waiting request through as the probe."""
        self._at_provider("probe", "probe needs a provider under the cursor")

    def action_force_circuit(self) -> None:
        """Hold the circuit of the target's provider open or closed, or let it go."""
        self._at_provider("force_circuit", "force needs a provider under the cursor")

    def _at_provider(self, action_id: str, without: str) -> None:
        target = self.target()
        if target is not None and target.provider is not None:
            self._go_on(action_id, target.provider)
        elif target is not None and target.request_id is not None:
            find = partial(self._find_provider, action_id, target.request_id, without)
            self._do(action_id, find)
        else:
            self.say(without, Tone.WARN)

    async def _find_provider(self, action_id: str, request_id: str, without: str) -> None:
        """Go on with the provider that a request waits for."""
        reply = await ask(self.host, "completion:request_status", request_id=request_id)
        cause = reply.get("cause") or {}
        if cause.get("kind") in AT_PROVIDER and cause.get("target"):
            self._go_on(action_id, str(cause["target"]))
        else:
            self.say(f"{without}: {name_of(request_id)} waits for none", Tone.WARN)

    def _go_on(self, action_id: str, provider: str) -> None:
        if action_id == "probe":
            self.do_probe(provider)
        else:
            self.do_force_circuit(provider)

    def do_probe(self, provider: str) -> None:
        """Let one request that waits for a provider through now; says which one it was."""
        self._do("probe", partial(self._probe, provider))

    async def _probe(self, provider: str) -> None:
        name, by = name_of(provider), self.host.ui.operator
        reply = await ask(self.host, "provider:probe", provider=provider, by=by)
        error = refusal(reply)
        if error is not None:
            self.say(f"not probed: {error}", Tone.WARN)
        elif reply.get("taken"):
            self.say(f"{name_of(reply.get('request_id'))} is the probe of {name}")
        else:
            self.say(f"nobody waits for {name}: the next request is the probe")

    def do_force_circuit(self, provider: str) -> None:
        """Ask in which state a provider's circuit is to be held, and for how long."""
        self._confirm("force_circuit", later.circuit_dialog(provider), self._tell)

    def action_force_lock(self) -> None:
        """Take the lock of the target's session from its holder."""
        target = self.target()
        if target is None or target.session_id is None:
            self.say("force lock needs a lock or a session under the cursor", Tone.WARN)
            return
        self.do_force_lock(target.session_id)

    def do_force_lock(self, session_id: str) -> None:
        """Ask whether a session's lock is to be taken from its holder, and take it."""
        self._confirm("force_lock", later.lock_dialog(session_id), self._tell)

    # --- undo, submit, copy ------------------------------------------------------------

    def action_undo(self) -> None:
        """Ask whether what was done last is to be taken back, and take it back."""
        deed = self.host.done.last()
        if deed is None:
            self.say("nothing to take back: nothing was done in the last 10 min", Tone.WARN)
        else:
            self._confirm("undo", later.undo_dialog(deed), self._tell)

    def action_copy(self) -> None:
        """Copy the id of the target; once more: the receipt of what was done to it.

        Without a target there is the last receipt.
        """
        target, receipt, now = self.target(), self.receipt_here(), self.host.clock()
        text = target and (target.request_id or target.session_id or target.provider)
        if receipt is not None and (not text or now <= self._copied_until):
            self._copied_until = 0.0
            self._show_receipt(receipt)
        elif text:
            self._copied_until = now + SAY_S
            again = f" (y again: receipt {receipt.id})" if receipt is not None else ""
            self.copy_out(text, f"the id{again}")
        else:
            self.say("nothing is under the cursor to be copied", Tone.WARN)

    _copied_until = 0.0

    def receipt_here(self) -> Receipt | None:
        """Return the receipt about the target; without a target the last one there is."""
        target, done = self.target(), self.host.done
        if target is None:
            return done.receipts[-1] if done.receipts else None
        return done.receipt_about(target.request_id, target.session_id)

    def copy_out(self, text: str, what: str) -> None:
        """Copy a text, and say by which way and whether that can be known."""
        self.start(partial(self._copy_out, text, what), name="copy", group="copy", exclusive=True)

    async def _copy_out(self, text: str, what: str) -> None:
        self.say(f"{what}, {len(text):,} characters: {await self.host.copy(text)}")

    # --- asking and doing --------------------------------------------------------------

    def _confirm(self, action_id: str, dialog: ModalScreen[Any], after: Any) -> None:
        if self.allowed(action_id):
            self.app.push_screen(dialog, after)

    def _do(self, action_id: str, deed: Callable[[], Awaitable[None]]) -> None:
        if self.allowed(action_id):
            self.start(deed, name=action_id, group="deeds")

    def _tell(self, answer: str | None) -> None:
        if answer:
            self.say(answer)
