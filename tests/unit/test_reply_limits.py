"""A reply that is larger than anybody could use is not read on, whatever it was compressed to."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from ksi_tui.engine.providers.connections import Held
from ksi_tui.engine.providers.reply_limits import (
    LARGEST_BODY,
    LARGEST_STREAM,
    LONG_LINE,
    MEGABYTE,
    Bound,
    ReplyTooLarge,
    bound_replies,
)


class Bounded(httpx.Response):
    """A response of the client, with its class's own bounds."""


class Counted(httpx.AsyncByteStream):
    def __init__(self, *parts: bytes, times: int = 1) -> None:
        self.parts, self.times, self.sent = parts, times, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self.times):
            for part in self.parts:
                self.sent += 1
                yield part


bound_replies(Bounded)


def reply(stream: Counted, kind: str, **headers: str) -> Bounded:
    return Bounded(200, headers={"content-type": kind, **headers}, stream=stream)


async def test_a_body_is_read_to_its_bound_and_no_further() -> None:
    held = Held()
    held.hold()
    whole = Counted(b"a" * MEGABYTE, times=LARGEST_BODY // MEGABYTE)
    assert len(await reply(whole, "application/json").aread()) == LARGEST_BODY
    assert held.refused is None
    endless = Counted(b"a" * MEGABYTE, times=10**9)
    with pytest.raises(ReplyTooLarge, match="32 MB"):
        await reply(endless, "application/json").aread()
    assert endless.sent == LARGEST_BODY // MEGABYTE + 1
    assert held.refused == "the reply is larger than 32 MB"


async def test_a_compressed_bomb_is_counted_as_what_it_unfolds_to() -> None:
    small = gzip.compress(b"a" * (LARGEST_BODY + 1))
    assert len(small) < MEGABYTE
    bomb = reply(Counted(small), "application/json", **{"content-encoding": "gzip"})
    with pytest.raises(ReplyTooLarge):
        await bomb.aread()


def test_a_stream_may_be_long_but_no_single_event_of_it() -> None:
    bound = Bound(streamed=True)
    event = b"a" * (MEGABYTE - 2) + b"\n\n"
    for _ in range(LARGEST_STREAM // MEGABYTE):
        bound.add(event)
    with pytest.raises(ReplyTooLarge, match="256 MB"):
        bound.add(b"\n")
    bound = Bound(streamed=True)
    for _ in range(LARGEST_BODY // MEGABYTE):
        bound.add(b"a" * MEGABYTE)
    with pytest.raises(ReplyTooLarge, match="a piece of the stream"):
        bound.add(b"a")


async def test_parts_of_a_long_line_come_together_and_the_rest_as_they_are() -> None:
    parts = [b"data: 1\n\n", b"da", b"b" * LONG_LINE, b"b" * 10, b"b\n\n", b"data: 2\n", b"c"]
    stream = reply(Counted(*parts), "text/event-stream; charset=utf-8")
    came = [part async for part in stream.aiter_bytes()]
    assert came == [*parts[:2], b"".join(parts[2:5]), *parts[5:]]


async def test_a_long_line_without_an_end_is_handed_on_at_the_end() -> None:
    long = b"b" * (LONG_LINE + 1)
    stream = reply(Counted(long, long), "text/event-stream")
    assert [part async for part in stream.aiter_bytes()] == [long + long]
