"""Who goes next where routes, repeated looks and interrupted heads meet. No clock, no engine."""

from __future__ import annotations

from itertools import count

from ksi_tui.engine.lanes import AGEING_S
from ksi_tui.engine.models import Cause, Priority
from ksi_tui.engine.queue_manager import QueueManager, Service
from ksi_tui.engine.ticket import Route, Ticket

_places = count(1)


def ticket(
    name: str, session: str, *, model: str = "m", level: Priority = Priority.NORMAL
) -> Ticket:
    return Ticket(
        request_id=name,
        session_id=session,
        agent_id=None,
        route=Route(model, False, False, frozenset()),
        rank=level.rank,
        level=level.level,
        place=next(_places),
        queued_at=0.0,
        timeout_s=900,
        max_attempts=3,
        lock=None,
    )


def open_gate(_: Ticket, __: float) -> Cause | None:
    return None


def everyone(_: Route) -> Service:
    return Service.SERVED


def taken(queue: QueueManager, now: float) -> str:
    found = queue.take(now, everyone)
    assert found is not None
    return found.request_id


def test_being_looked_at_again_does_not_make_a_ready_session_young() -> None:
    queue = QueueManager(open_gate)
    queue.add(ticket("old", "a", level=Priority.LOW), 0.0)
    queue.refresh("a", AGEING_S - 10)
    queue.add(ticket("young", "b"), AGEING_S - 5)
    assert taken(queue, AGEING_S + 1) == "old"


def test_of_equals_the_first_ready_goes_first_whatever_its_route() -> None:
    queue = QueueManager(open_gate)
    queue.add(ticket("makes the route x known first", "s1", model="x"), 0.0)
    queue.add(ticket("y waits longest", "s2", model="y"), 1.0)
    queue.add(ticket("x waits less", "s3", model="x"), 2.0)
    order = [taken(queue, 3.0) for _ in range(3)]
    assert order == ["makes the route x known first", "y waits longest", "x waits less"]


def test_a_head_that_runs_again_no_longer_counts_as_waiting() -> None:
    queue = QueueManager(open_gate)
    again = ticket("r", "s")
    queue.add(again, 0.0)
    assert taken(queue, 0.0) == "r"
    again.started_at = 0.0
    queue.put_back(again, 1.0)
    assert queue.begun_heads(10) == [again]
    assert taken(queue, 2.0) == "r"
    assert queue.begun_heads(10) == []
