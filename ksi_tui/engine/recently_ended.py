"""Requests that ended a moment ago, as the live screen goes on showing them for a while."""

from __future__ import annotations

from dataclasses import dataclass

from ksi_tui.engine.models import State
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.views import ActiveView, Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A request that ended at `at` (epoch seconds), as the live screen shows it."""

    view: ActiveView
    at: float


def ended(ticket: Ticket, now: float, provider: str | None, message: str | None) -> Ended:
    """Return how a request that ends now is shown; `message` says why it did not complete."""
    call = ticket.run.call if ticket.run is not None else None
    why = message or ""
    if ticket.error_kind is not None and ticket.state is State.FAILED:
        why = f"{ticket.error_kind}: {why}"
    view = ActiveView(
        request_id=ticket.request_id,
        session_id=ticket.session_id,
        agent_id=ticket.agent_id,
        asked_model=ticket.route.model,
        model=call.model if call else ticket.route.model,
        provider=provider,
        phase=Phase(ticket.state.value),
        age_s=now - ticket.queued_at,
        ttft_s=call.ttft_ms / 1000 if call and call.ttft_ms is not None else None,
        tokens=call.tokens if call else 0,
        tokens_per_s=None,
        attempt=ticket.attempts,
        max_attempts=ticket.max_attempts,
        why=why,
    )
    return Ended(view=view, at=now)
