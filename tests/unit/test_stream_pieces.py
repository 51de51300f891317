"""However a stream is cut into pieces, the same answer is put together from it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.providers.assembly import Assembly, written

Delta = dict[str, Any]
Stream = list[tuple[int, Delta, str | None]]
"""Pieces in their order: the choice, its delta, its finish reason."""

words = st.text(min_size=1, max_size=12)
calls = st.lists(st.tuples(words, words), max_size=3)
spoken = st.fixed_dictionaries(
    {},
    optional={"reasoning_content": words, "content": words},
)
choices = st.lists(
    st.tuples(spoken, st.none() | words, calls, st.sampled_from(["stop", "length", "tool_calls"])),
    min_size=1,
    max_size=3,
)


def whole(recorded: Sequence[Any]) -> list[Stream]:
    """Return a choice each: its stream in the fewest pieces."""
    streams: list[Stream] = []
    for index, (texts, refused, tool_calls, finish) in enumerate(recorded):
        stream: Stream = [(index, {"role": "assistant"}, None)]
        stream += [(index, {name: text}, None) for name, text in texts.items()]
        stream += [(index, {"refusal": refused}, None)] if refused else []
        for number, (name, arguments) in enumerate(tool_calls):
            function = {"name": name, "arguments": arguments}
            call = {"index": number, "id": f"c{number}", "type": "function", "function": function}
            stream.append((index, {"tool_calls": [call]}, None))
        streams.append([*stream, (index, {}, finish)])
    return streams


def split(text: str, draw: st.DrawFn) -> list[str]:
    """Return the text in pieces, cut anywhere."""
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=4)) | {0, len(text)})
    return [text[a:b] for a, b in pairwise(cuts)]


def cut(delta: Delta, draw: st.DrawFn) -> list[Delta]:
    """Return a delta in pieces as servers send them: the arguments of a call come bit by bit."""
    if "tool_calls" in delta:
        (call,) = delta["tool_calls"]
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        repeated = draw(st.booleans())
        head = {**call, "function": {"name": name, "arguments": ""}}
        tail = {"index": call["index"], "function": {"name": name if repeated else None}}
        pieces = [
            {**tail, "function": {**tail["function"], "arguments": bit}}
            for bit in split(arguments, draw)
        ]
        return [{"tool_calls": [each]} for each in (head, *pieces)]
    for name in ("content", "reasoning_content", "refusal"):
        if name in delta:
            return [{name: bit} for bit in split(delta[name], draw)]
    return [delta]


@st.composite
def pieces(draw: st.DrawFn, recorded: Sequence[Any]) -> Stream:
    """Return the same stream cut anywhere, the choices mixed as they come."""
    queues = [
        [(index, bit, finish) for index, delta, finish in stream for bit in cut(delta, draw)]
        for stream in whole(recorded)
    ]
    mixed: Stream = []
    while any(queues):
        mixed.append(draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    return mixed


def assembled(stream: Stream) -> tuple[dict[str, Any], str, str]:
    """Return the response, the text that was shown while it came, and all that was written."""
    assembly, shown = Assembly("m"), ""
    for index, delta, finish in stream:
        said = dict(delta)
        if refused := said.pop("refusal", None):  # litellm drops it: it is seen below
            assembly.add_refusal(index, refused)
        choice = {"index": index, "delta": said, "finish_reason": finish}
        shown += assembly.add({"id": "c", "choices": [choice]}).text
    return assembly.response(), shown, assembly.everything


@given(data=st.data(), recorded=choices)
def test_any_pieces_give_the_same_answer(data: st.DataObject, recorded: Sequence[Any]) -> None:
    stream = [piece for each in whole(recorded) for piece in each]
    response, shown, everything = assembled(stream)
    again, shown_again, everything_again = assembled(data.draw(pieces(recorded)))
    assert again == response
    assert shown_again == shown
    assert sorted(everything_again) == sorted(everything)


@given(recorded=choices)
def test_the_answer_is_what_an_unstreamed_call_would_have_brought(recorded: Sequence[Any]) -> None:
    stream = [piece for each in whole(recorded) for piece in each]
    response, _, everything = assembled(stream)
    for (texts, refused, tool_calls, finish), choice in zip(
        recorded, response["choices"], strict=True
    ):
        message = choice["message"]
        assert choice["finish_reason"] == finish
        assert message["content"] == texts.get("content")
        assert message.get("reasoning_content") == texts.get("reasoning_content")
        assert message.get("refusal") == refused
        said = [
            (call["function"]["name"], call["function"]["arguments"])
            for call in message.get("tool_calls", ())
        ]
        assert said == tool_calls
    assert len(written(response)) == len(everything)


def test_calls_that_share_an_index_are_told_apart_by_their_ids() -> None:
    def piece(call_id: str | None, name: str | None, arguments: str) -> tuple[int, Delta, None]:
        function = {"name": name, "arguments": arguments}
        return 0, {"tool_calls": [{"index": 0, "id": call_id, "function": function}]}, None

    response, _, _ = assembled(
        [piece("a", "f", "{"), piece(None, None, "}"), piece("b", "g", "["), piece(None, None, "]")]
    )
    calls = response["choices"][0]["message"]["tool_calls"]
    assert [(each["id"], each["function"]) for each in calls] == [
        ("a", {"name": "f", "arguments": "{}"}),
        ("b", {"name": "g", "arguments": "[]"}),
    ]


def test_calls_stand_in_the_order_of_their_indices() -> None:
    def piece(index: int) -> tuple[int, Delta, None]:
        function = {"name": f"f{index}", "arguments": "{}"}
        return 0, {"tool_calls": [{"index": index, "id": f"c{index}", "function": function}]}, None

    response, _, _ = assembled([piece(1), piece(0)])
    calls = response["choices"][0]["message"]["tool_calls"]
    assert [each["id"] for each in calls] == ["c0", "c1"]
