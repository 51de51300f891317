"""Who goes next: order, fairness, positions. No clock, no I/O, no engine."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.lanes import AGEING_S
from ksi_tui.engine.models import Cause, CauseKind, Priority
from ksi_tui.engine.queue_manager import QueueManager, Service
from ksi_tui.engine.ticket import Route, Ticket

ANY = Route("m", False, False, frozenset())
_places = count(1)


def ticket(
    name: str,
    session: str = "s",
    priority: Priority = Priority.NORMAL,
    *,
    place: int | None = None,
    route: Route = ANY,
) -> Ticket:
    return Ticket(
        request_id=name,
        session_id=session,
        agent_id=None,
        route=route,
        rank=priority.rank,
        level=priority.level,
        place=place if place is not None else next(_places),
        queued_at=0.0,
        timeout_s=900,
        max_attempts=3,
        lock=None,
    )


def open_gate(_: Ticket, __: float) -> Cause | None:
    return None


def everyone(_: Route) -> Service:
    return Service.SERVED


def queue(*tickets: Ticket, now: float = 0.0) -> QueueManager:
    made = QueueManager(open_gate)
    for each in tickets:
        made.add(each, now)
    return made


def drained(made: QueueManager, now: float = 0.0) -> list[str]:
    """Take and finish until nobody is left."""
    order = []
    while (taken := made.take(now, everyone)) is not None:
        order.append(taken.request_id)
        made.finish(taken, now)
    return order


# --- order in a session --------------------------------------------------------------------


def test_priority_then_arrival_and_inject_just_before_normal() -> None:
    wanted = ["c", "h", "i1", "i2", "n1", "n2", "l", "b"]
    arrival = [
        ticket("n1"),
        ticket("b", priority=Priority.BACKGROUND),
        ticket("i1", priority=Priority.INJECT),
        ticket("l", priority=Priority.LOW),
        ticket("n2"),
        ticket("h", priority=Priority.HIGH),
        ticket("i2", priority=Priority.INJECT),
        ticket("c", priority=Priority.CRITICAL),
    ]
    assert drained(queue(*arrival)) == wanted


def test_one_at_a_time_in_a_session() -> None:
    made = queue(ticket("1"), ticket("2"))
    first = made.take(0, everyone)
    assert first is not None
    assert made.take(0, everyone) is None
    made.finish(first, 0)
    second = made.take(0, everyone)
    assert second is not None
    assert second.request_id == "2"


def test_what_has_begun_goes_first_whatever_arrives() -> None:
    made = queue(ticket("low", priority=Priority.LOW))
    begun = made.take(0, everyone)
    assert begun is not None
    begun.started_at = 0.0
    made.add(ticket("urgent", priority=Priority.CRITICAL), 1)
    made.put_back(begun, 2)
    assert drained(made, 3) == ["low", "urgent"]


def test_a_closed_gate_holds_the_whole_session_until_it_is_asked_again() -> None:
    held = {"1"}

    def gate(head: Ticket, _: float) -> Cause | None:
        return Cause(kind=CauseKind.BACKOFF, text="") if head.request_id in held else None

    made = QueueManager(gate)
    made.add(ticket("1"), 0)
    made.add(ticket("2"), 0)
    assert made.take(0, everyone) is None
    held.clear()
    assert made.take(0, everyone) is None
    made.refresh("s", 5)
    assert drained(made, 5) == ["1", "2"]


# --- between sessions ----------------------------------------------------------------------


def test_sessions_go_by_class_then_by_since_when_ready() -> None:
    made = QueueManager(open_gate)
    made.add(ticket("n-late", "a"), 2)
    made.add(ticket("n-early", "b"), 1)
    made.add(ticket("high", "c", Priority.HIGH), 3)
    made.add(ticket("inject", "d", Priority.INJECT), 0.5)
    assert drained(made, 4) == ["high", "inject", "n-early", "n-late"]


@pytest.mark.parametrize(
    ("waited_s", "first"),
    [(AGEING_S * 2 - 0.1, "fresh"), (AGEING_S * 2, "old"), (AGEING_S * 9, "old")],
)
def test_each_minute_of_waiting_raises_one_class(waited_s: float, first: str) -> None:
    made = QueueManager(open_gate)
    made.add(ticket("old", "a", Priority.BACKGROUND), 0)
    made.add(ticket("fresh", "b", Priority.NORMAL), waited_s)
    taken = made.take(waited_s, everyone)
    assert taken is not None
    assert taken.request_id == first


def test_nobody_starves_behind_a_stream_of_critical_ones() -> None:
    made = QueueManager(open_gate)
    made.add(ticket("background", "bg", Priority.BACKGROUND), 0)
    for second in range(1_000):
        made.add(ticket(f"c{second}", f"s{second}", Priority.CRITICAL), second)
        taken = made.take(second, everyone)
        assert taken is not None
        if taken.request_id == "background":
            assert second == pytest.approx(AGEING_S * 5, abs=AGEING_S)
            return
        made.finish(taken, second)
    pytest.fail("the background request starved")


def test_a_denied_route_holds_up_only_itself_and_is_asked_again_when_freed() -> None:
    other = Route("other", False, False, frozenset())
    made = queue(ticket("1", "a"), ticket("2", "b", route=other), ticket("3", "c"))
    asked: list[str] = []

    def only_other(route: Route) -> Service:
        asked.append(route.model)
        return Service.SERVED if route is other else Service.DENIED

    first = made.take(0, only_other)
    assert first is not None
    assert first.request_id == "2"
    assert made.take(0, everyone) is None
    assert asked == ["m", "other"]
    made.provider_freed()
    assert drained(made) == ["1", "3"]


# --- positions and counts ------------------------------------------------------------------


def test_positions_count_from_the_head_and_a_running_one_has_none() -> None:
    tickets = [ticket("1"), ticket("2"), ticket("3", priority=Priority.HIGH)]
    made = queue(*tickets)
    assert [made.position(each) for each in tickets] == [2, 3, 1]
    running = made.take(0, everyone)
    assert running is tickets[2]
    assert [made.position(each) for each in tickets] == [1, 2, 0]
    assert made.ahead(tickets[1]) is tickets[0]
    assert made.ahead(tickets[0]) is tickets[2]
    assert made.ahead(tickets[2]) is None
    assert (made.depth("s"), made.waiting_count, made.running_count) == (2, 2, 1)


def test_taking_one_out_leaves_the_others_in_their_order() -> None:
    tickets = [ticket(str(number)) for number in range(5)]
    made = queue(*tickets)
    made.finish(tickets[2], 0)
    made.finish(tickets[2], 0)
    made.finish(tickets[0], 0)
    assert drained(made) == ["1", "3", "4"]


def test_finishing_what_was_never_there_changes_nothing() -> None:
    made = queue(ticket("1"))
    made.finish(ticket("ghost"), 0)
    made.finish(ticket("ghost", "elsewhere"), 0)
    assert (made.waiting_count, made.session_count) == (1, 1)


def test_putting_back_what_does_not_run_is_refused() -> None:
    waiting = ticket("1")
    made = queue(waiting)
    with pytest.raises(ValueError, match="does not run"):
        made.put_back(waiting, 0)


def test_nothing_is_left_when_all_have_ended() -> None:
    made = queue(*(ticket(f"{s}{n}", s) for s in "abc" for n in range(3)))
    assert len(drained(made)) == 9
    assert (made.session_count, made.waiting_count, made.running_count) == (0, 0, 0)
    assert made.lane("a") is None
    assert made.begun_heads(9) == []
    assert not made._lines
    assert not made._peers


# --- any order of events -------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "take", "take", "finish", "put back", "drop"]),
        st.integers(0, 3),
        st.sampled_from(list(Priority)),
    ),
    max_size=60,
)


@given(STEPS)
def test_order_and_counts_hold_whatever_happens(steps: list[tuple[str, int, Priority]]) -> None:
    made, number = QueueManager(open_gate), count()
    waiting: list[Ticket] = []
    running: list[Ticket] = []
    for now, (what, which, priority) in enumerate(steps):
        if what == "add":
            waiting.append(ticket(f"r{next(number)}", f"s{which}", priority, place=now))
            made.add(waiting[-1], now)
        elif what == "take":
            taken = made.take(now, everyone)
            idle = {t.session_id for t in waiting} - {t.session_id for t in running}
            assert (taken is not None) == bool(idle)
            if taken is not None:
                mine = [t for t in waiting if t.session_id == taken.session_id]
                assert taken is min(mine, key=lambda t: t.order)
                taken.started_at = taken.started_at if taken.started_at is not None else now
                waiting.remove(taken)
                running.append(taken)
        elif what == "drop" and waiting:
            made.finish(waiting.pop(which % len(waiting)), now)
        elif what in ("finish", "put back") and running:
            ended = running.pop(which % len(running))
            if what == "finish":
                made.finish(ended, now)
            else:
                made.put_back(ended, now)
                waiting.append(ended)
        assert made.waiting_count == len(waiting)
        assert made.running_count == len(running)
        assert len({t.session_id for t in running}) == len(running)
        for each in waiting:
            ahead = [t for t in waiting if t.session_id == each.session_id and t.order < each.order]
            assert made.position(each) == len(ahead) + 1


def test_who_was_begun_without_a_call_keeps_its_place_among_the_sessions() -> None:
    made = queue(ticket("first", "a"))
    begun = made.take(0, everyone)
    assert begun is not None
    made.add(ticket("second", "b"), 1)
    made.put_back(begun, 2, uncalled=True)
    assert drained(made, 3) == ["first", "second"]


def test_who_was_called_joins_the_sessions_anew() -> None:
    made = queue(ticket("first", "a"))
    begun = made.take(0, everyone)
    assert begun is not None
    made.add(ticket("second", "b"), 1)
    made.put_back(begun, 2)
    assert drained(made, 3) == ["second", "first"]
