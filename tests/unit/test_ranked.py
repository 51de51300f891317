"""The first of things whose ranks change, beside what sorting gives."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.ranked import Rank, Ranked

steps = st.lists(
    st.tuples(st.sampled_from(["put", "put", "same", "drop"]), st.integers(0, 4), st.integers(0, 9))
)


@given(steps)
def test_the_first_is_what_sorting_gives(steps: list[tuple[str, int, int]]) -> None:
    ranked: Ranked[int] = Ranked()
    plain: dict[int, Rank] = {}
    number = count()
    for what, thing, at in steps:
        if what == "put":
            plain[thing] = (float(at), next(number))
            ranked.put(thing, plain[thing])
        elif what == "same" and thing in plain:
            ranked.put(thing, plain[thing])
        elif what == "drop":
            plain.pop(thing, None)
            ranked.drop(thing)
        assert len(ranked) == len(plain)
        if plain:
            assert ranked.first() == min((rank, each) for each, rank in plain.items())
        else:
            with pytest.raises(IndexError):
                ranked.first()


def test_what_was_dropped_or_moved_is_not_kept() -> None:
    ranked: Ranked[object] = Ranked()
    first = object()
    ranked.put(first, (0.0, 0))
    for at in range(1, 10_000):
        other = object()
        ranked.put(other, (float(at), at))
        ranked.drop(other)
        ranked.put(first, (0.0, -at))
    assert len(ranked._heap) < 100
