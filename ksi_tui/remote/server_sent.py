"""Server-sent events out of a body's bytes, however they are cut into pieces.

The frame only (WHATWG HTML, 9.2.6, without a bare CR as the end of a line, which the door never
sends); the connection is `wire`'s, what the events mean is `hearing`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ksi_tui.remote.errors import Misread

MOST_BYTES: Final = 64 * 1024 * 1024
"""More than this without the end of an event is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One event as it was sent. `id` is the last one that was named, empty before any."""

    id: str
    event: str
    data: str


class Decoder:
    """Takes bytes as they come and hands out whole messages; comments are left out."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._held = 0
        self._id = ""
        self._event = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[Message]:
        """Return the messages that end in this piece; raises Misread where none ever ends."""
        self._held += len(piece)
        if self._held > MOST_BYTES:
            raise Misread(f"an event of more than {MOST_BYTES // 1024**2} MB")
        if b"\n" not in piece:
            self._rest.append(piece)
            return []
        *lines, rest = b"".join([*self._rest, piece]).split(b"\n")
        self._rest = [rest]
        found = [message for line in lines if (message := self._line(line)) is not None]
        if found:
            self._held = len(rest)
        return found

    def _line(self, raw: bytes) -> Message | None:
        line = raw.decode(errors="replace").removesuffix("\r")
        if not line:
            return self._ended()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif not name and not self._data:  # a comment: it says that the line is alive, and is over
            self._held = 0
        return None

    def _ended(self) -> Message | None:
        event, data = self._event or "message", self._data
        self._event, self._data = "", []
        return Message(id=self._id, event=event, data="\n".join(data)) if data else None
