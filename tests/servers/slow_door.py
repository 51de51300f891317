"""A door of the misbehaving server that takes connections slowly: a full backlog."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from aiohttp import web

SLOW_ACCEPT = "slow_accept"
"""The mode whose `api_base` is this door; once a connection is in, all is as it should be."""
_EVERY_S = 0.02


class SlowDoor:
    """Accepts one connection every 20 ms, and lets one more wait; who comes then is not heard."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner
        self._sock = socket.socket()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> int:
        """Begin; return the port."""
        self._sock.bind(("127.0.0.1", 0))
        self._sock.listen(1)
        self._sock.setblocking(False)
        self._task = asyncio.create_task(self._accept(), name="slow door")
        return int(self._sock.getsockname()[1])

    async def close(self) -> None:
        """Accept nothing more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._sock.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._runner.server is not None
        while True:
            await asyncio.sleep(_EVERY_S)
            connection, _ = await loop.sock_accept(self._sock)
            await loop.connect_accepted_socket(self._runner.server, connection)
