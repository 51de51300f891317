"""What the composition of a prompt and the bounds of a chain promise, for any input."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.injection.policy import (
    MAX_CONTENT_CHARS,
    ORIGINATING,
    Blocked,
    Chain,
    ChainBounds,
    Injection,
    InjectionState,
    InjectionTerms,
    InjectMode,
    Position,
    bounds_of,
    compose,
    content_fault,
    id_of_result,
    injection_of,
    over_bound,
    plain,
    terms_of,
)

PLACE = {
    Position.PREPEND: 0,
    Position.SYSTEM_REMINDER: 1,
    Position.BEFORE_PROMPT: 2,
    Position.AFTER_PROMPT: 4,
    Position.POSTSCRIPT: 5,
}
PROMPT_PLACE = 3


def injection(
    number: int = 1, position: Position = Position.BEFORE_PROMPT, **fields: object
) -> Injection:
    given = {
        "injection_id": f"i-{number}",
        "session_id": "s",
        "mode": InjectMode.NEXT,
        "position": position,
        "content": f"<{number}>",
        "created_at": 1.0,
    }
    return Injection(**{**given, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("before_prompt", "<1>\n\nask"),
        ("after_prompt", "ask\n\n<1>"),
        ("system_reminder", "<system-reminder>\n<1>\n</system-reminder>\n\nask"),
        ("prepend", "<1>\n\nask"),
        ("postscript", "ask\n\nP.S. <1>"),
    ],
)
def test_each_position_has_its_form(position: str, expected: str) -> None:
    assert compose("ask", [injection(position=Position(position))]) == expected


def test_trigger_and_guidance_are_woven_in_inside_of_the_form() -> None:
    one = injection(
        position=Position.SYSTEM_REMINDER, trigger_type="done", follow_up_guidance="go on"
    )
    assert compose("ask", [one]) == (
        "<system-reminder>\n[trigger: done]\n<1>\n\nFollow-up guidance: go on\n"
        "</system-reminder>\n\nask"
    )


def test_without_a_prompt_the_injections_stand_alone() -> None:
    assert compose(None, [injection()]) == "<1>"
    assert compose("ask", []) == "ask"


@given(st.lists(st.sampled_from(Position), max_size=12), st.booleans())
def test_everything_is_in_it_once_and_in_order(positions: list[Position], decorated: bool) -> None:
    extra = {"trigger_type": "t", "follow_up_guidance": "g"} if decorated else {}
    injections = [injection(n, position, **extra) for n, position in enumerate(positions)]
    text = compose("(ask)", injections)
    assert text.count("(ask)") == 1
    assert text.count("Follow-up guidance: g") == (len(positions) if decorated else 0)
    assert all(text.count(each.content) == 1 for each in injections)
    found = sorted([(text.index(each.content), n) for n, each in enumerate(injections)])
    wanted = sorted(range(len(positions)), key=lambda n: (PLACE[positions[n]], n))
    assert [n for _, n in found] == wanted
    before = sum(PLACE[position] < PROMPT_PLACE for position in positions)
    assert sum(at < text.index("(ask)") for at, _ in found) == before


@given(
    bounds=st.builds(
        ChainBounds,
        max_depth=st.integers(1, 10),
        token_budget=st.integers(1, 100),
        time_window_s=st.floats(0.5, 100),
    ),
    depth=st.integers(1, 12),
    tokens=st.integers(0, 150),
    age=st.floats(0, 150),
)
def test_a_chain_goes_on_exactly_within_all_its_bounds(
    bounds: ChainBounds, depth: int, tokens: int, age: float
) -> None:
    age = round(age, 3)
    blocked = over_bound(bounds, Chain(depth=depth, tokens=tokens, root_at=0.0), age)
    over = {
        "max_depth": (bounds.max_depth, depth),
        "time_window_s": (bounds.time_window_s, age),
        "token_budget": (bounds.token_budget, tokens),
    }
    over = {bound: pair for bound, pair in over.items() if pair[1] > pair[0]}
    if blocked is None:
        assert not over
    else:
        assert over[blocked.bound] == (blocked.limit, blocked.found)
        assert blocked.bound == next(iter(over))


def test_the_bounds_that_nobody_gives_are_the_contracts() -> None:
    assert plain(ChainBounds()) == {
        "max_depth": 5,
        "token_budget": 50_000,
        "time_window_s": 3600.0,
    }


def test_a_text_must_say_something_and_must_not_be_too_long() -> None:
    assert content_fault("x" * MAX_CONTENT_CHARS) is None
    assert content_fault(" \n") == Blocked(bound="min_content_chars", limit=1, found=0)
    over = content_fault("x" * MAX_CONTENT_CHARS, "y")
    assert over is not None
    assert over.bound == "max_content_chars"
    assert over.text() == "max_content_chars is 100000, found 100001"


def test_originating_is_the_sessions_own_and_each_target_counts_once() -> None:
    terms = InjectionTerms(targets=(ORIGINATING, "b", "own", "b"))
    assert terms.sessions("own") == ("own", "b")


@given(st.tuples(st.text(min_size=1), st.text(min_size=1)), st.tuples(st.text(), st.text()))
def test_a_results_injection_has_an_id_of_its_own(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    assert id_of_result(*one) == id_of_result(*one)
    assert (id_of_result(*one) == id_of_result(*other)) == (one == other)
    assert len(id_of_result(*one)) < 40


def test_values_survive_plain_json() -> None:
    terms = InjectionTerms(
        mode=InjectMode.DIRECT, position=Position.PREPEND, targets=("a", "b"), ttl_s=2.5
    )
    bounds = ChainBounds(max_depth=2, parent_request_id="r-1")
    whole = injection(
        trigger_type="t",
        state=InjectionState.BLOCKED,
        blocked=Blocked(bound="max_depth", limit=5, found=6),
    )
    assert terms_of(json.loads(json.dumps(plain(terms)))) == terms
    assert bounds_of(json.loads(json.dumps(plain(bounds)))) == bounds
    assert injection_of(json.loads(json.dumps(plain(whole)))) == whole
