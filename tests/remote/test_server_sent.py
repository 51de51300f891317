"""Server-sent events out of bytes: whatever pieces they come in, the same messages."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.remote import server_sent
from ksi_tui.remote.errors import Misread
from ksi_tui.remote.server_sent import Decoder, Message

TOLD = (
    b': alive\n\nid: b.1\nevent: a:b\ndata: {"x":1}\n\n'
    b"data: one\r\ndata:two\r\n\r\n"
    b"retry: 5\nunknown\n\n"
    b"id: b.2\ndata: \xc3\xa4\n\n"
    b"id: b.3\ndata: unfinished\n"
)
MESSAGES = [
    Message(id="b.1", event="a:b", data='{"x":1}'),
    Message(id="b.1", event="message", data="one\ntwo"),
    Message(id="b.2", event="message", data="ä"),
]


@given(st.lists(st.integers(0, len(TOLD)), max_size=12))
def test_however_it_is_cut_it_is_the_same(cuts: list[int]) -> None:
    decoder = Decoder()
    places = [0, *sorted(cuts), len(TOLD)]
    pieces = [TOLD[a:b] for a, b in pairwise(places)]
    assert [message for piece in pieces for message in decoder.feed(piece)] == MESSAGES


def test_an_event_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_sent, "MOST_BYTES", 1000)
    decoder = Decoder()
    for _ in range(50):
        assert decoder.feed(b"data: " + b"x" * 90 + b"\n\n")
        assert decoder.feed(b": alive\n\n") == []
    for _ in range(10):
        decoder.feed(b"data: " + b"x" * 90 + b"\n")
    with pytest.raises(Misread, match="an event of more than"):
        decoder.feed(b"data: " + b"x" * 90 + b"\n")


def test_signs_of_life_within_an_event_do_not_let_it_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_sent, "MOST_BYTES", 1000)
    decoder = Decoder()
    for _ in range(9):
        assert decoder.feed(b"data: " + b"x" * 90 + b"\n: alive\n") == []
    with pytest.raises(Misread, match="an event of more than"):
        decoder.feed(b"data: " + b"x" * 90 + b"\n: alive\n")
