"""The messages between the engine and its provider workers: length-prefixed JSON over pipes.

Both ends import this and nothing else of each other. What a message means belongs to
the worker and the pool; here is only how it travels, and the names that both use.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from ksi_tui.engine.errors import KsiError

LARGEST = 64 * 1024 * 1024
"""Bytes of one message at most; more is a broken stream or a request nobody could serve."""

_PREFIX = 4
_AT_ONCE = 32


class Kind(StrEnum):
    """What a message is (its field `kind`); all but the first three carry an `id`.

    A cancel carries `ids`: those of one moment.
    """

    READY = "ready"  # worker: litellm is imported; `litellm` is its version
    UNUSABLE = "unusable"  # worker: it cannot be; `message` says why
    PING = "ping"

    CALL = "call"
    CANCEL = "cancel"
    COUNT = "count"
    WINDOW = "window"
    FIT = "fit"
    MODELS = "models"

    PONG = "pong"
    TEXT = "text"
    ANSWER = "answer"
    FAULT = "fault"
    CLOSED = "closed"
    VALUE = "value"  # the answer to a question: `count`, `window`, `fit`, `models`


class FramingError(KsiError):
    """The bytes are no messages, or one is too large."""


def encode(message: Mapping[str, Any], *, largest: int = LARGEST) -> bytes:
    """Return the message as bytes; FramingError when it is too large or holds what JSON cannot."""
    try:
        body = json.dumps(message, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise FramingError(f"the message cannot be written as JSON: {error}") from None
    if len(body) > largest:
        raise FramingError(f"the message has {len(body)} bytes; at most {largest} are allowed")
    return len(body).to_bytes(_PREFIX, "big") + body


class Decoder:
    """Puts messages together from pieces of any size. After a FramingError it is of no more use."""

    def __init__(self, *, largest: int = LARGEST) -> None:
        self._largest = largest
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Take what was read; return the messages that are now whole, in order."""
        buffer = self._buffer
        buffer += data
        messages: list[dict[str, Any]] = []
        at = 0
        while len(buffer) - at >= _PREFIX:
            size = int.from_bytes(buffer[at : at + _PREFIX], "big")
            if size > self._largest:
                raise FramingError(
                    f"a message claims {size} bytes; at most {self._largest} are allowed"
                )
            end = at + _PREFIX + size
            if len(buffer) < end:
                break
            messages.append(_decode(bytes(buffer[at + _PREFIX : end])))
            at = end
        if at:
            del buffer[:at]
        return messages

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished message are held."""
        return len(self._buffer)


class Outbox:
    """Writes what one turn of the loop sends as one piece: a system call a turn, not a message.

    Where a turn sends so much that it must be a long one, it does not wait for its end.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._frames: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def put(self, frame: bytes) -> None:
        """Take an encoded message for the end of this turn."""
        if not self._frames:
            self._loop.call_soon(self.flush)
        self._frames.append(frame)
        if len(self._frames) >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered, now."""
        if self._frames:
            frames, self._frames = self._frames, []
            self._write(b"".join(frames))


def _decode(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FramingError(f"a message is not JSON: {error}") from None
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise FramingError("a message is not an object with a kind")
    return message
