"""Bounds what a server may send in one reply: what comes over it ends the call, and the read.

Counted after decompression, where the bytes take memory: litellm and its client put no bound to a
body, so that one server without end, or one that sends a compressed bomb, takes the worker with
all its calls. Works on httpx's `Response`, which is handed in; must not import it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import wraps
from typing import Any

from ksi_tui.engine.providers import connections

MEGABYTE = 1024 * 1024
LARGEST_BODY = 32 * MEGABYTE
"""Bytes of a reply that is no stream, and of one event of a stream: a few large pictures."""
LARGEST_STREAM = 256 * MEGABYTE
"""Bytes of all events of a stream: an answer of 128,000 tokens, each with 20 log-probabilities."""

LONG_LINE = 64 * 1024


class ReplyTooLarge(Exception):
    """A reply has more bytes than anybody could use."""


class Bound:
    """Counts a reply; `add` raises ReplyTooLarge once it is over."""

    def __init__(self, *, streamed: bool) -> None:
        self._streamed = streamed
        self._total = 0
        self._since_line = 0

    @property
    def in_long_line(self) -> bool:
        """Whether a stream is in the middle of a long line, of which a part is of no use.

        The openai client 2 copies all of a line with every part of it: 32 MB take it minutes.
        """
        return self._streamed and self._since_line > LONG_LINE

    def add(self, part: bytes) -> None:
        """Take the next bytes."""
        self._total += len(part)
        line_end = part.rfind(b"\n")
        self._since_line = len(part) - line_end - 1 + (self._since_line if line_end < 0 else 0)
        if not self._streamed and self._total > LARGEST_BODY:
            raise ReplyTooLarge(f"the reply is larger than {LARGEST_BODY // MEGABYTE} MB")
        if self._since_line > LARGEST_BODY:
            raise ReplyTooLarge(f"a piece of the stream is over {LARGEST_BODY // MEGABYTE} MB")
        if self._total > LARGEST_STREAM:
            raise ReplyTooLarge(f"the stream is longer than {LARGEST_STREAM // MEGABYTE} MB")


def bound_replies(response_class: Any) -> None:
    """Let a client's class of responses (httpx's `Response`) refuse what is too large."""
    plain = response_class.aiter_bytes

    @wraps(plain)
    async def aiter_bytes(self: Any, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        kind = str(self.headers.get("content-type", ""))
        bound = Bound(streamed=kind.startswith("text/event-stream"))
        held_back: list[bytes] = []
        async with aclosing(plain(self, chunk_size)) as parts:
            async for part in parts:
                try:
                    bound.add(part)
                except ReplyTooLarge as error:
                    connections.refuse(str(error))
                    raise
                held_back.append(part)
                if not bound.in_long_line:
                    yield b"".join(held_back)
                    held_back.clear()
        if held_back:
            yield b"".join(held_back)

    response_class.aiter_bytes = aiter_bytes
