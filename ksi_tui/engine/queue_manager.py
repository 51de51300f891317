"""Who goes next: order inside sessions, fairness between them, positions and limits.

Pure policy: no I/O, no clock of its own. A session (its *lane* here) runs one request
at a time. A lane whose head may run stands in the ready heap of the head's route;
one whose head is held by a gate (lock, backoff, pause) stands nowhere until somebody
calls `refresh`. Nothing here scans all sessions.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter

from ksi_tui.engine.models import Cause
from ksi_tui.engine.ticket import Route, Ticket

AGEING_S = 60.0
"""Each full minute of being ready raises a session by one class (contract section 3)."""

Gate = Callable[[Ticket, float], Cause | None]
"""Says what holds a session's head back, or None when it may run."""

_ORDER = attrgetter("order")


class Lane:
    """One session's requests: those that wait, in order, and the one that runs."""

    __slots__ = (
        "_agent",
        "_agents",
        "began_since",
        "counted",
        "line",
        "ready_since",
        "running",
        "session_id",
        "version",
        "waiting",
    )

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.waiting: list[Ticket] = []
        self.running: Ticket | None = None
        self.ready_since: float | None = None
        self.began_since: float | None = None
        self.version = 0
        self.line: _Ready | None = None
        self.counted = 0
        # Most sessions have one agent: a table of counts is there only while they have more.
        self._agent: str | None = None
        self._agents: dict[str | None, int] | None = None

    @property
    def head(self) -> Ticket | None:
        """The next to run."""
        return self.waiting[0] if self.waiting else None

    def waits_of(self, agent_id: str | None) -> int:
        """Return how many requests of an agent wait here; O(1)."""
        if self._agents is not None:
            return self._agents.get(agent_id, 0)
        return len(self.waiting) if agent_id == self._agent else 0

    @property
    def shared(self) -> bool:
        """Whether requests of several agents wait here."""
        return self._agents is not None

    def first_of(self, agent_id: str, limit: int) -> Ticket | None:
        """Return an agent's first request here, of the first `limit` of several agents'."""
        if self._agents is None:
            return self.waiting[0] if agent_id == self._agent and self.waiting else None
        if agent_id not in self._agents:
            return None
        first = islice(self.waiting, limit)
        return next((ticket for ticket in first if ticket.agent_id == agent_id), None)

    def entered(self, agent_id: str | None) -> None:
        """Count a request that now waits here too."""
        before = len(self.waiting) - 1
        if not before:
            self._agent = agent_id
        elif self._agents is not None:
            self._agents[agent_id] = self._agents.get(agent_id, 0) + 1
        elif agent_id != self._agent:
            self._agents = {self._agent: before, agent_id: 1}
        if self.line is not None:
            self.counted += 1
            self.line.requests += 1

    def left(self, agent_id: str | None) -> None:
        """Count a request that waits here no more."""
        if self._agents is not None:
            self._agents[agent_id] -= 1
            if not self._agents[agent_id]:
                del self._agents[agent_id]
            if len(self._agents) == 1:
                (self._agent,) = self._agents
                self._agents = None
        if self.line is not None:
            self.counted -= 1
            self.line.requests -= 1

    def stand(self, line: _Ready | None) -> None:
        """Stand in a route's line with all that waits here, or in none."""
        if self.line is not None:
            self.line.lanes -= 1
            self.line.requests -= self.counted
        self.line = line
        if line is not None:
            self.counted = len(self.waiting)
            line.lanes += 1
            line.requests += self.counted


_Entry = tuple[float, int, Lane, int]


@dataclass(frozen=True, slots=True)
class Waiting:
    """All that waits for one route: sessions whose heads nothing of their own holds back.

    `requests` counts what waits behind those heads too; `longest` is the session that has
    been ready longest.
    """

    route: Route
    sessions: int
    requests: int
    longest: Lane


class _Ready:
    """Lanes whose heads share a route, by class and since when they are ready."""

    __slots__ = ("blocked_epoch", "heaps", "lanes", "requests")

    def __init__(self) -> None:
        self.heaps: dict[int, list[_Entry]] = {}
        self.blocked_epoch = -1
        self.lanes = 0
        self.requests = 0

    def longest(self) -> Lane | None:
        """Return the lane that is ready longest, of whatever class."""
        self._drop_stale()
        firsts = [heap[0] for heap in self.heaps.values()]
        return min(firsts)[2] if firsts else None

    def _drop_stale(self) -> None:
        for level, heap in list(self.heaps.items()):
            while heap and heap[0][3] != heap[0][2].version:
                heapq.heappop(heap)
            if not heap:
                del self.heaps[level]

    def best(self, now: float) -> tuple[tuple[int, float], int] | None:
        """Return ((effective class, ready since), class) of the first lane, or None."""
        best: tuple[tuple[int, float], int] | None = None
        self._drop_stale()
        for level, heap in self.heaps.items():
            since = heap[0][0]
            key = (level - int(max(0.0, now - since) // AGEING_S), since)
            if best is None or key < best[0]:
                best = (key, level)
        return best


class QueueManager:
    """All waiting requests. `gate` says what holds a head back; `changes` counts what changed."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._lanes: dict[str, Lane] = {}
        self._routes: dict[Route, _Ready] = {}
        self._entry_seq = 0
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
        for route, ready in list(islice(self._routes.items(), limit)):
            longest = ready.longest()
            if longest is not None:
                yield Waiting(route, ready.lanes, ready.requests, longest)

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

    def take(self, now: float, serves: Callable[[Route], bool]) -> Ticket | None:
        """Remove and return the next request to run, or None when none may run now.

        `serves` says whether some provider may be called for a route now; a route that
        it denies is not asked about again until `provider_freed`.
        """
        candidates = []
        for route, ready in list(self._routes.items()):
            if ready.blocked_epoch == self._epoch:
                continue
            best = ready.best(now)
            if best is None:
                del self._routes[route]
            else:
                candidates.append((best[0], best[1], route, ready))
        candidates.sort(key=lambda item: item[0])
        for _, level, route, ready in candidates:
            if not serves(route):
                ready.blocked_epoch = self._epoch
                continue
            lane = heapq.heappop(ready.heaps[level])[2]
            return self._start(lane)
        return None

    def _start(self, lane: Lane) -> Ticket:
        ticket = lane.waiting.pop(0)
        lane.left(ticket.agent_id)
        lane.stand(None)
        lane.running = ticket
        self.changes += 1
        lane.began_since, lane.ready_since = lane.ready_since, None
        lane.version += 1
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

    def _place(self, lane: Lane, now: float) -> None:
        """Put a lane where its head belongs: into a ready heap, or nowhere."""
        lane.version += 1
        self.changes += 1
        lane.stand(None)
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
        ready = self._routes.get(head.route)
        if ready is None:
            ready = self._routes[head.route] = _Ready()
        self._entry_seq += 1
        entry = (lane.ready_since, self._entry_seq, lane, lane.version)
        heapq.heappush(ready.heaps.setdefault(head.level, []), entry)
        lane.stand(ready)
