"""A request's timeline in plain words, and the texts that may be hidden."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.screens.report import texts, timeline, usage
from ksi_tui.screens.report.story import story
from ksi_tui.widgets.clean import UNSAFE
from tests.ui.acting import live
from tests.ui.scripted import AT
from tests.ui.test_request import REPORT, SENT


def test_the_story_of_one_that_is_silent() -> None:
    assert story(REPORT, live(), AT).splitlines() == [
        "Request r-1042 of session globex-7 (agent a12), 2026-11-22, times in UTC",
        "03:11:24  It was accepted, asking for gpt-4o.",
        "03:11:24  Attempt 1 of 3 began with azure-eu. Not called: openai (open, probe in 2:08).",
        "03:11:24  azure-eu failed: api_rate_limit 429: slow down.",
        "03:11:54  anthropic failed: timeout: no first token in 30 s.",
        "03:11:54  It waited 2.1s before the next attempt.",
        "03:11:56  Attempt 2 of 3 began with anthropic. Not called: azure-eu (cooling, 0:56 left).",
        "03:11:57  anthropic began to answer, as claude-sonnet-4-5 in place of gpt-4o.",
        "Now (03:12:44): anthropic silent since 03:12:10 (usual gap 0.03 s), after 412 tokens. "
        "2 wait behind it.",
        "If nobody acts: the idle clock fires in 0:26, attempt 3 of 3 starts.",
    ]


@pytest.mark.parametrize(
    ("changes", "last"),
    [
        (
            {"status": "cancelled", "by": "op1", "text": "Invoice"},
            "03:12:40  It was stopped; 7 characters of the answer were kept. "
            "The session accepts new messages.",
        ),
        (
            {"status": "failed", "error": {"kind": "timeout", "message": "no token"}},
            "03:12:40  It failed: timeout: no token. Nothing is lost; it can be tried again.",
        ),
        (
            {"status": "completed"},
            "03:12:40  It was completed, 1m15s after it was accepted.",
        ),
    ],
)
def test_the_story_ends_with_the_end(changes: dict[str, Any], last: str) -> None:
    ended = {**REPORT, "finished_at": "2026-11-22T03:12:40+00:00", **changes}
    assert story(ended, None, AT).splitlines()[-1] == last


def test_the_story_tells_who_acted_and_why_and_no_text() -> None:
    deed = {
        "at": "2026-11-22T03:12:20+00:00",
        "what": "cancel",
        "text": "",
        "by": "op1",
        "reason": "ticket 8841",
        "detail": None,
    }
    told = story({**REPORT, "timeline": [deed]}, live(), AT)
    assert "03:12:20  op1 stopped it (ticket 8841)." in told
    assert "nvoice" not in told


def test_nothing_is_told_of_nothing() -> None:
    assert story({}, None, None) == ""


@given(st.text(), st.text())
def test_no_story_and_no_line_ever_drives_a_terminal(name: str, said: str) -> None:
    deed = {"at": None, "what": said, "text": said, "by": name, "reason": said, "detail": said}
    hostile = {
        **REPORT,
        "request_id": name,
        "session_id": name,
        "agent_id": name,
        "requested_model": name,
        "timeline": [deed, {"at": said, "what": said, "text": said}],
        "attempts": [
            {
                **REPORT["attempts"][0],
                "verdicts": [{"provider": name, "kind": said, "detail": said}],
                "calls": [{"provider": name, "outcome": said, "error": {"kind": said}}],
            }
        ],
    }
    lines = timeline.timeline(hostile, None, AT, 80) + usage.usage(hostile, None, SENT, 80)
    shown = [*story(hostile, None, AT).splitlines(), *(each.text for each in lines)]
    assert not any(UNSAFE.search(each) for each in shown)


@pytest.mark.parametrize(
    ("share", "bar"),
    [(0.0, "[>         ]"), (0.5, "[====>     ]"), (1.0, "[=========>]"), (7.0, "[=========>]")],
)
def test_a_limits_bar(share: float, bar: str) -> None:
    assert timeline.limit_bar(share, 10) == bar


def test_the_raw_record_holds_all_or_no_text() -> None:
    report = {**REPORT, "text": "Invoice 2231", "result": {"response": {"x": "Invoice 2231"}}}
    open_record = json.loads(texts.raw(report, SENT, None))
    assert open_record["text"] == "Invoice 2231"
    assert open_record["sent"]["history"] == SENT["history"]
    hidden = texts.raw(report, SENT, "hidden")
    assert "nvoice" not in hidden
    assert "billing assistant" not in hidden
    record = json.loads(hidden)
    assert record["history"] == "session"
    assert record["requested_model"] == "gpt-4o"
    assert record["attempts"][1]["calls"][0]["tokens_so_far"] == 412


def test_costs_say_how_sure_they_are() -> None:
    def cell(*calls: dict[str, Any]) -> str:
        report = {"attempts": [{"attempt": 1, "calls": list(calls)}]}
        row = next(each.text for each in usage.usage(report, None, None, 40) if "cost" in each.text)
        return row.removeprefix("cost").strip()

    exact = {"usage": {"input": 1, "estimated": False}, "cost": 0.5, "outcome": "answered"}
    guessed = {"usage": {"input": 1, "estimated": True}, "cost": 0.5, "outcome": "cancelled"}
    timed_out = {**guessed, "outcome": "failed", "error": {"kind": "timeout"}}
    unpriced = {"usage": {"input": 1}, "cost": None, "outcome": "answered"}
    refused = {"usage": None, "cost": None, "outcome": "failed", "error": {"kind": "auth_error"}}
    assert cell(exact) == "$0.50"
    assert cell(guessed) == "~ $0.50"
    assert cell(timed_out) == "≤ $0.50"
    assert cell(unpriced) == "unpriced"
    assert cell(exact, unpriced) == "≥ $0.50"
    assert cell(refused) == "–"
    assert cell(refused, exact) == "$0.50"
