"""One streamed answer in chunks: whatever came in between, a client puts the same one together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine import events
from ksi_tui.engine.events import Event
from ksi_tui.gateway.answers import Sent, whole
from ksi_tui.gateway.story import Story

CALLS = [
    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "[]"}},
]


def _story(*, include_usage: bool = False) -> Story:
    return Story("r1", model="asked", created=7, include_usage=include_usage)


def _event(name: str, **data: Any) -> Event:
    return Event(1, name, data, 0.0)


def _delta(*choices: dict[str, Any], attempt: int = 1, call: int = 1) -> Event:
    told = {"attempt": attempt, "call": call, "model": "m", "provider": "p"}
    return _event(events.DELTA, choices=list(choices), **told)


def _text(text: str, index: int = 0) -> dict[str, Any]:
    return {"index": index, "delta": {"content": text}}


def _envelope(*messages: dict[str, Any], **response: Any) -> dict[str, Any]:
    choices = [
        {"index": index, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
        for index, message in enumerate(messages)
    ]
    ksi = {"request_id": "r1", "timestamp": "2026-01-01T00:00:00.000Z", "model": "m"}
    return {"ksi": ksi, "response": {"choices": choices, "model": "m", **response}}


def _together(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put choices together from chunks as a client does; a role must come first, an end last."""
    found: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            delta = choice["delta"]
            if choice["index"] not in found:
                assert delta["role"] == "assistant"
                found[choice["index"]] = {"content": "", "calls": [], "end": None}
            one = found[choice["index"]]
            assert one["end"] is None, "nothing comes after the end"
            one["content"] += delta.get("content") or ""
            one["calls"] += delta.get("tool_calls") or []
            one["end"] = choice["finish_reason"]
    return [found[index] for index in sorted(found)]


def test_a_whole_answer_at_once() -> None:
    story = _story()
    chunks = story.answer(_envelope({"content": "hello"}, {"tool_calls": CALLS}), None)
    assert _together(chunks) == [
        {"content": "hello", "calls": [], "end": "stop"},
        {"content": "", "calls": [{"index": i, **c} for i, c in enumerate(CALLS)], "end": "stop"},
    ]
    assert {c["model"] for c in chunks} == {"m"}
    assert {(c["id"], c["created"]) for c in chunks} == {("chatcmpl-r1", 7)}


@given(st.text(), st.lists(st.integers(1, 4)), st.sampled_from(["all", "join", "lost"]), st.data())
def test_the_text_is_whole_however_it_was_told(
    text: str, cuts: list[int], way: str, data: st.DataObject
) -> None:
    story = _story()
    chunks: list[dict[str, Any]] = []
    at = 0
    if way == "join":
        at = data.draw(st.integers(0, len(text)))
        so_far = {"text": text[:at], "call": 1, "attempt": 1, "model": "m"}
        chunks += story.tell(_event(events.SNAPSHOT, request=so_far))
    for number, size in enumerate(cuts):
        if way == "lost" and number == 2:
            chunks += story.tell(_event(events.LOST, lost=3))
        piece = text[at : at + size]
        at += size
        if piece:
            chunks += story.tell(_delta(_text(piece)))
    story.tell(_event(events.RESULT, result=_envelope({"content": text})))
    assert story.over
    assert story.envelope is not None
    chunks += story.answer(story.envelope, None)
    assert story.fault is None
    assert _together(chunks) == [{"content": text, "calls": [], "end": "stop"}]


def test_one_that_joins_has_tool_calls_at_the_end() -> None:
    story = _story()
    so_far = {"text": "", "call": 1, "attempt": 1, "model": "m"}
    chunks = story.tell(_event(events.SNAPSHOT, request=so_far))
    chunks += story.tell(_delta({"index": 0, "delta": {"tool_calls": [{"index": 1}]}}))
    chunks += story.tell(_delta(_text("x"), _text("y", 1)))
    chunks += story.answer(_envelope({"content": "x", "tool_calls": CALLS}, {"content": "y"}), None)
    assert [(c["content"], len(c["calls"])) for c in _together(chunks)] == [("x", 2), ("y", 0)]


def test_tool_calls_with_a_gap_in_them_are_no_answer() -> None:
    story = _story()
    story.tell(_delta({"index": 0, "delta": {"tool_calls": [{"index": 0, **CALLS[0]}]}}))
    story.tell(_event(events.LOST, lost=1))
    story.answer(_envelope({"content": None, "tool_calls": CALLS}), None)
    assert story.fault is not None
    assert story.fault.code == "stream_interrupted"


def test_an_answer_that_is_shorter_than_what_was_sent_is_another() -> None:
    story = _story()
    story.tell(_delta(_text("a long text")))
    story.answer(_envelope({"content": "short"}), None)
    assert story.fault is not None


@pytest.mark.parametrize(
    "event",
    [
        _event(events.RETRYING, kind="timeout"),
        _event(events.PROGRESS, status="failing_over"),
        _event(events.PROGRESS, status="calling_provider"),
        _delta(_text("b"), attempt=2),
        _delta(_text("b"), call=2),
    ],
    ids=["retry", "failover", "call", "attempt", "ordinal"],
)
def test_another_call_after_text_breaks_it_off(event: Event) -> None:
    story = _story()
    story.tell(_delta(_text("a")))
    assert story.tell(event) == []
    assert (story.over, story.broken) == (True, True)
    assert story.tell(_delta(_text("c"))) == []


def test_another_call_before_any_text_is_nothing() -> None:
    story = _story()
    story.tell(_event(events.PROGRESS, status="calling_provider"))
    story.tell(_event(events.RETRYING, kind="timeout"))
    story.tell(_event(events.PROGRESS, status="failing_over"))
    assert not story.over
    assert len(story.tell(_delta(_text("a"), attempt=2))) == 2


def test_its_own_progress_breaks_nothing_off() -> None:
    story = _story()
    story.tell(_delta(_text("a")))
    story.tell(_event(events.PROGRESS, status="first_token"))
    story.tell(_event(events.PROGRESS, status="streaming"))
    assert not story.over


def test_usage_stands_in_every_chunk_once_it_is_asked_for() -> None:
    story = _story(include_usage=True)
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    chunks = story.tell(_delta(_text("a")))
    chunks += story.answer(_envelope({"content": "a"}, usage=usage), None)
    assert [c["usage"] for c in chunks] == [None] * (len(chunks) - 1) + [usage]
    assert chunks[-1]["choices"] == []


def test_gaps_of_a_provider_are_filled() -> None:
    envelope = _envelope({"content": "a"})
    del envelope["response"]["model"]
    envelope["response"]["choices"] = [{"message": {"tool_calls": CALLS}}]
    found = whole(envelope, {"total_tokens": 3})
    assert found["model"] == "m"
    assert found["created"] == 1767225600
    assert found["usage"] == {"total_tokens": 3}
    (choice,) = found["choices"]
    assert (choice["index"], choice["finish_reason"]) == (0, "tool_calls")
    assert choice["message"]["content"] is None


def test_what_is_no_text_is_sent_once() -> None:
    sent = Sent()
    sent.note({"annotations": [1]})
    assert sent.rest({"content": None, "annotations": [1], "audio": {"id": "a"}}) == {
        "audio": {"id": "a"}
    }
