"""The order of many sessions is worked out in slices, and is the order all the same."""

from __future__ import annotations

from ksi_tui.engine.lane_order import AT_ONCE, EVERY_S, LaneOrder
from ksi_tui.engine.lanes import Lane
from ksi_tui.engine.models import Priority
from ksi_tui.engine.queue_manager import QueueManager
from ksi_tui.engine.ticket import Route, Ticket

MANY = 3 * AT_ONCE


def ticket(session: str, queued_at: float) -> Ticket:
    """Return a request that waits in a session of its own."""
    return Ticket(
        request_id=f"r-{session}",
        session_id=session,
        agent_id=None,
        route=Route("m", False, False, frozenset()),
        rank=Priority.NORMAL.rank,
        level=Priority.NORMAL.level,
        place=1,
        queued_at=queued_at,
        timeout_s=900,
        max_attempts=3,
        lock=None,
    )


def queue_of(sessions: int) -> QueueManager:
    """Return a queue in which the oldest sessions came last."""
    queue = QueueManager(lambda _ticket, _now: None)
    for number in range(sessions):
        queue.add(ticket(f"s-{number}", -float(number)), 0.0)
    return queue


def ages(lanes: list[Lane]) -> list[float]:
    return [lane.waiting[0].queued_at for lane in lanes]


def test_the_first_who_asks_gets_every_session_the_oldest_first() -> None:
    lanes = LaneOrder(queue_of(MANY)).lanes(100.0)
    assert len(lanes) == MANY
    assert ages(lanes) == sorted(ages(lanes))


def test_of_many_sessions_a_slice_is_looked_at_each_time_until_the_order_is_new() -> None:
    queue = queue_of(MANY)
    order = LaneOrder(queue)
    before = order.lanes(100.0)
    queue.add(ticket("s-new", -1e9), 100.0)
    now = 100.0 + EVERY_S
    assert [order.lanes(now + 0.1 * n) is before for n in range(4)] == [True, True, True, False]
    assert order.lanes(now + 0.4)[0].session_id == "s-new"


def test_whoever_has_not_asked_for_long_gets_the_new_order_at_once() -> None:
    queue = queue_of(MANY)
    order = LaneOrder(queue)
    order.lanes(100.0)
    queue.add(ticket("s-new", -1e9), 100.0)
    assert order.lanes(160.0)[0].session_id == "s-new"


def test_of_few_sessions_a_new_one_is_there_at_once() -> None:
    queue = queue_of(20)
    order = LaneOrder(queue)
    order.lanes(100.0)
    queue.add(ticket("s-new", -1e9), 100.0)
    assert order.lanes(100.01)[0].session_id == "s-new"
