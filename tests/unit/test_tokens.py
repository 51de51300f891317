"""Prices, today's sums, the live rate and the trend."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.config import PriceSettings
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.meter import Meter, Ring
from ksi_tui.engine.models import CallRecord, Message, Outcome, Usage
from ksi_tui.engine.store.records import UsageTotals
from ksi_tui.engine.token_tracker import TREND_S, TokenTracker, estimate

T0 = 1_800_000_000.0
MIDNIGHT = 1_800_057_600.0
assert MIDNIGHT % 86_400 == 0

counts = st.integers(0, 10**7)
usages = st.builds(
    Usage,
    input=counts,
    cache_read=counts,
    cache_write=counts,
    output=counts,
    reasoning=counts,
    estimated=st.booleans(),
)


def call(**changes: Any) -> CallRecord:
    values: dict[str, Any] = {
        "request_id": "r-1",
        "attempt": 1,
        "ordinal": 1,
        "provider": "openai",
        "model": "gpt-4o",
        "agent_id": None,
        "session_id": "s",
        "started_at": T0 - 2,
        "finished_at": T0,
        "outcome": Outcome.ANSWERED,
        "usage": Usage(input=10, output=5),
        "cost": 0.25,
    }
    return CallRecord(**{**values, **changes})


def tracker(**prices: PriceSettings) -> TokenTracker:
    return TokenTracker(prices)


# --- prices -------------------------------------------------------------------------------

FULL = PriceSettings(input=1, cache_read=2, cache_write=3, output=4, reasoning=5)
EACH = Usage(
    input=1_000_000,
    cache_read=10_000_000,
    cache_write=100_000_000,
    output=1_000_000_000,
    reasoning=10_000_000_000,
)


def test_each_bucket_has_its_price() -> None:
    cost, version = tracker(m=FULL).price("m", EACH, None, None)
    assert cost == pytest.approx(1 + 20 + 300 + 4_000 + 50_000)
    assert version == "settings"


def test_a_bucket_without_a_price_costs_what_its_kind_does() -> None:
    cost, _ = tracker(m=PriceSettings(input=1, output=4)).price("m", EACH, None, None)
    assert cost == pytest.approx(1 + 10 + 100 + 4_000 + 40_000)


def test_a_price_of_zero_is_a_price() -> None:
    free = PriceSettings(input=1, cache_read=0, output=0)
    cost, _ = tracker(m=free).price("m", Usage(cache_read=9_000, output=9), 0.5, "map")
    assert cost == 0


@pytest.mark.parametrize("model", ["gpt-4o", "openai/gpt-4o", "openrouter/openai/gpt-4o"])
def test_settings_win_and_are_found_behind_a_route(model: str) -> None:
    subject = TokenTracker({"gpt-4o": PriceSettings(input=2, output=0)})
    assert subject.price(model, Usage(input=500_000), 99.0, "litellm 1") == (1.0, "settings")


def test_the_whole_name_goes_before_its_end() -> None:
    subject = TokenTracker(
        {"m": PriceSettings(input=2, output=0), "azure/m": PriceSettings(input=4, output=0)}
    )
    assert subject.price("azure/m", Usage(input=1_000_000), None, None)[0] == 4


def test_the_workers_cost_else_and_no_price_is_null() -> None:
    subject = tracker()
    assert subject.price("m", Usage(input=1), 0.125, "litellm 1") == (0.125, "litellm 1")
    assert subject.price("m", Usage(input=1), 0.0, "litellm 1") == (0.0, "litellm 1")
    assert subject.price("m", Usage(input=1), None, "litellm 1") == (None, None)


@given(usages, usages)
def test_the_price_of_a_sum_is_the_sum_of_the_prices(first: Usage, second: Usage) -> None:
    subject = tracker(m=FULL)
    single = [subject.price("m", usage, None, None)[0] or 0 for usage in (first, second)]
    both, _ = subject.price("m", first + second, None, None)
    assert both == pytest.approx(sum(single))


# --- today --------------------------------------------------------------------------------

priced = st.none() | st.floats(0.001, 100)
calls = st.builds(
    call,
    provider=st.sampled_from(["openai", "azure", "local"]),
    usage=st.none() | usages,
    cost=priced,
    outcome=st.sampled_from(list(Outcome)),
)


@given(st.lists(calls, max_size=30))
def test_sums_are_the_sums_of_the_calls(booked: list[CallRecord]) -> None:
    subject = tracker()
    for each in booked:
        subject.book(each, 0, T0)
    view = subject.view(T0, 96)
    assert {row.provider for row in view.rows} == {each.provider for each in booked}
    for row in view.rows:
        mine = [each for each in booked if each.provider == row.provider]
        known = [each.usage for each in mine if each.usage is not None]
        whole = sum(known, Usage())
        assert row.input == whole.input + whole.cache_read + whole.cache_write
        assert row.output == whole.output + whole.reasoning
        assert row.estimated is any(usage.estimated for usage in known)
        unpriced = [c for c in mine if c.cost is None and (c.usage is not None or not c.waste)]
        assert row.unpriced == len(unpriced)
        cost = sum(each.cost or 0 for each in mine)
        if cost or not unpriced:
            assert row.cost == pytest.approx(cost)
        else:
            assert row.cost is None
    assert subject.cost_today(T0) == pytest.approx(sum(each.cost or 0 for each in booked))
    wasted = [each for each in booked if each.outcome is not Outcome.ANSWERED]
    assert view.waste_tokens == sum(each.usage.total for each in wasted if each.usage)
    waste_calls, waste_s = subject.waste_today(T0)
    assert waste_calls == len(wasted)
    assert waste_s == pytest.approx(2 * len(wasted))


def test_the_share_of_the_cache_is_of_all_that_went_in() -> None:
    subject = tracker()
    subject.book(call(usage=Usage(input=50, cache_read=40, cache_write=10)), 0, T0)
    subject.book(call(provider="local", usage=Usage(input=50, output=3)), 0, T0)
    shares = {row.provider: row.cache_share for row in subject.view(T0, 96).rows}
    assert shares == {"openai": 0.4, "local": None}


def test_a_refused_call_does_not_make_the_total_uncertain() -> None:
    subject = tracker()
    refused = {"outcome": Outcome.FAILED, "error_kind": ErrorKind.NETWORK_ERROR, "usage": None}
    subject.book(call(cost=None, **refused), 0, T0)
    assert subject.unpriced_today(T0) == 0
    subject.book(call(cost=None), 0, T0)
    assert subject.unpriced_today(T0) == 1


def test_waste_without_any_price_has_no_cost() -> None:
    subject = tracker()
    subject.book(call(), 0, T0)
    assert subject.view(T0, 96).waste_cost == 0
    subject.book(call(outcome=Outcome.FAILED, cost=None), 0, T0)
    view = subject.view(T0, 96)
    assert (view.waste_tokens, view.waste_share, view.waste_cost) == (15, 0.5, None)
    subject.book(call(outcome=Outcome.SENT_ELSEWHERE, cost=0.5), 0, T0)
    assert subject.view(T0, 96).waste_cost == 0.5


def test_a_utc_day_begins_at_zero_and_a_clock_set_back_over_midnight_keeps_it() -> None:
    subject = tracker()
    subject.book(call(), 0, MIDNIGHT - 1)
    assert subject.cost_today(MIDNIGHT - 0.001) == 0.25
    assert subject.cost_today(MIDNIGHT) == 0
    assert subject.view(MIDNIGHT, 10).rows == ()
    subject.book(call(cost=3.0), 0, MIDNIGHT + 5)
    assert subject.cost_today(MIDNIGHT - 5) == 3
    assert subject.cost_today(MIDNIGHT + 6) == 3


def test_a_start_takes_over_what_the_store_knows() -> None:
    subject = tracker()
    totals = UsageTotals(
        usage=Usage(input=100, cache_read=100, output=30),
        calls=4,
        cost=1.5,
        unpriced=1,
        estimated=1,
        waste_tokens=23,
        waste_cost=0.5,
        waste_calls=1,
        waste_s=7.0,
    )
    minute = T0 // 60 * 60
    recent = UsageTotals(usage=Usage(input=999, output=500, reasoning=100))
    subject.seed(
        T0,
        today=[("openai", totals)],
        minutes={"openai": [(f"{minute - 120:.0f}", recent), (f"{minute - 7200:.0f}", recent)]},
    )
    subject.book(call(cost=0.5), 5, T0)
    view = subject.view(T0, 15)
    (row,) = view.rows
    assert (row.input, row.output, row.cost, row.unpriced, row.estimated) == (210, 35, 2, 1, True)
    assert (view.waste_tokens, view.waste_cost) == (23, 0.5)
    assert subject.waste_today(T0) == (1, 7.0)
    assert _tokens_in(view.trend, view.step_s, T0, 15) == pytest.approx(600)


def test_the_minute_that_runs_is_seeded_into_what_has_passed_of_it() -> None:
    subject = tracker()
    assert T0 % 60 == 0
    running = UsageTotals(usage=Usage(output=600))
    subject.seed(T0 + 20, today=[], minutes={"p": [(f"{T0:.0f}", running)]})
    view = subject.view(T0 + 20, 15)
    assert _tokens_in(view.trend, view.step_s, T0 + 20, 15) == pytest.approx(600)


def _tokens_in(trend: tuple[float, ...], step_s: float, now: float, points: int) -> float:
    """Return the tokens under a trend whose steps are whole seconds."""
    newest_s = max(1.0, now - now // step_s * step_s)
    return sum(trend[:-1]) * step_s + trend[points - 1] * newest_s


# --- rate and trend -----------------------------------------------------------------------


def test_the_live_count_is_corrected_to_the_usage() -> None:
    for streamed in (0, 40, 100, 180):
        subject = tracker()
        subject.stream(streamed, T0 - 1)
        subject.book(call(usage=Usage(output=70, reasoning=30)), streamed, T0)
        view = subject.view(T0, 15)
        assert _tokens_in(view.trend, view.step_s, T0, 15) == pytest.approx(100)


def test_without_usage_what_was_streamed_stands() -> None:
    subject = tracker()
    subject.stream(60, T0)
    subject.book(call(usage=None, outcome=Outcome.FAILED), 60, T0)
    assert subject.rate(T0) == pytest.approx(60 / 5)


def test_an_answer_in_one_piece_makes_no_spike() -> None:
    subject = tracker()
    whole = call(started_at=T0 - 299, finished_at=T0, usage=Usage(output=3000))
    subject.book(whole, 0, T0)
    assert max(subject.view(T0, 90).trend) == pytest.approx(10, rel=0.2)


def test_the_rate_is_of_the_last_seconds() -> None:
    subject = tracker()
    for second in range(20):
        subject.stream(50, T0 + second)
    assert subject.rate(T0 + 19.999) == pytest.approx(50, rel=0.01)
    assert subject.rate(T0 + 30) == 0


@given(
    now=st.floats(T0, T0 + 5000),
    points=st.integers(1, TREND_S),
    arrivals=st.lists(st.tuples(st.floats(0, TREND_S * 2), st.integers(1, 1000)), max_size=50),
)
def test_a_trend_has_its_points_and_loses_nothing_of_the_newest_half(
    now: float, points: int, arrivals: list[tuple[float, int]]
) -> None:
    meter = Meter(TREND_S + 60)
    for age, tokens in sorted(arrivals, reverse=True):
        meter.add(tokens, now - age)
    trend = meter.trend(now, points=points, span_s=TREND_S)
    assert len(trend) == points
    assert all(rate >= 0 for rate in trend)
    steps = [TREND_S // points + 1] * points
    if points >= 2:
        seen = sum(rate * step for rate, step in zip(trend, steps, strict=True))
        sure = sum(tokens for age, tokens in arrivals if age < TREND_S // 2 - 1)
        assert seen >= sure * (1 - 1e-9)


def test_points_scroll_and_do_not_shimmer() -> None:
    subject = tracker()
    for second in range(TREND_S * 2):
        subject.stream(second % 7, T0 + second)
    now = T0 + TREND_S * 2
    before = subject.view(now, 96).trend
    for later_s in (1, 5, 9, 10, 30):
        after = subject.view(now + later_s, 96).trend
        shifts = (after[: 95 - shift] == before[shift:95] for shift in range(5))
        assert any(shifts), later_s


@given(
    st.lists(
        st.tuples(st.floats(-4000, 4000), st.sampled_from(["add", "correct"]), counts),
        max_size=60,
    )
)
def test_a_clock_that_jumps_leaves_sane_numbers(steps: list[tuple[float, str, int]]) -> None:
    meter, now = Meter(TREND_S + 60), T0
    for jump_s, what, tokens in steps:
        now += jump_s
        if what == "add":
            meter.add(tokens, now)
            assert meter.recent(now, 1)[0] >= tokens
        else:
            meter.correct(-tokens, start=now - 30, end=now)
        assert all(rate >= 0 for rate in meter.trend(now, points=96, span_s=TREND_S))
        assert meter.rate(now) >= 0
    assert len(meter.dump()) <= TREND_S + 60


@given(
    live=st.integers(0, 5000),
    surplus=st.integers(-6000, 6000),
    took_s=st.floats(0, 2000),
)
def test_a_correction_is_exact_and_never_below_zero(live: int, surplus: int, took_s: float) -> None:
    meter = Meter(TREND_S + 60)
    meter.add(live, T0)
    meter.correct(surplus, start=T0 - took_s, end=T0)
    kept = meter.recent(T0, TREND_S + 60)
    assert sum(kept) == max(0, live + surplus)
    assert min(kept) >= 0


def test_a_correction_that_ends_before_it_begins_is_booked_at_its_end() -> None:
    meter = Meter(100)
    meter.correct(30, start=T0 + 50, end=T0)
    assert meter.recent(T0, 1) == [30]


def test_a_ring_forgets_what_is_older_than_itself() -> None:
    ring = Ring(3, 60)
    for minute, amount in enumerate((1, 2, 3, 4)):
        ring.add(amount, T0 + minute * 60)
    assert ring.recent(T0 + 180, 3) == [2, 3, 4]
    assert ring.recent(T0 + 240, 3) == [3, 4, 0]
    assert ring.recent(T0 + 9999, 3) == [0, 0, 0]
    again = Ring(3, 60)
    again.restore(ring.dump())
    assert again.recent(T0 + 180, 3) == [2, 3, 4]


# --- money an hour ------------------------------------------------------------------------


def test_dollars_an_hour() -> None:
    subject = tracker()
    start = T0 // 60 * 60
    assert subject.cost_per_h("openai", start) == (0.0, False)
    for minute in range(30):
        subject.book(call(cost=0.5), 0, start + minute * 60 + 30)
    cost, unpriced = subject.cost_per_h("openai", start + 30 * 60 - 0.001)
    assert cost == pytest.approx(30, rel=0.001)
    assert not unpriced
    assert subject.cost_per_h("openai", start + 7200) == (0.0, False)


def test_the_first_seconds_are_not_blown_up() -> None:
    subject = tracker()
    subject.book(call(cost=0.5), 0, T0)
    assert subject.cost_per_h("openai", T0 + 0.01)[0] == pytest.approx(30)


def test_unpriced_money_is_unknown_not_zero() -> None:
    subject = tracker()
    subject.book(call(cost=None), 0, T0)
    assert subject.cost_per_h("openai", T0) == (None, True)
    subject.book(call(cost=1.0), 0, T0)
    assert subject.cost_per_h("openai", T0 + 1)[0] == pytest.approx(60)
    assert subject.cost_per_h("openai", T0 + 1)[1]


# --- estimates ----------------------------------------------------------------------------


def test_an_estimate_says_so() -> None:
    messages: list[Message] = [
        {"role": "user", "content": "x" * 40},
        {"role": "user", "content": [{"type": "text", "text": "y" * 40}, {"type": "image_url"}]},
        {"role": "assistant", "content": None},
    ]
    assert estimate(messages, "z" * 9) == Usage(input=32, output=3, estimated=True)
    assert estimate() == Usage(estimated=True)
