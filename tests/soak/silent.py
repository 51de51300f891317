"""A server on loopback that begins to answer, falls silent, and notes when each connection closes.

Nothing but a protocol, so that what its clock says of a close is the close and not a framework.
Of a stream five words come, of all else nothing. Run as a process of its own by `Silent`.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any

from tests.soak.processes import Child, raise_file_limit

_PROMPT = re.compile(rb'"content": ?"([^"]*)"')
_STREAMED = re.compile(rb'"stream": ?true')
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_BEGINS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_LOOK_EVERY_S = 0.02


def _word(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    data = b"data: " + json.dumps({**chunk, "choices": [choice]}).encode() + b"\n\n"
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


_FIVE_WORDS = _BEGINS + b"".join(_word(f"word{number} ") for number in range(5))


class _Connection(asyncio.Protocol):
    def __init__(self, open_ones: set[str], closed: dict[str, float]) -> None:
        self._open = open_ones
        self._closed = closed
        self._came = b""
        self._prompt = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        if self._prompt:
            return
        self._came += data
        head, found, body = self._came.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or length is None or len(body) < int(length[1]):
            return
        prompt = _PROMPT.search(body)
        assert prompt is not None
        self._prompt = prompt[1].decode()
        self._open.add(self._prompt)
        if _STREAMED.search(body):
            self._transport.write(_FIVE_WORDS)

    def eof_received(self) -> None:
        self._note()

    def connection_lost(self, _: Exception | None) -> None:
        self._note()
        self._open.discard(self._prompt)

    def _note(self) -> None:
        if self._prompt:
            self._closed.setdefault(self._prompt, time.monotonic())


class Silent(Child):
    """`async with Silent() as up`; `up.base` is an `api_base`."""

    module = __name__

    @property
    def base(self) -> str:
        """The `api_base`."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def waits(self, count: int, bound_s: float) -> None:
        """Wait until it has begun to answer so many."""
        async with asyncio.timeout(bound_s):
            while (await self.ask())["open"] < count:  # noqa: ASYNC110 - another process
                await asyncio.sleep(_LOOK_EVERY_S)

    async def closed(self, bound_s: float = 30.0) -> dict[str, float]:
        """Wait until nothing is open; return when each closed, by prompt, since last asked."""
        async with asyncio.timeout(bound_s):
            while (said := await self.ask())["open"]:  # noqa: ASYNC110 - another process
                await asyncio.sleep(_LOOK_EVERY_S)
        found: dict[str, float] = said["closed"]
        return found


async def _serve() -> None:
    open_ones: set[str] = set()
    closed: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Connection(open_ones, closed), "127.0.0.1", 0, backlog=4096
    )

    def told() -> dict[str, Any]:
        said = {"open": len(open_ones), "closed": {} if open_ones else dict(closed)}
        if not open_ones:
            closed.clear()
        return said

    async with server:
        await Child.serve(server.sockets[0].getsockname()[1], told)


if __name__ == "__main__":
    raise_file_limit()
    sys.exit(asyncio.run(_serve()))
