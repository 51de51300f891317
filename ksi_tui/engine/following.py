"""What whoever begins to follow a request is told first: how far it is. Reads only."""

from __future__ import annotations

from typing import Any

from ksi_tui.engine.ticket import Ticket


def so_far(ticket: Ticket) -> dict[str, Any]:
    """Return an unfinished request's state and the text of its running call, as plain JSON.

    `attempt` and `call` are those of the `completion:delta` events to come; None where
    nobody is called.
    """
    run = ticket.run
    call = run.call if run is not None else None
    return {
        "status": str(ticket.state),
        "provider": call.entry.name if call is not None else None,
        "model": call.model if call is not None else ticket.route.model,
        "attempt": run.attempt if run is not None and call is not None else None,
        "call": call.ordinal if call is not None else None,
        "text": call.text if call is not None else "",
    }
