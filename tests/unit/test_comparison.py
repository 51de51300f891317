"""What differs between two answers, and what several runs took."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.views import Phase
from ksi_tui.screens.comparison import (
    MOST_WORDS,
    Run,
    alike,
    difference,
    difference_lines,
    head,
    summary,
    told_run,
)
from ksi_tui.widgets import fit
from ksi_tui.widgets.spans import Tone

ANSWERS = st.lists(
    st.sampled_from(["it", "doubled", "twice", "once", " ", "  ", "\n", "a-b", "é"]), max_size=40
).map(" ".join)


@given(one=ANSWERS, other=ANSWERS)
def test_a_difference_holds_both_answers_whole(one: str, other: str) -> None:
    pieces = difference(one, other)
    assert "".join(text for text, tone in pieces if tone is not Tone.OK) == one
    assert "".join(text for text, tone in pieces if tone is not Tone.BAD) == other


@given(one=ANSWERS)
def test_equal_answers_do_not_differ(one: str) -> None:
    pieces = difference(one, one)
    assert all(tone is Tone.PLAIN for _, tone in pieces)
    assert alike(pieces) == 1.0


@given(one=ANSWERS, other=ANSWERS, width=st.integers(10, 60))
def test_the_lines_fit_and_mark_what_is_not_shared(one: str, other: str, width: int) -> None:
    pieces = difference(one, other)
    lines = difference_lines(pieces, width)
    assert all(fit.width_of(each) <= width for each in lines)
    text = "".join(each.text for each in lines)
    assert text.count("[-") == sum(tone is Tone.BAD for _, tone in pieces)
    assert text.count("{+") == sum(tone is Tone.OK for _, tone in pieces)


def test_long_answers_are_cut_before_they_are_compared() -> None:
    pieces = difference("a " * MOST_WORDS * 3, "b " * 5)
    assert sum(len(text) for text, _ in pieces) < MOST_WORDS * 3


def test_the_difference_is_clean() -> None:
    (shown,) = difference_lines(difference("\x1b[31mred", "\x1b[31mred"), 40)
    assert "\x1b" not in shown.text


def test_a_substitution_is_named() -> None:
    run = Run(model="gpt-4o", number=1, phase=Phase.COMPLETED, answered_by="claude", cost=None)
    title, numbers = head(run)
    assert title.text.startswith("gpt-4o → claude")
    assert "unpriced" in numbers


def test_only_completed_runs_count() -> None:
    runs = [
        Run(model="m", number=1, phase=Phase.COMPLETED, ttft_s=1.0, cost=0.5),
        Run(model="m", number=2, phase=Phase.FAILED, ttft_s=9.0),
        Run(model="m", number=3, phase=Phase.STREAMING, ttft_s=9.0),
    ]
    row = summary(runs, ["m"], 130)[1].text
    assert "1/3" in row
    assert "1.0s" in row
    assert "9.0s" not in row
    assert "! 1 not answered" in row


def test_a_failed_record_says_why() -> None:
    report = {"status": "failed", "error": {"kind": "timeout", "message": "no first token"}}
    run = told_run(Run(model="m", number=1), report)
    assert (run.phase, run.over, run.said) == (Phase.FAILED, True, "timeout: no first token")
