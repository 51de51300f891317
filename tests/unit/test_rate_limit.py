"""Requests and tokens a minute, as exact sliding windows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.rate_limit import (
    DEFAULT_REPLY_TOKENS,
    WINDOW_S,
    Admission,
    RateLimit,
    tokens_needed,
)

NOW = 1_000_000.0


def take(limit: RateLimit, now: float, tokens: int = 0) -> Admission | None:
    """Admit a call when nothing is in its way."""
    if limit.obstacle(now, tokens) is not None:
        limit.keep_room(tokens)
        return None
    return limit.admit(now, tokens)


steps = st.lists(
    st.tuples(
        st.floats(min_value=0, max_value=90),  # since the step before
        st.integers(min_value=1, max_value=150),  # tokens asked for
        st.sampled_from(["none", "less", "nothing"]),  # what the call really used
        st.booleans(),  # whether the engine is killed and starts again
    ),
    max_size=60,
)


@given(steps, st.integers(1, 5) | st.none(), st.integers(20, 120) | st.none())
def test_no_window_of_60_s_ever_exceeds(
    steps: list[tuple[float, int, str, bool]], rpm: int | None, tpm: int | None
) -> None:
    limit, now = RateLimit(rpm, tpm), NOW
    kept: dict[int, Admission] = {}
    admitted: list[Admission] = []
    for after_s, tokens, used, killed in steps:
        now += after_s
        if killed:
            limit = RateLimit(rpm, tpm)
            limit.restore(((a.number, a.at, a.tokens) for a in kept.values()), now)
        limit.obstacle(now + 1_000, tokens)  # to ask what will be changes nothing
        limit.used(now + 1_000)
        admission = take(limit, now, tokens)
        if admission is None:
            continue
        window = [a for a in admitted if a.at > now - WINDOW_S]
        assert rpm is None or len(window) < rpm
        reserved = sum(a.tokens for a in window)
        assert tpm is None or reserved + tokens <= tpm or not window
        kept[admission.number] = admission
        admitted.append(admission)
        if used != "none":
            limit.correct(admission, tokens // 2 if used == "less" else 0, now)


@given(steps, st.integers(1, 5) | st.none(), st.integers(20, 120) | st.none())
def test_who_is_refused_may_go_exactly_when_it_was_told(
    steps: list[tuple[float, int, str, bool]], rpm: int | None, tpm: int | None
) -> None:
    limit, now = RateLimit(rpm, tpm), NOW
    for after_s, tokens, _, _ in steps:
        now += after_s
        obstacle = limit.obstacle(now, tokens)
        if obstacle is None:
            limit.admit(now, tokens)
            continue
        assert now < obstacle.until <= now + WINDOW_S
        before = (now + obstacle.until) / 2
        if now < before < obstacle.until:
            assert limit.obstacle(before, tokens) is not None
            now = before
        now = obstacle.until
        assert limit.obstacle(now, tokens) is None
        limit.admit(now, tokens)


@given(steps)
def test_rows_are_used_again_and_never_by_two_calls_of_a_minute(
    steps: list[tuple[float, int, str, bool]],
) -> None:
    limit, now = RateLimit(4, None), NOW
    current: list[Admission] = []
    for after_s, _, _, _ in steps:
        now += after_s
        admission = take(limit, now)
        if admission is not None:
            current = [a for a in current if a.at > now - WINDOW_S]
            assert admission.number not in {a.number for a in current}
            assert admission.number < 4
            current.append(admission)


def test_requests_are_told_with_the_limit_and_the_moment() -> None:
    limit = RateLimit(2, None)
    limit.admit(NOW, 0)
    limit.admit(NOW + 10, 0)
    obstacle = limit.obstacle(NOW + 20)
    assert obstacle is not None
    assert (obstacle.text, obstacle.until) == ("at 2 of 2 requests a minute", NOW + 60)
    assert limit.obstacle(NOW + 60) is None
    assert limit.used(NOW + 60) == (1, 0)


def test_tokens_are_told_with_what_is_needed() -> None:
    limit = RateLimit(None, 100)
    limit.admit(NOW, 60)
    limit.admit(NOW + 5, 30)
    assert limit.obstacle(NOW + 6, 10) is None
    obstacle = limit.obstacle(NOW + 6, 11)
    assert obstacle is not None
    assert (obstacle.text, obstacle.until) == (
        "at 90 of 100 tokens a minute, 11 needed",
        NOW + 60,
    )


def test_of_both_limits_the_one_that_lasts_longer_is_told() -> None:
    limit = RateLimit(2, 100)
    limit.admit(NOW, 1)
    limit.admit(NOW + 1, 98)
    obstacle = limit.obstacle(NOW + 2, 50)
    assert obstacle is not None
    assert (obstacle.text, obstacle.until) == (
        "at 99 of 100 tokens a minute, 50 needed",
        NOW + 61,
    )


def test_a_call_larger_than_the_limit_goes_into_an_empty_window_only() -> None:
    limit = RateLimit(None, 100)
    limit.admit(NOW, 1)
    limit.admit(NOW + 30, 1)
    obstacle = limit.obstacle(NOW + 31, 500)
    assert obstacle is not None
    assert obstacle.until == NOW + 90
    assert limit.obstacle(NOW + 90, 500) is None
    limit.admit(NOW + 90, 500)
    assert limit.obstacle(NOW + 91, 1) is not None


def test_what_is_corrected_makes_room_or_takes_it() -> None:
    limit = RateLimit(None, 100)
    first = limit.admit(NOW, 90)
    assert limit.obstacle(NOW, 20) is not None
    assert limit.correct(first, 40, NOW)
    assert limit.obstacle(NOW, 20) is None
    assert limit.correct(first, 200, NOW)
    assert limit.used(NOW) == (1, 200)
    assert limit.obstacle(NOW, 1) is not None


def test_an_old_call_is_not_corrected_any_more() -> None:
    limit = RateLimit(None, 100)
    first = limit.admit(NOW, 90)
    second = limit.admit(NOW + 60, 10)
    assert second.number == first.number
    assert not limit.correct(first, 1, NOW + 60)
    assert limit.used(NOW + 60) == (1, 10)


def test_smaller_calls_do_not_overtake_one_that_waits_for_room() -> None:
    limit = RateLimit(None, 100)
    limit.admit(NOW, 50)
    limit.admit(NOW + 10, 20)
    limit.keep_room(80)
    obstacle = limit.obstacle(NOW + 11, 1)
    assert obstacle is not None
    assert obstacle.until == NOW + 60
    assert limit.obstacle(NOW + 60, 80) is None
    limit.admit(NOW + 60, 80)
    assert limit.obstacle(NOW + 70, 20) is None  # nobody waits any more


def test_a_clock_that_was_ahead_blocks_nobody_for_longer_than_a_minute() -> None:
    limit = RateLimit(1, None)
    limit.restore([(0, NOW + 86_400, 5), (1, NOW - 61, 5)], NOW)
    assert limit.used(NOW) == (1, 5)
    assert limit.obstacle(NOW + 60) is None


@pytest.mark.parametrize(
    ("asked", "own", "reply"),
    [
        ({}, {}, DEFAULT_REPLY_TOKENS),
        ({"max_tokens": 50}, {}, 50),
        ({}, {"max_tokens": 70}, 70),
        ({"max_tokens": 50}, {"max_tokens": 70}, 50),
        ({"max_tokens": 50, "max_completion_tokens": 30}, {}, 30),
        ({"max_tokens": 50, "n": 3}, {}, 150),
    ],
)
def test_what_is_reserved_is_the_input_and_the_longest_reply(
    asked: dict[str, Any], own: dict[str, Any], reply: int
) -> None:
    message = {"role": "user", "content": "x" * 400}
    alone = tokens_needed([message], [], asked, own)
    assert 100 <= alone - reply <= 110
    with_history = tokens_needed([message], [message], asked, own)
    assert with_history - alone == alone - reply
    tools = tokens_needed([message], [], {**asked, "tools": [{"name": "x" * 400}]}, own)
    assert tools > alone + 100
