"""Pending moments, against a plain dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.alarms import Alarms

KEYS = st.sampled_from([("backoff", "a"), ("backoff", "b"), ("lock", "a"), ("lock", "b")])
TIMES = st.integers(0, 20)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, TIMES),
        st.tuples(st.just("clear"), KEYS, st.just(0)),
        st.tuples(st.just("due"), st.just(("", "")), TIMES),
    ),
    max_size=40,
)


@given(STEPS)
def test_it_is_a_dictionary_that_knows_its_earliest(
    steps: list[tuple[str, tuple[str, str], int]],
) -> None:
    alarms, wanted = Alarms(), dict[tuple[str, str], int]()
    for what, key, at in steps:
        if what == "set":
            alarms.set(key, at)
            wanted[key] = at
        elif what == "clear":
            alarms.clear(key)
            wanted.pop(key, None)
        else:
            rung = alarms.due(at)
            late = {key: when for key, when in wanted.items() if when <= at}
            assert sorted(rung) == sorted(late)
            assert [late[key] for key in rung] == sorted(late.values())
            wanted = {key: when for key, when in wanted.items() if when > at}
        assert alarms.next_at() == min(wanted.values(), default=None)
        assert alarms.count("lock") == sum(kind == "lock" for kind, _ in wanted)


def test_moving_an_alarm_later_does_not_ring_it_early() -> None:
    alarms = Alarms()
    alarms.set(("lock", "s"), 5)
    alarms.set(("lock", "s"), 9)
    assert alarms.due(5) == []
    assert alarms.due(9) == [("lock", "s")]
    assert alarms.due(99) == []


def test_what_is_cleared_leaves_no_memory() -> None:
    alarms = Alarms()
    for turn in range(1_000):
        alarms.set(("deadline", f"r-{turn}"), 1e9 + turn)
        alarms.clear(("deadline", f"r-{turn}"))
    assert len(alarms._heap) <= 65


def test_what_is_moved_again_and_again_leaves_no_memory() -> None:
    alarms = Alarms()
    for turn in range(1_000):
        alarms.set(("lock", "s"), 1e9 + turn)
    assert len(alarms._heap) <= 66
    assert alarms.next_at() == 1e9 + 999
