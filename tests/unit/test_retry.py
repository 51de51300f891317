"""Whether and when an attempt is made again, and who is due."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.config import RetrySettings
from ksi_tui.engine.errors import POLICY, ErrorKind
from ksi_tui.engine.retry_manager import (
    MAX_INTERRUPTIONS,
    CallError,
    Fail,
    Retry,
    RetryPolicy,
)

LONG = 1e9
INTERRUPTIONS = [kind for kind in ErrorKind if POLICY[kind].interruption]
FAILURES = [kind for kind in ErrorKind if not POLICY[kind].interruption]
RETRIED = [kind for kind in FAILURES if POLICY[kind].retried]
FINAL = [kind for kind in FAILURES if not POLICY[kind].retried]


def policy(seed: int = 1, **keys: float) -> RetryPolicy:
    return RetryPolicy(RetrySettings.model_validate(keys), random.Random(seed))


def decide(
    *kinds: CallError,
    spent: int = 1,
    max_attempts: int = 3,
    interruptions: int = 0,
    deadline_left_s: float = LONG,
) -> Retry | Fail:
    return policy(jitter=0).decide(
        kinds=kinds,
        spent=spent,
        max_attempts=max_attempts,
        interruptions=interruptions,
        deadline_left_s=deadline_left_s,
    )


# --- the delay ----------------------------------------------------------------------------


def test_it_doubles_up_to_the_longest() -> None:
    delays = [policy(jitter=0).delay_s(attempt) for attempt in range(1, 8)]
    assert delays == [2, 4, 8, 16, 32, 60, 60]


@given(
    seed=st.integers(),
    attempt=st.integers(1, 100_000),
    initial=st.floats(0, 1e6),
    longest=st.floats(0, 1e6),
    multiplier=st.floats(1, 1e6),
    jitter=st.floats(0, 1),
)
def test_it_is_bounded_jitter_included(
    seed: int, attempt: int, initial: float, longest: float, multiplier: float, jitter: float
) -> None:
    subject = policy(
        seed,
        initial_delay_s=initial,
        max_delay_s=longest,
        multiplier=multiplier,
        jitter=jitter,
    )
    assert 0 <= subject.delay_s(attempt) <= longest


@given(seed=st.integers(), jitter=st.floats(0, 1), attempt=st.integers(1, 4))
def test_jitter_stays_around_the_exponential(seed: int, jitter: float, attempt: int) -> None:
    delay = policy(seed, jitter=jitter).delay_s(attempt)
    exact = 2.0**attempt
    assert exact * (1 - jitter) - 1e-9 <= delay <= exact * (1 + jitter) + 1e-9


def test_jitter_spreads_and_the_same_seed_gives_the_same() -> None:
    delays = [policy(seed).delay_s(3) for seed in range(20)]
    assert len(set(delays)) == 20
    assert delays == [policy(seed).delay_s(3) for seed in range(20)]


@given(retry_after=st.floats(0, 1e5), attempt=st.integers(1, 10))
def test_a_retry_after_is_a_floor(retry_after: float, attempt: int) -> None:
    assert retry_after <= policy().delay_s(attempt, retry_after) <= max(60, retry_after)


# --- the decision -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RETRIED)
def test_what_may_be_retried_is_until_the_budget_is_spent(kind: ErrorKind) -> None:
    assert decide((kind, None), spent=2) == Retry(delay_s=4, kind=kind)
    assert decide((kind, None), spent=3) == Fail(kind=kind, message="3 of 3 attempts failed")


@pytest.mark.parametrize("kind", FINAL)
def test_what_may_not_fails_at_once(kind: ErrorKind) -> None:
    assert decide((kind, None)) == Fail(kind=kind, message=f"{kind.value} is not retried")


@pytest.mark.parametrize("final", FINAL)
@pytest.mark.parametrize("order", [1, -1])
def test_after_mixed_errors_the_one_that_may_be_retried_decides(
    final: ErrorKind, order: int
) -> None:
    walk = [(ErrorKind.TIMEOUT, None), (final, None)][::order]
    decision = decide(*walk)
    assert isinstance(decision, Retry)
    assert decision.kind is ErrorKind.TIMEOUT


def test_without_any_that_may_be_the_last_one_names_the_failure() -> None:
    decision = decide((ErrorKind.AUTH_ERROR, None), (ErrorKind.MODEL_NOT_FOUND, None))
    assert isinstance(decision, Fail)
    assert decision.kind is ErrorKind.MODEL_NOT_FOUND


def test_a_walk_without_errors_has_nothing_to_decide() -> None:
    with pytest.raises(ValueError, match="called nobody"):
        decide()


@pytest.mark.parametrize(
    ("walk", "expected_s"),
    [
        ([(ErrorKind.API_RATE_LIMIT, 30.0)], 30),
        ([(ErrorKind.API_RATE_LIMIT, 30.0), (ErrorKind.API_RATE_LIMIT, 9.0)], 9),
        ([(ErrorKind.API_RATE_LIMIT, 30.0), (ErrorKind.API_RATE_LIMIT, None)], 2),
        ([(ErrorKind.API_RATE_LIMIT, 30.0), (ErrorKind.TIMEOUT, None)], 2),
        ([(ErrorKind.PROVIDER_ERROR, 30.0), (ErrorKind.TIMEOUT, None)], 30),
        ([(ErrorKind.PROVIDER_ERROR, 30.0), (ErrorKind.API_RATE_LIMIT, 5.0)], 30),
        ([(ErrorKind.PROVIDER_ERROR, 30.0), (ErrorKind.PROVIDER_ERROR, 5.0)], 30),
        ([(ErrorKind.MODEL_NOT_FOUND, 99.0), (ErrorKind.TIMEOUT, None)], 2),
        ([(ErrorKind.PROVIDER_ERROR, 1.0)], 2),
        ([(ErrorKind.PROVIDER_ERROR, 4000.0)], 4000),
    ],
)
def test_whose_retry_after_counts(walk: list[CallError], expected_s: float) -> None:
    decision = decide(*walk)
    assert isinstance(decision, Retry)
    assert decision.delay_s == expected_s


def test_a_delay_past_the_deadline_fails_at_once_as_what_it_was() -> None:
    decision = decide((ErrorKind.API_RATE_LIMIT, 90.0), deadline_left_s=60)
    assert decision == Fail(
        kind=ErrorKind.API_RATE_LIMIT,
        message="the next attempt would begin in 90.0 s, after the deadline in 60.0 s",
    )


@pytest.mark.parametrize("kind", [ErrorKind.TIMEOUT, ErrorKind.WORKER_LOST])
def test_a_deadline_that_has_passed_is_the_reason(kind: ErrorKind) -> None:
    decision = decide((kind, None), deadline_left_s=0)
    assert isinstance(decision, Fail)
    assert decision.kind is ErrorKind.DEADLINE_EXCEEDED
    assert kind.value in decision.message


@pytest.mark.parametrize("kind", INTERRUPTIONS)
def test_interruptions_go_again_at_once_whatever_was_spent(kind: ErrorKind) -> None:
    for count in range(1, MAX_INTERRUPTIONS):
        decision = decide((ErrorKind.TIMEOUT, 9.0), (kind, None), spent=99, interruptions=count)
        assert decision == Retry(delay_s=0, kind=kind)
    failed = decide((kind, None), spent=0, interruptions=MAX_INTERRUPTIONS)
    assert failed == Fail(kind=kind, message="interrupted 10 times")


@given(
    walk=st.lists(
        st.tuples(st.sampled_from(list(ErrorKind)), st.none() | st.floats(0, 1e4)),
        min_size=1,
        max_size=6,
    ),
    spent=st.integers(0, 12),
    max_attempts=st.integers(1, 10),
    interruptions=st.integers(0, 20),
    left=st.floats(-100, 1e4),
)
def test_it_never_exceeds_budget_deadline_or_interruptions(
    walk: list[CallError], spent: int, max_attempts: int, interruptions: int, left: float
) -> None:
    decision = policy().decide(
        kinds=walk,
        spent=spent,
        max_attempts=max_attempts,
        interruptions=interruptions,
        deadline_left_s=left,
    )
    if isinstance(decision, Fail):
        assert decision.message
        return
    assert decision.delay_s < left
    assert decision.kind in [kind for kind, _ in walk]
    if POLICY[decision.kind].interruption:
        assert interruptions <= MAX_INTERRUPTIONS
    else:
        assert POLICY[decision.kind].retried
        assert spent < max_attempts
