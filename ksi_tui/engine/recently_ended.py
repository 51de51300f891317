"""Requests that ended a moment ago, as the live screen goes on showing them for a while."""

from __future__ import annotations

from typing import NamedTuple

from ksi_tui.engine.models import State
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.views import ActiveView, Phase


class Ended(NamedTuple):
    """A request that ended at `at` (epoch seconds). Thousands a second end, a few are shown."""

    at: float
    ticket: Ticket
    state: State
    provider: str | None
    model: str
    ttft_ms: float | None
    tokens: int
    attempt: int
    why: str

    @property
    def request_id(self) -> str:
        """Whose end it is."""
        return self.ticket.request_id

    @property
    def view(self) -> ActiveView:
        """How it is shown."""
        ticket = self.ticket
        return ActiveView(
            request_id=ticket.request_id,
            session_id=ticket.session_id,
            agent_id=ticket.agent_id,
            asked_model=ticket.route.model,
            model=self.model,
            provider=self.provider,
            phase=Phase(self.state.value),
            age_s=self.at - ticket.queued_at,
            ttft_s=None if self.ttft_ms is None else self.ttft_ms / 1000,
            tokens=self.tokens,
            tokens_per_s=None,
            attempt=self.attempt,
            max_attempts=ticket.max_attempts,
            why=self.why,
        )


def ended(ticket: Ticket, now: float, provider: str | None, message: str | None) -> Ended:
    """Return how a request that ends now is shown; `message` says why it did not complete."""
    call = ticket.run.call if ticket.run is not None else None
    why = message or ""
    if ticket.error_kind is not None and ticket.state is State.FAILED:
        why = f"{ticket.error_kind}: {why}"
    return Ended(
        at=now,
        ticket=ticket,
        state=ticket.state,
        provider=provider,
        model=call.model if call else ticket.route.model,
        ttft_ms=call.ttft_ms if call else None,
        tokens=call.tokens if call else 0,
        attempt=ticket.attempts,
        why=why,
    )
