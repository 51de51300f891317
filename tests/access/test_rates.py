"""Token buckets by key, with a clock that stands until it is moved."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.access.rates import MOST_KEYS, Rates


class Hand:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_goes_at_once_and_then_the_rate() -> None:
    clock = Hand()
    rates = Rates(2.0, 3, clock)
    assert [rates.take("a") for _ in range(3)] == [0, 0, 0]
    assert rates.take("a") == 0.5
    clock.now += 0.25
    assert rates.take("a") == 0.25
    clock.now += 0.25
    assert rates.take("a") == 0
    assert rates.take("a") == 0.5


def test_one_does_not_take_anothers_share() -> None:
    rates = Rates(1.0, 1, Hand())
    assert rates.take("a") == 0
    assert rates.take("a") > 0
    assert rates.take("b") == 0


def test_a_rest_saves_up_no_more_than_the_burst() -> None:
    clock = Hand()
    rates = Rates(10.0, 2, clock)
    clock.now += 1_000
    assert [rates.take("a") > 0 for _ in range(3)] == [False, False, True]


def test_a_clock_that_is_set_back_gives_and_takes_nothing() -> None:
    clock = Hand()
    rates = Rates(1.0, 1, clock)
    assert rates.take("a") == 0
    clock.now -= 50
    assert rates.take("a") == 1.0


def test_many_keys_take_bounded_room() -> None:
    rates = Rates(1.0, 1, Hand())
    for number in range(MOST_KEYS + 50):
        rates.take(str(number))
    assert len(rates._left) == MOST_KEYS


@given(st.lists(st.floats(0, 3), max_size=60), st.floats(0.5, 5), st.integers(1, 5))
def test_never_more_than_burst_and_rate_allow(waits: list[float], per_s: float, burst: int) -> None:
    clock = Hand()
    rates, taken, began = Rates(per_s, burst, clock), 0, clock.now
    for wait in waits:
        clock.now += wait
        taken += rates.take("a") == 0
        assert taken <= burst + per_s * (clock.now - began) + 1e-6
