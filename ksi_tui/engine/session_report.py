"""Everything about one session in one reply: its queue, lock, people and newest requests.

Joins what the store has written down with what is in memory. Reads only.
"""

from __future__ import annotations

from typing import Any

from ksi_tui.engine.clock import iso
from ksi_tui.engine.continuity import history_report
from ksi_tui.engine.control_replies import pause_reply
from ksi_tui.engine.core import Core
from ksi_tui.engine.models import Usage
from ksi_tui.engine.payloads import SessionStatus
from ksi_tui.engine.store.records import StoredRequest
from ksi_tui.engine.why.causes import Causes
from ksi_tui.engine.why.report import cause_reply

SESSION_REQUESTS = 200
"""How many of a session's newest requests `completion:session_status` lists."""


async def session_report(core: Core, causes: Causes, data: SessionStatus) -> dict[str, Any]:
    """Return the reply of `completion:session_status`; an unknown session is no error."""
    session_id = data.session_id
    known = await core.store.session(session_id) or core.sessions.get(session_id)
    stored = await core.store.session_requests(session_id, SESSION_REQUESTS)
    spent = await core.store.spent_of([request.spec.request_id for request in stored])
    lane, lock = core.queue.lane(session_id), core.locks.get(session_id)
    pause = core.pauses.session(session_id)
    size = len(lane.waiting) if lane else 0
    running = lane.running if lane else None
    return {
        "session_id": session_id,
        "exists": known is not None,
        "completions": [
            _completion(core, causes, request, *spent.get(request.spec.request_id, (None, None)))
            for request in stored
        ],
        "queue": {
            "exists": lane is not None,
            "queue_size": size,
            "is_active": running is not None,
            "is_empty": size == 0,
        },
        "session": {
            "exists": known is not None,
            "created_at": iso(known.created_at) if known else None,
            "last_activity": iso(known.last_activity) if known else None,
            "request_count": known.request_count if known else 0,
            "active_request": running.request_id if running else None,
            "conversation_locked": lock is not None,
            "lock_holder": lock.holder if lock else None,
            "lock_expiry": iso(lock.expires_at) if lock else None,
            "lock_granted": iso(lock.granted_at) if lock else None,
            "lock_extended": lock.extended if lock else 0,
            "turn_count": known.turn_count if known else 0,
            "lock_request": lock.request_id if lock else None,
            "paused": None if pause is None else pause_reply(pause),
            "agents": sorted(known.agents) if known else [],
        },
        **({"history": await history_report(session_id, core.store)} if data.history else {}),
    }


def _completion(
    core: Core, causes: Causes, stored: StoredRequest, usage: Usage | None, cost: float | None
) -> dict[str, Any]:
    ticket = core.tickets.get(stored.spec.request_id)
    why, cause, phase = stored.error_message, None, str(stored.state)
    if ticket is not None and not ticket.state.final:
        found = causes.cause(ticket, core.clock())
        why, cause = found.text, cause_reply(found)
        phase = str(causes.phase(ticket, core.clock()))
    return {
        "request_id": stored.spec.request_id,
        "status": str(ticket.state if ticket else stored.state),
        "why": why,
        "cause": cause,
        "queued_at": iso(stored.queued_at),
        "started_at": iso(stored.started_at),
        "completed_at": iso(stored.finished_at),
        "attempts": ticket.attempts if ticket else stored.attempts,
        "max_attempts": ticket.max_attempts if ticket else stored.max_attempts,
        "phase": phase,
        "agent_id": stored.spec.agent_id,
        "asked_model": stored.spec.model,
        "model": stored.answered_model,
        "provider": stored.provider,
        "error_kind": str(stored.error_kind) if stored.error_kind else None,
        "ttft_ms": stored.ttft_ms,
        "tokens": usage.total if usage else None,
        "estimated": bool(usage and usage.estimated),
        "cost": cost,
        "by": stored.by,
        "reason": stored.reason,
    }
