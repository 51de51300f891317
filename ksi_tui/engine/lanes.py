"""A session's lane, and where lanes stand whose heads may run.

Pure policy: no I/O, no clock of its own. A *line* holds the lanes whose heads share a route.
Lines that the same providers serve are *peers*: what one of them waits for, the others nearly
always wait for too, so that ten thousand models behind one provider are asked about as one.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from itertools import islice

from ksi_tui.engine.ranked import Rank, Ranked
from ksi_tui.engine.ticket import Route, Ticket

AGEING_S = 60.0
"""Each full minute of being ready raises a session by one class (contract section 3)."""


class Lane:
    """One session's requests: those that wait, in order, and the one that runs."""

    __slots__ = (
        "_agent",
        "_agents",
        "began_since",
        "counted",
        "level",
        "line",
        "ready_since",
        "running",
        "session_id",
        "waiting",
    )

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.waiting: list[Ticket] = []
        self.running: Ticket | None = None
        self.ready_since: float | None = None
        self.began_since: float | None = None
        self.line: Line | None = None
        self.level = 0
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

    def stand(self, line: Line, level: int, rank: Rank) -> None:
        """Stand in a route's line with all that waits here."""
        self.line, self.level = line, level
        self.counted = len(self.waiting)
        line.enter(self, rank)

    def step_out(self) -> None:
        """Stand in no line."""
        if self.line is not None:
            self.line.leave(self)
            self.line = None


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


class Line:
    """Lanes whose heads share a route, by class and since when they are ready."""

    __slots__ = ("_ranked", "peers", "requests", "route", "sessions")

    def __init__(self, route: Route, peers: Peers) -> None:
        self.route = route
        self._ranked: dict[int, Ranked[Lane]] = {}
        self.sessions = 0
        self.requests = 0
        self.join(peers)

    def join(self, peers: Peers) -> None:
        """Be one of those that the same providers serve."""
        self.peers = peers
        peers.lines += 1
        for level in self._ranked:
            peers.changed(self, level)

    def enter(self, lane: Lane, rank: Rank) -> None:
        """Let a lane stand here."""
        level = lane.level
        self.sessions += 1
        self.requests += lane.counted
        ranked = self._ranked.get(level)
        if ranked is None:
            ranked = self._ranked[level] = Ranked()
        ranked.put(lane, rank)
        self.peers.changed(self, level)

    def leave(self, lane: Lane) -> None:
        """Let a lane stand here no more."""
        level = lane.level
        self.sessions -= 1
        self.requests -= lane.counted
        ranked = self._ranked[level]
        ranked.drop(lane)
        if not ranked:
            del self._ranked[level]
        self.peers.changed(self, level)

    @property
    def levels(self) -> list[int]:
        """The classes of those that stand here."""
        return list(self._ranked)

    def rank(self, level: int) -> Rank | None:
        """Return since when the first of a class is ready; None without one."""
        ranked = self._ranked.get(level)
        return ranked.first()[0] if ranked is not None else None

    def first(self, level: int) -> Lane:
        """Return the lane of a class that is ready longest, where one is."""
        return self._ranked[level].first()[1]

    def longest(self) -> Lane:
        """Return the lane that is ready longest, of whatever class."""
        return min(ranked.first() for ranked in self._ranked.values())[1]


Turn = tuple[int, Rank, int, Line]
"""Whose turn it is: effective class and rank, then the class and the line of which it is first."""


class Peers:
    """Lines that the same providers serve."""

    __slots__ = ("_aside", "_asked", "_firsts", "denied", "key", "lines")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.lines = 0
        self.denied = False
        self._asked = -1
        self._firsts: dict[int, Ranked[Line]] = {}
        self._aside: set[Line] = set()

    def changed(self, line: Line, level: int) -> None:
        """Another lane of a class is a line's first now, or none is."""
        if line in self._aside:
            return
        rank = line.rank(level)
        firsts = self._firsts.get(level)
        if rank is not None:
            if firsts is None:
                firsts = self._firsts[level] = Ranked()
            firsts.put(line, rank)
        elif firsts is not None:
            firsts.drop(line)
            if not firsts:
                del self._firsts[level]

    def turn(self, now: float) -> Turn | None:
        """Return whose turn it is of all who stand in these lines; None when they are denied."""
        best: Turn | None = None
        if self.denied:
            return best
        for level, firsts in self._firsts.items():
            rank, line = firsts.first()
            aged = int(max(0.0, now - rank[0]) // AGEING_S)
            turn = (level - aged, rank, level, line)
            if best is None or turn < best:
                best = turn
        return best

    def set_aside(self, line: Line) -> None:
        """Let a line wait, and the others not: it was denied for itself."""
        for level in line.levels:
            self._firsts[level].drop(line)
        self._firsts = {level: firsts for level, firsts in self._firsts.items() if firsts}
        self._aside.add(line)

    def renew(self, epoch: int) -> None:
        """Let all of them be asked about again, once in an epoch."""
        if epoch == self._asked:
            return
        self._asked = epoch
        self.denied = False
        if self._aside:
            aside, self._aside = self._aside, set()
            for line in aside:
                for level in line.levels:
                    self.changed(line, level)
