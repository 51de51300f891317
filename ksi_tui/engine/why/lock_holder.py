"""What the holder of a lock is busy with: the one place where that is inferred.

Reads only, and bounded: a snapshot asks it for every lock that is shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from ksi_tui.engine.core import Core
from ksi_tui.engine.models import Lock
from ksi_tui.engine.queue_manager import Lane
from ksi_tui.engine.ticket import Ticket

SESSIONS_LOOKED_AT = 200
"""In how many of its holder's sessions a waiting request is looked for."""
WAITING_LOOKED_AT = 500
"""How many waiting requests are looked at for the holder's, in all of its sessions together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The request that keeps a lock's holder busy. `certain`: it took that lock itself."""

    ticket: Ticket
    certain: bool


def work_of(core: Core, lock: Lock) -> Work | None:
    """Return what a lock's holder is busy with, or None when it has nothing unfinished."""
    return Holders(core).work_of(lock)


class Holders:
    """Answers for any number of locks at one moment: each agent is looked for once."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._running: dict[str, Ticket] | None = None
        self._waiting: dict[str, Ticket | None] = {}

    def work_of(self, lock: Lock) -> Work | None:
        """Return what a lock's holder is busy with, or None when it has nothing unfinished.

        The request that took the lock is certain. Otherwise the holder's own request in the
        locked session, else one that runs in another of its sessions (the longest), else one
        that waits there (the oldest): probably that is what it holds the lock for.
        """
        taker = self._core.tickets.get(lock.request_id) if lock.request_id else None
        if taker is not None:
            return Work(ticket=taker, certain=True)
        own = _Search(lock.holder).in_lane(self._core.queue.lane(lock.session_id))
        found = own or self._runs(lock.holder) or self._waits(lock.holder)
        return None if found is None else Work(ticket=found, certain=False)

    def _runs(self, agent_id: str) -> Ticket | None:
        if self._running is None:
            tickets = [lane.running for lane in self._core.queue.running_lanes()]
            own = [t for t in tickets if t is not None and t.agent_id is not None]
            # The longest of each agent stands last here, so that it is the one that stays.
            own.sort(key=lambda ticket: (ticket.started_at or 0.0, ticket.place), reverse=True)
            self._running = {ticket.agent_id: ticket for ticket in own if ticket.agent_id}
        return self._running.get(agent_id)

    def _waits(self, agent_id: str) -> Ticket | None:
        if agent_id not in self._waiting:
            search, queue = _Search(agent_id), self._core.queue
            sessions = self._core.sessions.sessions_of(agent_id, SESSIONS_LOOKED_AT)
            found = [search.in_lane(queue.lane(session_id)) for session_id in sessions]
            own = [ticket for ticket in found if ticket is not None]
            self._waiting[agent_id] = min(own, key=lambda t: (t.queued_at, t.place), default=None)
        return self._waiting[agent_id]


class _Search:
    """Looks for an agent's requests lane by lane, and at so many requests in all."""

    def __init__(self, agent_id: str) -> None:
        self._agent_id = agent_id
        self._left = WAITING_LOOKED_AT

    def in_lane(self, lane: Lane | None) -> Ticket | None:
        """Return the agent's request that runs in a lane, or the first that waits there."""
        if lane is None:
            return None
        if lane.running is not None and lane.running.agent_id == self._agent_id:
            return lane.running
        if not lane.waits_of(self._agent_id):
            return None
        for ticket in lane.waiting:
            if ticket.agent_id == self._agent_id:
                return ticket
            self._left -= 1
            if self._left < 0:
                break
        return None
