"""A provider's statistics."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.provider_health import (
    MINUTES,
    SAMPLES,
    HealthStats,
    LastError,
    Percentiles,
    ProviderHealth,
)

T0 = 1_800_000_000.0


def filled(*latencies_ms: float) -> ProviderHealth:
    subject = ProviderHealth()
    for latency_ms in latencies_ms:
        subject.record(now=T0, ok=True, latency_ms=latency_ms, ttft_ms=latency_ms / 10)
    return subject


def test_nothing_measured_is_nothing_said() -> None:
    stats = ProviderHealth().stats(T0)
    assert stats == HealthStats(
        total_calls=0,
        successful_calls=0,
        failed_calls=0,
        success_rate=None,
        avg_latency_ms=None,
        latency_ms=Percentiles(),
        ttft_ms=Percentiles(),
        tokens_per_s=0,
        failures_by_kind={},
        last_call=None,
        last_error=None,
    )
    assert ProviderHealth().ok_rate(T0) is None
    assert ProviderHealth().per_minute(T0) == (0,) * 15


def test_neutral_calls_are_neither() -> None:
    subject = filled(100.0, 300.0)
    subject.record(now=T0 + 1, ok=None, latency_ms=9e9)
    subject.record(now=T0 + 2, ok=False, latency_ms=1, kind=ErrorKind.AUTH_ERROR, message="no")
    stats = subject.stats(T0 + 2)
    assert (stats.total_calls, stats.successful_calls, stats.failed_calls) == (4, 2, 1)
    assert stats.success_rate == pytest.approx(2 / 3)
    assert stats.avg_latency_ms == 200
    assert stats.failures_by_kind == {ErrorKind.AUTH_ERROR: 1}
    assert stats.last_call == T0 + 2
    assert stats.last_error == LastError(at=T0 + 2, kind=ErrorKind.AUTH_ERROR, message="no")


def test_a_time_outs_patience_is_latency_and_a_refusal_is_not() -> None:
    subject = filled(100.0)
    subject.record(now=T0, ok=False, latency_ms=1.0, kind=ErrorKind.NETWORK_ERROR)
    subject.record(now=T0, ok=False, latency_ms=30_000.0, kind=ErrorKind.TIMEOUT)
    assert subject.stats(T0).latency_ms == Percentiles(p50=100, p95=30_000, p99=30_000)
    assert subject.stats(T0).ttft_ms == Percentiles(p50=10, p95=10, p99=10)


def test_percentiles_are_nearest_rank() -> None:
    subject = filled(*range(1, 101))
    assert subject.stats(T0).latency_ms == Percentiles(p50=50, p95=95, p99=99)


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=600))
def test_percentiles_speak_of_the_newest_and_are_ordered(latencies: list[float]) -> None:
    subject = filled(*latencies)
    found = subject.stats(T0).latency_ms
    newest = latencies[-SAMPLES:]
    assert found.p50 is not None
    assert found.p95 is not None
    assert found.p99 is not None
    assert min(newest) <= found.p50 <= found.p95 <= found.p99 <= max(newest)
    assert found.p50 in newest
    assert sum(value <= found.p95 for value in newest) >= 0.95 * len(newest)
    subject.record(now=T0, ok=True, latency_ms=1e9)
    again = subject.stats(T0).latency_ms.p99
    assert again is not None
    assert again >= found.p99


def test_what_comes_in_is_counted_as_it_comes() -> None:
    subject = ProviderHealth()
    for second in range(10):
        subject.stream(40, T0 + second)
    assert subject.stats(T0 + 9.999).tokens_per_s == pytest.approx(40, rel=0.01)
    subject.record(now=T0 + 10, ok=True, latency_ms=10_000, tokens=400, streamed=400)
    assert subject.stats(T0 + 9.999).tokens_per_s == pytest.approx(40, rel=0.01)
    assert subject.stats(T0 + 100).tokens_per_s == 0


def test_an_answer_in_one_piece_is_spread_over_its_time() -> None:
    subject = ProviderHealth()
    subject.record(now=T0 + 20, ok=True, latency_ms=20_000, tokens=2100)
    assert subject.stats(T0 + 20.999).tokens_per_s == pytest.approx(100, rel=0.01)


def test_minutes() -> None:
    subject = ProviderHealth()
    start = T0 // 60 * 60
    for minute in range(20):
        for _ in range(minute):
            ok = None if minute == 18 else minute != 19
            subject.record(now=start + minute * 60, ok=ok)
    now = start + 19 * 60 + 59
    assert subject.per_minute(now) == tuple(range(5, 20))
    assert subject.ok_rate(now) == pytest.approx((15 + 16 + 17) / (15 + 16 + 17 + 19))
    assert subject.per_minute(now + 120) == (*range(7, 20), 0, 0)
    assert subject.ok_rate(now + 600) is None


@given(
    st.lists(st.tuples(st.floats(-5000, 5000), st.sampled_from([True, False, None])), max_size=80)
)
def test_a_clock_that_jumps_leaves_sane_numbers(steps: list[tuple[float, bool | None]]) -> None:
    subject, now = ProviderHealth(), T0
    for jump_s, ok in steps:
        now += jump_s
        subject.record(now=now, ok=ok, latency_ms=5, tokens=10)
        minutes = subject.per_minute(now)
        assert len(minutes) == MINUTES
        assert min(minutes) >= 0
        assert minutes[-1] >= 1
        rate = subject.ok_rate(now)
        assert rate is None or 0 <= rate <= 1
        assert subject.stats(now).tokens_per_s >= 0
    stats = subject.stats(now)
    assert stats.total_calls == len(steps)
    assert stats.successful_calls == sum(ok is True for _, ok in steps)
    assert sum(stats.failures_by_kind.values()) == stats.failed_calls


records = st.fixed_dictionaries(
    {
        "ok": st.sampled_from([True, False, None]),
        "latency_ms": st.none() | st.integers(0, 900_000).map(float),
        "ttft_ms": st.none() | st.integers(0, 900_000).map(float),
        "kind": st.none() | st.sampled_from(list(ErrorKind)),
        "message": st.none() | st.text(max_size=50),
        "tokens": st.integers(0, 5000),
    }
)


@given(st.lists(records, max_size=60))
def test_a_restart_keeps_everything_but_the_rate(booked: list[dict[str, Any]]) -> None:
    subject = ProviderHealth()
    for i, each in enumerate(booked):
        subject.record(now=T0 + i, **each)
    later = T0 + 300
    again = ProviderHealth()
    again.record(now=T0, ok=False, latency_ms=1)
    again.restore(json.loads(json.dumps(subject.dump())))
    assert again.stats(later) == subject.stats(later)
    assert again.per_minute(later) == subject.per_minute(later)
    assert again.ok_rate(later, 10) == subject.ok_rate(later, 10)


def test_a_dump_stays_small_whatever_happened() -> None:
    subject = ProviderHealth()
    for i in range(20_000):
        kind = list(ErrorKind)[i % len(ErrorKind)]
        subject.record(
            now=T0 + i,
            ok=i % 2 == 0,
            latency_ms=899_999.123456,
            ttft_ms=899_999.123456,
            kind=kind,
            message="\N{SNOWMAN}" * 5000,
            tokens=100_000,
        )
    assert len(json.dumps(subject.dump())) < 4096


def test_an_empty_memory_is_a_fresh_start() -> None:
    subject = filled(5.0)
    subject.restore({})
    assert subject.stats(T0) == ProviderHealth().stats(T0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"total": "many"},
        {"by_kind": {"gremlins": 1}},
        {"by_kind": [1]},
        {"latency_sum_ms": float("nan")},
        {"latencies": [1, "2"]},
        {"ttfts": [float("inf")]},
        {"minutes": [[[1, "x"]]]},
        {"last_call": "yesterday"},
        {"last_error": ["now", "timeout", "m"]},
        {"last_error": [1.0, "gremlins", "m"]},
    ],
)
def test_a_memory_of_another_hand_is_refused(wrong: dict[str, Any]) -> None:
    kept = filled(5.0).dump()
    with pytest.raises((ArithmeticError, AttributeError, LookupError, TypeError, ValueError)):
        ProviderHealth().restore({**kept, **wrong})
