"""Cancel: names what is to be stopped and what that hits, asks, and stops it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from ksi_tui.engine import events
from ksi_tui.screens.dialogs import stakes
from ksi_tui.screens.dialogs.hits import UNFINISHED, Scope
from ksi_tui.screens.dialogs.selection import SelectionDialog
from ksi_tui.screens.dialogs.stopped import StopReceipt, stopped_rows
from ksi_tui.screens.host import refusal
from ksi_tui.widgets import formats
from ksi_tui.widgets.spans import Line


class CancelDialog(SelectionDialog[StopReceipt | str]):
    """Asks what is to be stopped. Answers the receipt, "elsewhere" for the milder way, or None."""

    SAFE = "Keep running"
    CRUMB = "stop"
    VERB, DOING = "Stop", "Stopping"
    STATES = UNFINISHED
    HINTS = (
        ("tab", "next"),
        ("left/right", "choose"),
        ("enter", "press"),
        ("esc", "keep running"),
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("n", "milder", show=False)]

    def nothing(self) -> str:
        """Say why there is nothing to stop."""
        return "It has finished already: there is nothing to stop."

    def facts(self) -> list[Line]:
        """Return what stopping frees, who sees it, how it is undone and what would be milder."""
        hits = self.hits
        facts = [
            ("Frees", stakes.frees(hits, self.reach.session_id)),
            ("They see", "completion:cancelled with your reason; session goes on"),
            ("Undo", stakes.undo_promise(hits)),
        ]
        one = self._milder_of()
        if one is not None:
            name = stakes.named(one)
            facts.append(("Milder", f"n restarts {name} elsewhere; nothing is cancelled"))
        if hits.left_out:
            facts.append(("Left out", f"{stakes.many(hits.left_out)} that ended already"))
        if hits.beyond:
            facts.append(("Not these", f"{hits.beyond:,} more match: one deed takes 10,000"))
        return [shown for what, text in facts for shown in self.fact(what, text)]

    def _milder_of(self) -> str | None:
        running = [hit.request_id for hit in self.hits.shown if hit.phase.running]
        wanted = self.reach.request_id
        return wanted if wanted in running else None

    def action_milder(self) -> None:
        """Take the milder way."""
        if self._milder_of() is not None:
            self.dismiss("elsewhere")

    async def carry_out(self) -> None:
        """Stop them, and answer with the receipt."""
        client, host = self.host.client, self.host
        if client is None:
            self.show_error("the engine is not there")
            return
        at = self.moment or 0.0
        receipt_id = host.done.fresh_id(f"c-{formats.clock(at).replace(':', '')}")
        closed = client.subscribe(events.UPSTREAM_CLOSED)
        began = host.clock()
        data = {**self.addressed(), **self.signed, "receipt": receipt_id}
        reply = await client.emit("completion:cancel", data)
        error = refusal(reply)
        if error is not None:
            closed.end()
            self.show_error(error)
            return
        receipt = StopReceipt(
            id=receipt_id,
            at=self.moment or at,
            by=host.ui.operator,
            reason=self.reason,
            session_id=self._one_session(),
            rows=stopped_rows(reply, self.hits.shown),
            took_s=host.clock() - began,
            began=host.clock(),
            closed=closed,
        )
        receipt.offer_undo(host.done)
        host.done.file(receipt)
        self.dismiss(receipt)

    def _one_session(self) -> str | None:
        if self.scope in (Scope.ONE, Scope.SESSION) and self.reach.session_id:
            return self.reach.session_id
        sessions = {hit.session_id for hit in self.hits.shown}
        whole = len(self.hits.shown) == self.hits.total
        return sessions.pop() if whole and len(sessions) == 1 else None
