"""A stream's pieces become the chat.completion that an unstreamed call would have brought."""

from __future__ import annotations

from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.providers.assembly import (
    Assembly,
    Delta,
    empty_reply,
    first_text,
    with_refusals,
    written,
)
from ksi_tui.engine.providers.watched import WatchedStream


def chunk(
    delta: dict[str, Any] | None, finish: str | None = None, index: int = 0
) -> dict[str, Any]:
    return {
        "id": "c1",
        "created": 7,
        "model": "answering-model",
        "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
    }


def assembled(*chunks: dict[str, Any]) -> Assembly:
    assembly = Assembly("asked-model")
    for piece in chunks:
        assembly.add(piece)
    return assembly


def test_text_is_joined_and_the_head_kept() -> None:
    response = assembled(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hello "}),
        chunk({"content": "there"}),
        chunk({}, "stop"),
    ).response({"prompt_tokens": 3})
    assert response == {
        "id": "c1",
        "created": 7,
        "model": "answering-model",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello there"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3},
    }
    assert first_text(response) == "Hello there"


def test_a_chunk_tells_what_it_added() -> None:
    assembly = Assembly("m")
    assert assembly.add(chunk({"role": "assistant", "content": ""})) == Delta(text="", tokens=0)
    assert assembly.add(chunk({"content": "Hi"})) == Delta(text="Hi", tokens=1)
    assert assembly.add(chunk({"reasoning_content": "hm"})) == Delta(text="", tokens=1)
    assert assembly.add(chunk({"content": "other"}, index=1)) == Delta(text="", tokens=1)
    assert assembly.add({"choices": []}) == Delta(text="", tokens=0)


def test_tool_calls_are_put_together_from_their_pieces() -> None:
    def piece(index: int, call_id: str | None, name: str | None, arguments: str) -> dict[str, Any]:
        function = {"name": name, "arguments": arguments}
        return chunk({"tool_calls": [{"index": index, "id": call_id, "function": function}]})

    assembly = assembled(
        piece(0, "a", "weather", ""),
        piece(1, "b", "time", "{}"),
        piece(0, None, None, '{"city":'),
        piece(0, None, None, ' "Rome"}'),
        chunk({}, "tool_calls"),
    )
    message = assembly.response()["choices"][0]["message"]
    assert message == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "a",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
            },
            {"id": "b", "type": "function", "function": {"name": "time", "arguments": "{}"}},
        ],
    }
    assert assembly.everything == 'weather{"city": "Rome"}time{}'
    assert empty_reply(assembly.response()) is None


def test_the_old_function_call_is_put_together_too() -> None:
    assembly = assembled(
        chunk({"function_call": {"name": "f", "arguments": '{"a"'}}),
        chunk({"function_call": {"name": None, "arguments": ":1}"}}, "function_call"),
    )
    message = assembly.response()["choices"][0]["message"]
    assert message["function_call"] == {"name": "f", "arguments": '{"a":1}'}


def test_choices_are_kept_apart_and_in_order() -> None:
    assembly = assembled(
        chunk({"content": "b"}, index=1),
        chunk({"content": "a"}, index=0),
        chunk({"content": "B"}, index=1),
        chunk({}, "stop", index=0),
    )
    assembly.finish({0: "length", 1: "length"})
    choices = assembly.response()["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["a", "bB"]
    assert [choice["finish_reason"] for choice in choices] == ["length", "length"]


def test_the_reason_of_a_single_choice_stands() -> None:
    assembly = assembled(chunk({"content": "a"}), chunk({}, "stop"))
    assembly.finish({0: "eos"})
    assert assembly.response()["choices"][0]["finish_reason"] == "stop"
    assembly = assembled(chunk({"content": "a"}))
    assembly.finish({0: "stop"})
    assert assembly.response()["choices"][0]["finish_reason"] == "stop"


def test_thinking_blocks_are_joined_until_their_signature() -> None:
    def thought(text: str, signature: str | None = None) -> dict[str, Any]:
        block = {"type": "thinking", "thinking": text, "signature": signature}
        return chunk({"thinking_blocks": [block], "reasoning_content": text})

    assembly = assembled(thought("six "), thought("by seven"), thought("", "s1"), thought("next"))
    message = assembly.response()["choices"][0]["message"]
    assert message["thinking_blocks"] == [
        {"type": "thinking", "thinking": "six by seven", "signature": "s1"},
        {"type": "thinking", "thinking": "next", "signature": None},
    ]
    assert message["reasoning_content"] == "six by sevennext"


def test_logprobs_are_kept() -> None:
    piece = chunk({"content": "a"})
    piece["choices"][0]["logprobs"] = {"content": [{"token": "a", "logprob": -0.1}]}
    choice = assembled(piece, piece).response()["choices"][0]
    assert [entry["token"] for entry in choice["logprobs"]["content"]] == ["a", "a"]


@pytest.mark.parametrize(
    ("message", "finish", "kind"),
    [
        ({"content": "x"}, "stop", None),
        ({"content": None, "refusal": "no"}, "stop", None),
        ({"content": None, "tool_calls": [{}]}, "tool_calls", None),
        ({"content": ""}, "stop", ErrorKind.PROVIDER_ERROR),
        ({"content": None, "reasoning_content": "hm"}, "length", ErrorKind.PROVIDER_ERROR),
        ({"content": None}, "content_filter", ErrorKind.CONTENT_POLICY),
    ],
)
def test_a_reply_without_an_answer_is_a_fault(
    message: dict[str, Any], finish: str, kind: ErrorKind | None
) -> None:
    fault = empty_reply({"choices": [{"message": message, "finish_reason": finish}]})
    assert (fault.kind if fault else None) is kind


def test_the_fault_of_an_empty_reply_names_an_unusual_reason() -> None:
    fault = empty_reply({"choices": [{"message": {"content": ""}, "finish_reason": "length"}]})
    assert fault is not None
    assert fault.message == "the reply is empty (finish reason length)"


def test_a_reply_without_choices_is_a_fault() -> None:
    fault = empty_reply({"choices": []})
    assert fault is not None
    assert fault.message == "the reply has no choices"
    assert first_text({"choices": []}) == ""


def test_a_refusal_is_put_back_where_the_api_has_it() -> None:
    message = {"content": None, "provider_specific_fields": {"refusal": "I won't."}}
    response = with_refusals({"choices": [{"message": message}]})
    assert response["choices"][0]["message"]["refusal"] == "I won't."
    assert first_text(response) == "I won't."
    assert written(response) == "I won't."


def test_what_was_written_counts_every_choice() -> None:
    call = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    messages = [{"content": "one"}, {"content": None, "tool_calls": [call]}]
    response = {"choices": [{"index": i, "message": message} for i, message in enumerate(messages)]}
    assert written(response) == "onef{}"


class Piece:
    """An object with attributes, as the SDK's chunks are."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Below:
    """The stream below: two refused pieces, the second with an end for choice 1."""

    def __init__(self) -> None:
        self.closed = 0

    async def __aiter__(self) -> Any:
        yield Piece(choices=[Piece(index=0, delta=Piece(refusal="I "), finish_reason=None)])
        yield Piece(choices=[Piece(index=1, delta=Piece(refusal="won't"), finish_reason="stop")])
        yield {"text": "of another shape"}

    def close(self) -> None:
        self.closed += 1


async def test_a_watched_stream_passes_everything_on_and_tells_what_would_be_lost() -> None:
    refused: list[tuple[int, str]] = []
    below = Below()
    texts: list[str] = []
    stream = WatchedStream(below, lambda index, text: refused.append((index, text)), texts.append)
    assert len([piece async for piece in stream]) == 3
    assert refused == [(0, "I "), (1, "won't")]
    assert stream.finish_reasons == {1: "stop"}
    assert texts == []
    await stream.aclose()
    assert below.closed == 1
