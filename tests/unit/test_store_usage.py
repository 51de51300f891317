"""The arithmetic of usage sums: cutting time into spans, and what a request is said to cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.models import Usage
from ksi_tui.engine.store.usage import (
    DAY_S,
    FOREVER,
    HOUR_S,
    MINUTE_S,
    answering,
    pieces,
    span_for,
    whole,
)

minutes = st.integers(0, 20_000).map(lambda minute: minute * MINUTE_S)


@given(minutes, minutes)
def test_pieces_cover_a_time_exactly_once(low: int, high: int) -> None:
    cut = sorted(pieces(low, high), key=lambda piece: piece[1])
    edges = [edge for _, first, last in cut for edge in (first, last)]
    if low >= high:
        assert cut == []
        return
    assert (edges[0], edges[-1]) == (low, high)
    assert edges[1:-1:2] == edges[2::2]
    for span, first, last in cut:
        assert first < last
        assert first % span == last % span == 0


@given(minutes, minutes)
def test_pieces_read_few_rows(low: int, high: int) -> None:
    cut = pieces(low, high)
    rows = {
        span: sum((last - first) // span for s, first, last in cut if s == span)
        for span in (MINUTE_S, HOUR_S)
    }
    assert rows[MINUTE_S] <= 2 * 59
    assert rows[HOUR_S] <= 2 * 23


def test_all_of_time_is_days() -> None:
    assert pieces(*whole(None, None, MINUTE_S)) == [(DAY_S, 0, FOREVER)]


@pytest.mark.parametrize(
    ("since", "until", "widened"),
    [(61.5, 119.0, (60, 120)), (60.0, 120.0, (60, 120)), (-1.0, 0.5, (-60, 60))],
)
def test_a_time_is_widened(since: float, until: float, widened: tuple[int, int]) -> None:
    assert whole(since, until, MINUTE_S) == widened


@pytest.mark.parametrize(
    ("bucket_s", "span"),
    [(60, MINUTE_S), (900, MINUTE_S), (3600, HOUR_S), (7200, HOUR_S), (86400 * 7, DAY_S)],
)
def test_buckets_are_filled_by_the_longest_span(bucket_s: int, span: int) -> None:
    assert span_for(bucket_s) == span


@pytest.mark.parametrize("bucket_s", [0, -60, 59, 61])
def test_a_bucket_is_whole_minutes(bucket_s: int) -> None:
    with pytest.raises(ValueError, match="whole minutes"):
        span_for(bucket_s)


TEN, ONE = Usage(input=10), Usage(output=1)


@pytest.mark.parametrize(
    ("calls", "completed", "said"),
    [
        ([], True, (None, None)),
        ([("failed", TEN, 1.0), ("answered", ONE, 0.5)], True, (ONE, 0.5)),
        ([("answered", TEN, 1.0), ("answered", ONE, 0.5)], True, (ONE, 0.5)),
        ([("answered", ONE, None)], True, (ONE, None)),
        ([("answered", ONE, 0.0)], True, (ONE, 0.0)),
        ([("failed", TEN, 1.0)], True, (None, None)),
        ([("failed", TEN, 1.0), ("cancelled", ONE, 0.5)], False, (TEN + ONE, 1.5)),
        ([("failed", TEN, 1.0), ("failed", None, None)], False, (TEN, 1.0)),
        ([("failed", TEN, 1.0), ("cancelled", ONE, None)], False, (TEN + ONE, None)),
        ([("failed", None, None)], False, (None, None)),
        ([("failed", None, 0.5)], False, (None, 0.5)),
    ],
)
def test_what_a_request_used(
    calls: list[tuple[str, Usage | None, float | None]],
    completed: bool,
    said: tuple[Usage | None, float | None],
) -> None:
    assert answering(calls, completed=completed) == said
