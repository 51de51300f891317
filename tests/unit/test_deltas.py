"""What a followed stream's chunks hold, gathered for those who follow it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.providers.deltas import Deltas


def _chunk(index: int, delta: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, **more}]}


def _told(*chunks: dict[str, Any]) -> dict[str, Any]:
    deltas = Deltas()
    for chunk in chunks:
        deltas.add(chunk)
    return deltas.told()


def test_text_of_the_first_choice_needs_no_words() -> None:
    assert (
        _told(_chunk(0, {"role": "assistant", "content": "a"}), _chunk(0, {"content": "b"})) == {}
    )
    assert _told() == {}
    assert _told(_chunk(0, {"content": ""}), {"choices": []}, {}) == {}


def test_pieces_of_one_text_become_one() -> None:
    told = _told(
        _chunk(1, {"content": "a"}),
        _chunk(1, {"content": "b"}),
        _chunk(0, {"content": "c"}),
        _chunk(0, {"reasoning_content": "d"}),
        _chunk(0, {"reasoning_content": "e"}),
    )
    assert told["deltas"] == [
        {"index": 1, "delta": {"content": "ab"}},
        {"index": 0, "delta": {"content": "c"}},
        {"index": 0, "delta": {"reasoning_content": "de"}},
    ]


def test_tool_calls_and_logprobs_stay_as_they_came() -> None:
    call = [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]
    more = [{"index": 0, "function": {"arguments": "{}"}}]
    probs = {"content": [{"token": "x"}]}
    told = _told(
        _chunk(0, {"tool_calls": call}),
        _chunk(0, {"tool_calls": more}),
        _chunk(0, {"content": "x"}, logprobs=probs),
        _chunk(0, {"content": "y"}, logprobs=probs),
        _chunk(0, {"content": "z"}),
    )
    assert told["deltas"] == [
        {"index": 0, "delta": {"tool_calls": call}},
        {"index": 0, "delta": {"tool_calls": more}},
        {"index": 0, "delta": {"content": "x"}, "logprobs": probs},
        {"index": 0, "delta": {"content": "y"}, "logprobs": probs},
        {"index": 0, "delta": {"content": "z"}},
    ]


def test_a_refusal_is_no_text() -> None:
    deltas = Deltas()
    deltas.refuse(0, "I ")
    deltas.refuse(0, "won't")
    assert deltas.told() == {"deltas": [{"index": 0, "delta": {"refusal": "I won't"}}]}
    assert deltas.told() == {}, "it is told once"


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(["content", "reasoning_content"]),
            st.text(min_size=1, max_size=3),
            st.booleans(),
        )
    )
)
def test_nothing_is_lost_however_it_is_gathered(
    pieces: list[tuple[int, str, str, bool]],
) -> None:
    deltas = Deltas()
    found: dict[tuple[int, str], str] = {}
    wanted: dict[tuple[int, str], str] = {}
    held = ""
    for index, name, text, tell in [*pieces, (0, "content", "end", True)]:
        deltas.add(_chunk(index, {name: text}))
        wanted[index, name] = wanted.get((index, name), "") + text
        held += text if (index, name) == (0, "content") else ""
        if not tell:
            continue
        told = deltas.told()
        for piece in told.get("deltas", [{"index": 0, "delta": {"content": held}}]):
            for field, value in piece["delta"].items():
                key = (piece["index"], field)
                found[key] = found.get(key, "") + value
        held = ""
    assert {k: v for k, v in found.items() if v} == wanted
