"""Retry of several: names what goes again and what does not, asks, and lets it go."""

from __future__ import annotations

from ksi_tui.screens.dialogs import stakes
from ksi_tui.screens.dialogs.hits import AGAIN, Scope
from ksi_tui.screens.dialogs.outcomes import outcomes
from ksi_tui.screens.dialogs.retried import RetryReceipt
from ksi_tui.screens.dialogs.selection import SelectionDialog
from ksi_tui.screens.host import ask, refusal
from ksi_tui.widgets import formats
from ksi_tui.widgets.spans import Line


class RetryDialog(SelectionDialog[RetryReceipt]):
    """Asks what is to be tried again. Answers the receipt, or None."""

    SAFE = "Leave them"
    CRUMB = "retry"
    VERB, DOING = "Retry", "Retrying"
    STATES = AGAIN

    def nothing(self) -> str:
        """Say why there is nothing to retry."""
        return "Only what failed, was cancelled or waits in backoff can be tried again."

    def facts(self) -> list[Line]:
        """Return what a retry does and costs."""
        hits = self.hits
        facts = [
            ("They get", "their id again, fresh attempts and a fresh deadline"),
            ("Place", "at the tail of their priority; one in backoff goes now"),
            ("Undo", "u within 10 min: stopped again, what was spent is spent"),
        ]
        if hits.left_out:
            facts.append(("Left out", f"{stakes.many(hits.left_out)} in no state for it"))
        if hits.beyond:
            facts.append(("Not these", f"{hits.beyond:,} more match: one deed takes 10,000"))
        return [shown for what, text in facts for shown in self.fact(what, text)]

    async def carry_out(self) -> None:
        """Let them go again, and answer with the receipt."""
        host, at = self.host, self.moment or 0.0
        began = host.clock()
        reply = await ask(host, "completion:retry", **{**self.addressed(), **self.signed})
        error = refusal(reply)
        if error is not None:
            self.show_error(error)
            return
        receipt = RetryReceipt(
            id=host.done.fresh_id(f"r-{formats.clock(at).replace(':', '')}"),
            at=at,
            by=host.ui.operator,
            reason=self.reason,
            session_id=self.reach.session_id if self.scope is Scope.SESSION else None,
            rows=outcomes(reply.get("retried") or ()),
            took_s=host.clock() - began,
        )
        receipt.offer_undo(host.done)
        host.done.file(receipt)
        self.dismiss(receipt)
