"""Who goes next: order inside sessions, fairness between them, positions and limits.

Pure policy: no I/O, no clock of its own. A session (its *lane* here) runs one request
at a time. A lane whose head may run stands in the line of the head's route; one whose
head is held by a gate (lock, backoff, pause) stands nowhere until somebody calls
`refresh`. Nothing here scans all sessions, nor all routes.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterable, Iterator
from enum import Enum
from itertools import islice
from operator import attrgetter

from ksi_tui.engine.lanes import Lane, Line, Peers, Waiting
from ksi_tui.engine.models import Cause
from ksi_tui.engine.ticket import Route, Ticket

Gate = Callable[[Ticket, float], Cause | None]
"""Says what holds a session's head back, or None when it may run."""

_ORDER = attrgetter("order")


class Service(Enum):
    """Whether some provider may be called for a route now; where none may, whether for its peers.

    A route is denied for itself where it has something of its own to wait for.
    """

    SERVED = "served"
    DENIED = "denied"
    PEERS_DENIED = "peers denied"


def _of_its_own(route: Route) -> Hashable:
    return route


class QueueManager:
    """All waiting requests. `gate` says what holds a head back; `changes` counts what changed.

    `served_by` names who serves a route: routes for which it gives the same are peers.
    """

    def __init__(self, gate: Gate, served_by: Callable[[Route], Hashable] = _of_its_own) -> None:
        self._gate = gate
        self._served_by = served_by
        self._lanes: dict[str, Lane] = {}
        self._lines: dict[Route, Line] = {}
        self._peers: dict[Hashable, Peers] = {}
        self._stood = 0
        self._epoch = 0
        self._running: dict[str, Lane] = {}
        self._begun: dict[str, Ticket] = {}
        self.waiting_count = 0
        self.changes = 0

    # --- questions -----------------------------------------------------------------------

    def lane(self, session_id: str) -> Lane | None:
        """Return a session's lane; None when nothing of it is unfinished."""
        return self._lanes.get(session_id)

    def lanes(self) -> Iterable[Lane]:
        """Return all lanes with unfinished requests."""
        return self._lanes.values()

    def running_lanes(self) -> Iterable[Lane]:
        """Return the lanes in which a request runs."""
        return self._running.values()

    def begun_heads(self, limit: int) -> list[Ticket]:
        """Return up to `limit` waiting heads that have run before (in backoff, or interrupted)."""
        return list(islice(self._begun.values(), limit))

    def begun(self) -> list[Ticket]:
        """Return every waiting head that has run before."""
        return list(self._begun.values())

    def lines(self, limit: int) -> Iterator[Waiting]:
        """Yield what waits for up to `limit` routes; O(1) each, however many stand there."""
        for line in list(islice(self._lines.values(), limit)):
            yield Waiting(line.route, line.sessions, line.requests, line.longest())

    @property
    def session_count(self) -> int:
        """How many sessions have unfinished requests."""
        return len(self._lanes)

    def depth(self, session_id: str) -> int:
        """Return how many requests of a session wait (the running one not counted)."""
        lane = self._lanes.get(session_id)
        return len(lane.waiting) if lane else 0

    def active(self, session_id: str) -> bool:
        """Whether a request of a session runs."""
        lane = self.lane(session_id)
        return lane is not None and lane.running is not None

    def position(self, ticket: Ticket) -> int:
        """Return the place of a waiting request in its session, from 1; 0 when it runs."""
        lane = self._lanes.get(ticket.session_id)
        if lane is None or lane.running is ticket:
            return 0
        return bisect_left(lane.waiting, ticket.order, key=_ORDER) + 1

    def ahead(self, ticket: Ticket) -> Ticket | None:
        """Return the request that runs or waits directly before this one in its session."""
        lane = self._lanes[ticket.session_id]
        if lane.running is ticket:
            return None
        index = bisect_left(lane.waiting, ticket.order, key=_ORDER)
        return lane.waiting[index - 1] if index else lane.running

    @property
    def running_count(self) -> int:
        """How many requests run."""
        return len(self._running)

    # --- changes -------------------------------------------------------------------------

    def add(self, ticket: Ticket, now: float) -> None:
        """Put a request into its session, at the place its order gives it."""
        lane = self._lanes.get(ticket.session_id)
        if lane is None:
            lane = self._lanes[ticket.session_id] = Lane(ticket.session_id)
        before = lane.head
        self._insert(lane, ticket)
        if lane.head is not before:
            self._place(lane, now)

    def _insert(self, lane: Lane, ticket: Ticket) -> None:
        if lane.waiting and ticket.order < lane.waiting[-1].order:
            insort(lane.waiting, ticket, key=_ORDER)
        else:
            lane.waiting.append(ticket)
        lane.entered(ticket.agent_id)
        self.changes += 1
        self.waiting_count += 1

    def take(self, now: float, serves: Callable[[Route], Service]) -> Ticket | None:
        """Remove and return the next request to run, or None when none may run now.

        `serves` says whether some provider may be called for a route now; a route that
        it denies is not asked about again until `provider_freed`.
        """
        turns = []
        for peers in self._peers.values():
            peers.renew(self._epoch)
            if (turn := peers.turn(now)) is not None:
                turns.append(turn)
        heapq.heapify(turns)
        while turns:
            _, _, level, line = turns[0]
            service = serves(line.route)
            if service is Service.SERVED:
                return self._start(line.first(level))
            peers = line.peers
            if service is Service.DENIED:
                peers.set_aside(line)
            else:
                peers.denied = True
            if (turn := peers.turn(now)) is not None:
                heapq.heapreplace(turns, turn)
            else:
                heapq.heappop(turns)
        return None

    def _start(self, lane: Lane) -> Ticket:
        ticket = lane.waiting.pop(0)
        lane.left(ticket.agent_id)
        self._step_out(lane)
        lane.running = ticket
        self.changes += 1
        lane.began_since, lane.ready_since = lane.ready_since, None
        self.waiting_count -= 1
        self._begun.pop(lane.session_id, None)
        self._running[lane.session_id] = lane
        return ticket

    def put_back(self, ticket: Ticket, now: float, *, uncalled: bool = False) -> None:
        """Let a running request wait again, where its order puts it.

        One for which nobody was called has not had its turn: it is ready since it was before.
        """
        self._stop(ticket)
        lane = self._lanes[ticket.session_id]
        if uncalled:
            lane.ready_since = lane.began_since
        self._insert(lane, ticket)
        self._place(lane, now)

    def finish(self, ticket: Ticket, now: float) -> None:
        """Take a running or waiting request out; its session goes on."""
        lane = self._lanes.get(ticket.session_id)
        if lane is None:
            return
        if lane.running is ticket:
            self._stop(ticket)
        else:
            index = bisect_left(lane.waiting, ticket.order, key=_ORDER)
            if index >= len(lane.waiting) or lane.waiting[index] is not ticket:
                return
            del lane.waiting[index]
            lane.left(ticket.agent_id)
            self.changes += 1
            self.waiting_count -= 1
            if index:
                return
        self._place(lane, now)

    def _stop(self, ticket: Ticket) -> None:
        lane = self._lanes[ticket.session_id]
        if lane.running is not ticket:
            raise ValueError(f"{ticket.request_id} does not run")
        lane.running = None
        del self._running[ticket.session_id]

    def refresh(self, session_id: str, now: float) -> None:
        """Ask the gate again: a lock, a backoff or a pause of this session changed."""
        lane = self._lanes.get(session_id)
        if lane is not None:
            self._place(lane, now)

    def provider_freed(self) -> None:
        """Ask about every route again: a slot, a circuit or a cooldown changed."""
        self._epoch += 1

    def providers_changed(self) -> None:
        """Ask anew who serves what: a provider came."""
        self._epoch += 1
        self._peers.clear()
        for line in self._lines.values():
            line.join(self._peers_of(line.route))

    def _place(self, lane: Lane, now: float) -> None:
        """Put a lane where its head belongs: into a line, or nowhere."""
        self.changes += 1
        self._step_out(lane)
        head = lane.head
        self._begun.pop(lane.session_id, None)
        if head is not None and head.started_at is not None:
            self._begun[lane.session_id] = head
        if head is None:
            lane.ready_since = None
            if lane.running is None:
                del self._lanes[lane.session_id]
            return
        if lane.running is not None or self._gate(head, now) is not None:
            lane.ready_since = None
            return
        if lane.ready_since is None:
            lane.ready_since = now
        line = self._lines.get(head.route)
        if line is None:
            line = self._lines[head.route] = Line(head.route, self._peers_of(head.route))
        self._stood += 1
        lane.stand(line, head.level, (lane.ready_since, self._stood))

    def _peers_of(self, route: Route) -> Peers:
        key = self._served_by(route)
        peers = self._peers.get(key)
        if peers is None:
            peers = self._peers[key] = Peers(key)
        return peers

    def _step_out(self, lane: Lane) -> None:
        line = lane.line
        if line is None:
            return
        lane.step_out()
        if not line.sessions:
            del self._lines[line.route]
            line.peers.lines -= 1
            if not line.peers.lines:
                del self._peers[line.peers.key]
