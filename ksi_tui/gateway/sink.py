"""Where a stream's chunks go: server-sent events of an aiohttp response, opened as late as is good.

As long as the response is not open a failure still has a status of its own. No meaning is here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiohttp import web

QUEUED_S: Final = 0.05
"""After so long without a call the request waits in line: its id goes out in the head at once."""
CALLING_S: Final = 1.0
"""So long a call may fail with a status of its own before the head goes out."""
ALIVE_S: Final = 10.0
"""A comment keeps a silent line open so often."""
STALLED_S: Final = 60.0
"""A client that takes nothing for so long is gone."""

_DONE: Final = b"data: [DONE]\n\n"
_ALIVE: Final = b": keep-alive\n\n"
_HEAD: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


class Sink:
    """One stream's way out. `due` is the loop's time at which it wants `tick` to be called."""

    def __init__(self, request: web.Request, headers: Mapping[str, str]) -> None:
        self._request = request
        self._response = web.StreamResponse(headers={**_HEAD, **headers})
        self._loop = asyncio.get_running_loop()
        self.opened = False
        self.due = self._loop.time() + QUEUED_S

    def calling(self) -> None:
        """Take note that a provider is called: it may soon fail, and that is worth a moment."""
        if not self.opened:
            self.due = max(self.due, self._loop.time() + CALLING_S)

    async def tick(self) -> None:
        """Open the response, or keep its line open. Raises ConnectionError where that is gone."""
        await self._write(_ALIVE if self.opened else b"")

    async def send(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Send objects as events, in one piece."""
        frames = [b"data: %b\n\n" % _json(each) for each in objects]
        if frames:
            await self._write(b"".join(frames))

    async def close(self, *, done: bool) -> web.StreamResponse:
        """End the stream, by `[DONE]` where it is whole; returns the response."""
        await self._write(_DONE if done else b"")
        await self._response.write_eof()
        return self._response

    async def _write(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(STALLED_S):
                if not self.opened:
                    self.opened = True
                    await self._response.prepare(self._request)
                if data:
                    await self._response.write(data)
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError("the client takes nothing any more") from None
        self.due = self._loop.time() + ALIVE_S


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")
