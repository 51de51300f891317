"""What calls came to since the engine began, by provider and model."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.call_totals import MOST_PAIRS, OTHER, CallSums
from ksi_tui.engine.models import CallRecord, Outcome, Usage
from ksi_tui.engine.views import CallTotals


def call(**told: Any) -> CallRecord:
    given: dict[str, Any] = {
        "request_id": "r-1",
        "attempt": 1,
        "ordinal": 1,
        "provider": "p",
        "model": "m",
        "agent_id": None,
        "session_id": "s",
        "started_at": 1.0,
        "finished_at": 2.0,
        "outcome": Outcome.ANSWERED,
    }
    return CallRecord(**(given | told))


def ended(view: CallTotals) -> dict[str, int]:
    return {each.outcome: each.count for each in view.ended}


def test_each_call_counts_once_where_it_was_made() -> None:
    sums = CallSums()
    usage = Usage(input=1, cache_read=2, cache_write=3, output=4, reasoning=5)
    sums.book(call(usage=usage, cost=0.5))
    sums.book(call(usage=usage, cost=0.25, outcome=Outcome.FAILED))
    sums.book(call(model="m2"))
    first, second = sums.views()
    assert (first.provider, first.model) == ("p", "m")
    assert ended(first) == {"answered": 1, "failed": 1}
    assert (first.input, first.cache_read, first.cache_write) == (2, 4, 6)
    assert (first.output, first.reasoning) == (8, 10)
    assert (first.cost, first.unpriced) == (0.75, 0)
    assert (first.waste_tokens, first.waste_cost) == (15, 0.25)
    assert ended(second) == {"answered": 1}
    assert (second.input, second.cost, second.unpriced) == (0, 0.0, 1)


def test_an_answer_that_was_not_kept_becomes_waste_and_no_second_call() -> None:
    sums = CallSums()
    booked = call(usage=Usage(input=10), cost=1.0)
    sums.book(booked)
    sums.wasted(booked)
    (view,) = sums.views()
    assert ended(view) == {"answered": 1}
    assert (view.input, view.cost, view.waste_tokens, view.waste_cost) == (10, 1.0, 10, 1.0)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 3), st.integers(0, 9)), max_size=400))
def test_nothing_is_lost_however_many_models_there_are(
    calls: list[tuple[int, int, int]],
) -> None:
    sums = CallSums()
    for model, provider, tokens in calls:
        usage = Usage(input=tokens)
        sums.book(call(model=f"m{model}", provider=f"p{provider}", usage=usage))
    views = sums.views()
    assert sum(view.input for view in views) == sum(tokens for *_, tokens in calls)
    assert sum(sum(ended(view).values()) for view in views) == len(calls)
    others = [view for view in views if view.model == OTHER]
    assert len(views) - len(others) <= MOST_PAIRS
    assert len(others) <= 4
