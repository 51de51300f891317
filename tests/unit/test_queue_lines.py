"""Who waits by route and by agent is counted as things change, and always what counting gives."""

from __future__ import annotations

from collections import Counter
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.models import Cause, CauseKind, Priority
from ksi_tui.engine.queue_manager import QueueManager, Service
from ksi_tui.engine.ticket import Route, Ticket

ROUTES = [Route(model, False, False, frozenset()) for model in ("m", "n")]
AGENTS = (None, "a1", "a2")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3), st.sampled_from(AGENTS), st.integers(0, 1)),
        st.tuples(st.just("add"), st.integers(0, 3), st.sampled_from(AGENTS), st.integers(0, 1)),
        st.tuples(st.just("take"), st.integers(0, 1)),
        st.tuples(st.just("back"), st.integers(0, 9)),
        st.tuples(st.just("finish"), st.integers(0, 9)),
        st.tuples(st.just("hold"), st.integers(0, 3)),
    ),
    max_size=60,
)


def _only(wanted: Route, served: Route) -> Service:
    return Service.SERVED if wanted == served else Service.DENIED


class World:
    """A queue, the sessions that are held, and everything that is in it."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.all: list[Ticket] = []
        self.queue = QueueManager(self.gate)
        self.places = count(1)

    def gate(self, ticket: Ticket, _: float) -> Cause | None:
        held = ticket.session_id in self.held
        return Cause(kind=CauseKind.PAUSE, text="paused") if held else None

    def do_add(self, session: int, agent: str | None, route: int) -> None:
        place = next(self.places)
        ticket = Ticket(
            request_id=f"r{place}",
            session_id=f"s{session}",
            agent_id=agent,
            route=ROUTES[route],
            rank=Priority.NORMAL.rank,
            level=Priority.NORMAL.level,
            place=place,
            queued_at=float(place),
            timeout_s=900,
            max_attempts=3,
            lock=None,
        )
        self.all.append(ticket)
        self.queue.add(ticket, float(place))

    def do_take(self, route: int) -> None:
        taken = self.queue.take(100.0, lambda wanted: _only(wanted, ROUTES[route]))
        if taken is not None:
            taken.started_at = 100.0
        self.queue.provider_freed()

    def running(self) -> list[Ticket]:
        return [lane.running for lane in self.queue.running_lanes() if lane.running is not None]

    def do_back(self, which: int) -> None:
        if runs := self.running():
            self.queue.put_back(runs[which % len(runs)], 101.0)

    def do_finish(self, which: int) -> None:
        if self.all:
            self.queue.finish(self.all.pop(which % len(self.all)), 102.0)

    def do_hold(self, session: int) -> None:
        self.held ^= {f"s{session}"}
        self.queue.refresh(f"s{session}", 103.0)

    def look(self) -> None:
        """Compare every count with what counting gives."""
        sessions: Counter[Route] = Counter()
        requests: Counter[Route] = Counter()
        for lane in self.queue.lanes():
            for agent in AGENTS:
                waits = [ticket for ticket in lane.waiting if ticket.agent_id == agent]
                assert lane.waits_of(agent) == len(waits)
                if agent is not None:
                    assert lane.first_of(agent, 1_000) is (waits[0] if waits else None)
            assert lane.shared == (len({ticket.agent_id for ticket in lane.waiting}) > 1)
            ready = lane.running is None and lane.session_id not in self.held
            if ready and lane.head is not None:
                sessions[lane.head.route] += 1
                requests[lane.head.route] += len(lane.waiting)
        lines = list(self.queue.lines(100))
        assert {line.route: line.sessions for line in lines} == sessions
        assert {line.route: line.requests for line in lines} == requests
        for line in lines:
            since = [
                lane.ready_since
                for lane in self.queue.lanes()
                if lane.line is line.longest.line and lane.ready_since is not None
            ]
            assert line.longest.ready_since == min(since)


@given(steps=STEPS)
def test_the_counts_of_lines_and_agents_are_always_right(steps: list[tuple[str, int]]) -> None:
    world = World()
    for name, *data in steps:
        getattr(world, f"do_{name}")(*data)
        world.look()


def test_a_line_is_asked_for_in_part() -> None:
    world = World()
    world.do_add(0, None, 0)
    world.do_add(1, None, 1)
    assert len(list(world.queue.lines(1))) == 1
