"""Take back what was done last: says what comes back before, and what came back after."""

from __future__ import annotations

from typing import Any

from ksi_tui.screens.dialogs.confirm import Confirm
from ksi_tui.screens.dialogs.outcomes import Outcome, failures, outcomes
from ksi_tui.screens.done import Deed
from ksi_tui.screens.host import ask, refusal
from ksi_tui.widgets import formats
from ksi_tui.widgets.spans import Line


class UndoDialog(Confirm[str]):
    """Asks whether a deed is to be taken back. Answers what happened, or None."""

    SAFE = "Leave it"
    CRUMB = "undo"

    def __init__(self, deed: Deed) -> None:
        super().__init__()
        self._deed = deed

    def on_mount(self) -> None:
        super().on_mount()
        self.label_act("Take it back")
        self.set_heading("Take back what was done last?")
        self.set_interval(0.5, self._show, name="undo-left")
        self._show()

    def _show(self) -> None:
        done, deed = self.host.done, self._deed
        facts = (
            ("Done", f"{deed.what}, {formats.age(done.age_s(deed))} ago"),
            ("Undoing", deed.back),
            ("Left", f"{formats.countdown(done.left_s(deed))}, then it stays"),
        )
        rows = [shown for what, text in facts for shown in self.fact(what, text)]
        self.show(*rows, Line())

    async def act(self) -> None:
        """Undo it, step by step."""
        done, deed = self.host.done, self._deed
        if done.left_s(deed) <= 0:
            self.show_error("this can no longer be taken back: its time is over")
            return
        found: list[Outcome] = []
        for event, data in deed.steps:
            why = data.get("reason") or self.reason or f"undo: {deed.what}"
            signed = {"by": self.host.ui.operator, "reason": why}
            reply = await ask(self.host, event, **{**data, **signed})
            error = refusal(reply)
            if error is not None and reply.get("code") == "not_ready":
                self.show_error(error)
                return
            found += _outcomes(reply, error, data)
        done.forget(deed)
        self.dismiss(_said(deed, found))


def _outcomes(reply: dict[str, Any], error: str | None, data: Any) -> tuple[Outcome, ...]:
    if error is not None:
        name = str(data.get("request_id") or data.get("id") or data.get("provider") or "it")
        return (Outcome(request_id=name, was="", changed=False, error=error),)
    return outcomes(reply.get("retried") or reply.get("cancelled") or ())


def _said(deed: Deed, found: list[Outcome]) -> str:
    bad = [each for each in found if each.error or not each.changed]
    if not bad:
        return f"undone: {deed.after}"
    why = "; ".join(failures(bad)[:2]) or "the others were as they had been"
    good = len(found) - len(bad)
    return f"undone in part: {good} of {len(found)}; {why}" if good else f"not undone: {why}"
