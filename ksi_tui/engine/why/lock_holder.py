"""What the holder of a lock is busy with: the one place where that is inferred.

Reads only, and bounded: a snapshot asks it for every lock that is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from ksi_tui.engine.core import Core
from ksi_tui.engine.models import Lock
from ksi_tui.engine.queue_manager import Lane
from ksi_tui.engine.ticket import Ticket

SESSIONS_LOOKED_AT = 200
"""In how many of its holder's sessions a waiting request is looked for."""
WAITING_LOOKED_AT = 100
"""How many waiting requests of a session are looked at for one of the holder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The request that keeps a lock's holder busy. `certain`: it took that lock itself."""

    ticket: Ticket
    certain: bool


def work_of(core: Core, lock: Lock) -> Work | None:
    """Return what a lock's holder is busy with, or None when it has nothing unfinished.

    The request that took the lock is certain. Otherwise the holder's own request in the
    locked session, else one that runs in another of its sessions (the longest), else one
    that waits there (the oldest): probably that is what it holds the lock for.
    """
    taker = core.tickets.get(lock.request_id) if lock.request_id else None
    if taker is not None:
        return Work(ticket=taker, certain=True)
    own = _in_lane(core.queue.lane(lock.session_id), lock.holder)
    found = own or _running(core, lock.holder) or _waiting(core, lock.holder)
    return None if found is None else Work(ticket=found, certain=False)


def _in_lane(lane: Lane | None, agent_id: str) -> Ticket | None:
    if lane is None:
        return None
    if lane.running is not None and lane.running.agent_id == agent_id:
        return lane.running
    waiting = islice(lane.waiting, WAITING_LOOKED_AT)
    return next((ticket for ticket in waiting if ticket.agent_id == agent_id), None)


def _running(core: Core, agent_id: str) -> Ticket | None:
    tickets = [lane.running for lane in core.queue.running_lanes()]
    own = [ticket for ticket in tickets if ticket is not None and ticket.agent_id == agent_id]
    return min(own, key=lambda ticket: (ticket.started_at or 0.0, ticket.place), default=None)


def _waiting(core: Core, agent_id: str) -> Ticket | None:
    sessions = core.sessions.sessions_of(agent_id, SESSIONS_LOOKED_AT)
    found = [_in_lane(core.queue.lane(session_id), agent_id) for session_id in sessions]
    own = [ticket for ticket in found if ticket is not None]
    return min(own, key=lambda ticket: (ticket.queued_at, ticket.place), default=None)
