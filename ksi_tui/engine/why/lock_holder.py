"""What the holder of a lock is busy with: the one place where that is inferred.

Reads only, and bounded: a snapshot asks it for every lock that is shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from ksi_tui.engine.core import Core
from ksi_tui.engine.models import Lock
from ksi_tui.engine.ticket import Ticket

SESSIONS_LOOKED_AT = 50
"""In how many of its holder's sessions a waiting request is looked for."""
WAITING_LOOKED_AT = 100
"""How many waiting requests of a session that several agents share are looked at."""

SHARED_LOOKED_AT = 5
"""In how many such sessions it is looked for behind the first that waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The request that keeps a lock's holder busy. `certain`: it took that lock itself."""

    ticket: Ticket
    certain: bool


def work_of(core: Core, lock: Lock) -> Work | None:
    """Return what a lock's holder is busy with, or None when it has nothing unfinished."""
    return Holders(core).work_of(lock)


class Holders:
    """Answers for any number of locks: at one moment each agent is looked for once."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._running: dict[str, Ticket] | None = None
        self._waiting: dict[str, Ticket | None] = {}

    def again(self, *, anew: bool) -> Holders:
        """Be asked at another moment; unless `anew`, what still waits is not looked for again."""
        self._running = None
        if anew:
            self._waiting.clear()
        return self

    def work_of(self, lock: Lock) -> Work | None:
        """Return what a lock's holder is busy with, or None when it has nothing unfinished.

        The request that took the lock is certain. Otherwise the holder's own request in the
        locked session, else one that runs in another of its sessions (the longest), else one
        that waits there (the oldest): probably that is what it holds the lock for.
        """
        taker = self._core.tickets.get(lock.request_id) if lock.request_id else None
        if taker is not None:
            return Work(ticket=taker, certain=True)
        own = self._in_lane(lock)
        found = own or self._runs(lock.holder) or self._waits(lock.holder)
        return None if found is None else Work(ticket=found, certain=False)

    def _in_lane(self, lock: Lock) -> Ticket | None:
        lane = self._core.queue.lane(lock.session_id)
        if lane is None:
            return None
        if lane.running is not None and lane.running.agent_id == lock.holder:
            return lane.running
        return lane.first_of(lock.holder, WAITING_LOOKED_AT)

    def _runs(self, agent_id: str) -> Ticket | None:
        if self._running is None:
            tickets = [lane.running for lane in self._core.queue.running_lanes()]
            own = [t for t in tickets if t is not None and t.agent_id is not None]
            # The longest of each agent stands last here, so that it is the one that stays.
            own.sort(key=lambda ticket: (ticket.started_at or 0.0, ticket.place), reverse=True)
            self._running = {ticket.agent_id: ticket for ticket in own if ticket.agent_id}
        return self._running.get(agent_id)

    def _waits(self, agent_id: str) -> Ticket | None:
        known = self._waiting.get(agent_id)
        gone = known is not None and self._core.tickets.get(known.request_id) is not known
        if agent_id not in self._waiting or gone:
            found, left = None, SHARED_LOOKED_AT
            for session_id in self._core.sessions.sessions_of(agent_id, SESSIONS_LOOKED_AT):
                lane = self._core.queue.lane(session_id)
                if lane is None:
                    continue
                left -= lane.shared
                first = lane.first_of(agent_id, WAITING_LOOKED_AT if left >= 0 else 1)
                if first is not None and (found is None or _older(first, found)):
                    found = first
            self._waiting[agent_id] = known = found
        return known


def _older(one: Ticket, other: Ticket) -> bool:
    return (one.queued_at, one.place) < (other.queued_at, other.place)
