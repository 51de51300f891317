"""Messages between the engine and its workers survive any cut of the stream, and nothing else."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.providers.framing import Decoder, FramingError, Kind, Outbox, encode

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
messages = st.dictionaries(st.text(max_size=8), values, max_size=4).map(
    lambda data: {**data, "kind": "call"}
)


@given(st.lists(messages, max_size=5), st.lists(st.integers(1, 100), min_size=1))
def test_any_cut_of_the_bytes_gives_the_same_messages(
    sent: list[dict[str, Any]], steps: list[int]
) -> None:
    stream = b"".join(encode(message) for message in sent)
    decoder, received, at = Decoder(), [], 0
    for step in itertools.cycle(steps):
        if at >= len(stream):
            break
        received += decoder.feed(stream[at : at + step])
        at += step
    assert received == sent
    assert decoder.pending == 0


def test_a_half_message_is_kept_until_its_rest_arrives() -> None:
    frame = encode({"kind": Kind.PING})
    decoder = Decoder()
    assert decoder.feed(frame[:3]) == []
    assert decoder.pending == 3
    assert decoder.feed(frame[3:] + frame) == [{"kind": "ping"}, {"kind": "ping"}]


def test_text_that_is_no_valid_unicode_survives() -> None:
    message = {"kind": "text", "text": "half a pair \ud83d, a whole one 😀, a zero \x00"}
    assert Decoder().feed(encode(message)) == [message]


def test_a_message_over_the_bound_is_refused_by_the_sender() -> None:
    with pytest.raises(FramingError, match=r"has 1\d\d bytes; at most 64"):
        encode({"kind": "call", "text": "x" * 100}, largest=64)


def test_a_message_over_the_bound_is_refused_by_the_receiver_before_it_arrives() -> None:
    decoder = Decoder(largest=64)
    with pytest.raises(FramingError, match="claims 65 bytes"):
        decoder.feed((65).to_bytes(4, "big"))


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes"])
def test_what_json_cannot_hold_is_refused_by_the_sender(value: object) -> None:
    with pytest.raises(FramingError, match="cannot be written as JSON"):
        encode({"kind": "call", "value": value})


def test_a_message_that_contains_itself_is_refused() -> None:
    message: dict[str, Any] = {"kind": "call"}
    message["self"] = message
    with pytest.raises(FramingError, match="cannot be written as JSON"):
        encode(message)


@pytest.mark.parametrize(
    "body", [b"{", b"not json", b"\xff\xfe", b"[1]", b"3", b"{}", b'{"kind":1}']
)
def test_bytes_that_are_no_message_are_an_error(body: bytes) -> None:
    with pytest.raises(FramingError):
        Decoder().feed(len(body).to_bytes(4, "big") + body)


async def test_what_a_turn_sends_is_one_piece_until_it_is_a_lot() -> None:
    pieces: list[bytes] = []
    outbox = Outbox(pieces.append)
    for _ in range(3):
        outbox.put(b"a")
    assert pieces == []
    await asyncio.sleep(0)
    assert pieces == [b"aaa"]
    for _ in range(33):
        outbox.put(b"b")
    assert pieces[1:] == [b"b" * 32]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert pieces[2:] == [b"b"]
