"""Routes that the same providers serve are asked about as one, and nobody loses by it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.lanes import AGEING_S
from ksi_tui.engine.models import Priority
from ksi_tui.engine.queue_manager import QueueManager, Service
from ksi_tui.engine.ticket import Route, Ticket
from tests.unit.test_queue_manager import open_gate, ticket


def route(model: str) -> Route:
    return Route(model, False, False, frozenset())


def by_first_letter(wanted: Route) -> Hashable:
    """Who serves a route: models that begin alike have the same providers."""
    return wanted.model[0]


class Asked:
    """Answers by route, and notes whom it was asked about."""

    def __init__(self, answer: Callable[[str], Service]) -> None:
        self.answer = answer
        self.models: list[str] = []

    def __call__(self, wanted: Route) -> Service:
        self.models.append(wanted.model)
        return self.answer(wanted.model)


def crowded(models: int) -> QueueManager:
    """Return a queue of one session for each model, all of one provider."""
    queue = QueueManager(open_gate, by_first_letter)
    for number in range(models):
        queue.add(ticket(f"r{number}", f"s{number}", route=route(f"a{number}")), float(number))
    return queue


def test_ten_thousand_routes_of_one_provider_are_asked_about_as_one() -> None:
    queue = crowded(10_000)
    full = Asked(lambda _: Service.PEERS_DENIED)
    assert queue.take(10_000, full) is None
    assert queue.take(10_000, full) is None
    assert full.models == ["a0"]
    queue.provider_freed()
    free = Asked(lambda _: Service.SERVED)
    taken = queue.take(10_000, free)
    assert taken is not None
    assert (taken.request_id, free.models) == ("r0", ["a0"])


def test_a_route_denied_for_itself_lets_its_peers_go_and_is_asked_again_when_freed() -> None:
    queue = crowded(3)
    cools = Asked(lambda model: Service.DENIED if model == "a0" else Service.SERVED)
    taken = [queue.take(3, cools) for _ in range(3)]
    assert [each and each.request_id for each in taken] == ["r1", "r2", None]
    assert cools.models == ["a0", "a1", "a2"]
    queue.add(ticket("later", "s9", route=route("a0")), 4)
    assert queue.take(5, cools) is None
    queue.provider_freed()
    asked = Asked(lambda _: Service.SERVED)
    again = [queue.take(6, asked) for _ in range(2)]
    assert [each and each.request_id for each in again] == ["r0", "later"]


def test_who_ends_while_its_route_is_set_aside_leaves_nothing_behind() -> None:
    queue = crowded(2)
    assert queue.take(2, lambda _: Service.DENIED) is None
    for lane in list(queue.lanes()):
        assert lane.head is not None
        queue.finish(lane.head, 3)
    assert (queue.waiting_count, list(queue.lines(9))) == (0, [])
    queue.add(ticket("new", "s0", route=route("a0")), 4)
    taken = queue.take(5, lambda _: Service.SERVED)
    assert taken is not None
    assert taken.request_id == "new"


def test_a_provider_that_comes_parts_those_whom_it_serves() -> None:
    served: dict[str, str] = {}
    queue = QueueManager(open_gate, lambda wanted: served.get(wanted.model, "old"))
    for number in range(2):
        queue.add(ticket(f"r{number}", f"s{number}", route=route(f"m{number}")), float(number))
    assert queue.take(2, lambda _: Service.PEERS_DENIED) is None
    served["m1"] = "old and new"
    queue.providers_changed()
    new = Asked(lambda model: Service.SERVED if model == "m1" else Service.PEERS_DENIED)
    taken = queue.take(3, new)
    assert taken is not None
    assert (taken.request_id, new.models) == ("r1", ["m0", "m1"])


MODELS = ["a1", "a2", "b1", "b2"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "take", "finish", "put back", "freed"]),
        st.integers(0, 5),
        st.sampled_from(MODELS),
        st.sampled_from(list(Priority)),
        st.sets(st.sampled_from([*MODELS, "a", "b"])),
    ),
    max_size=50,
)


@given(STEPS)
def test_whose_turn_it_is_is_what_looking_at_everybody_gives(
    steps: list[tuple[str, int, str, Priority, set[str]]],
) -> None:
    """`denied` changes at "freed" only, and may grow in between, as slots are taken."""
    queue = QueueManager(open_gate, by_first_letter)
    denied: set[str] = set()
    running: list[Ticket] = []
    now = 0.0
    for number, (what, which, model, priority, now_denied) in enumerate(steps):
        now += 7.0
        if what == "add":
            queue.add(ticket(f"r{number}", f"s{which}", priority, route=route(model)), now)
        elif what == "freed":
            denied = now_denied
            queue.provider_freed()
        elif what == "take":
            expected = _expected(queue, now, denied)
            taken = queue.take(now, partial(_service, denied))
            assert taken is expected
            running += [taken] if taken else []
        elif running:
            ended = running.pop(which % len(running))
            if what == "finish":
                queue.finish(ended, now)
            else:
                queue.put_back(ended, now, uncalled=which % 2 == 0)


def _service(denied: set[str], wanted: Route) -> Service:
    if wanted.model[0] in denied:
        return Service.PEERS_DENIED
    return Service.DENIED if wanted.model in denied else Service.SERVED


def _expected(queue: QueueManager, now: float, denied: set[str]) -> Ticket | None:
    may = [
        (head.level - int((now - lane.ready_since) // AGEING_S), lane.ready_since, head)
        for lane in queue.lanes()
        if lane.ready_since is not None
        and (head := lane.head) is not None
        and _service(denied, head.route) is Service.SERVED
    ]
    return min(may, key=lambda turn: turn[:2])[2] if may else None
