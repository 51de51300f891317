"""An OpenAI-shaped server on loopback that misbehaves on purpose.

The mode is the first segment of the path: `http://127.0.0.1:PORT/<mode>/v1` is a
provider's `api_base`. What came in and when each connection ended is recorded, so that
a test waits for an event and never for a time. Also runs alone:
`python -m tests.servers.misbehaving --port N`.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.servers import modes_answers, modes_broken, modes_flood
from tests.servers.modes import MODES, Reply
from tests.servers.slow_door import SLOW_ACCEPT, SlowDoor

__all__ = ["MODES", "MisbehavingServer", "Seen", "modes_answers", "modes_broken", "modes_flood"]


@dataclass(slots=True, kw_only=True)
class Seen:
    """One request as the server saw it; times are `time.monotonic` seconds.

    `ended_at` is set when its handler ended: the reply was complete, or, with `closed`,
    the client had closed the connection before.
    """

    number: int
    mode: str
    body: dict[str, Any]
    headers: dict[str, str]
    began_at: float
    first_sent_at: float | None = None
    ended_at: float | None = None
    closed: bool = False
    sent: int = 0

    @property
    def stream(self) -> bool:
        """Whether a stream was asked for."""
        return bool(self.body.get("stream"))


class MisbehavingServer:
    """`async with MisbehavingServer() as server`; `server.base("cut")` is an `api_base`."""

    def __init__(self, *, port: int = 0, backlog: int = 128) -> None:
        self._asked_port = port
        self._backlog = backlog
        self.port = port
        self.slow_port = 0
        self.requests: list[Seen] = []
        self.counts: Counter[str] = Counter()
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> MisbehavingServer:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/{mode}/{tail:.*}", self._handle)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._asked_port, backlog=self._backlog)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self._slow = SlowDoor(self._runner)
        self.slow_port = self._slow.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._slow.close()
        await self._runner.cleanup()

    @property
    def open(self) -> int:
        """How many requests are being replied to: what a client has left open counts."""
        return sum(1 for each in self.requests if each.ended_at is None)

    @property
    def connections(self) -> int:
        """How many connections are open, idle ones included."""
        assert self._runner is not None
        assert self._runner.server is not None
        return len(self._runner.server.connections)

    def base(self, mode: str) -> str:
        """Return the `api_base` under which every request is treated as `mode` says."""
        if mode == SLOW_ACCEPT:
            return f"http://127.0.0.1:{self.slow_port}/ok/v1"
        name = mode.partition("@")[0]
        if name not in MODES:
            raise ValueError(f"no mode {name!r}; allowed: {', '.join(MODES)}")
        return f"http://127.0.0.1:{self.port}/{mode}/v1"

    async def wait_for(
        self, condition: Callable[[list[Seen]], bool], timeout_s: float = 30.0
    ) -> None:
        """Return when the recorded requests fulfil the condition; TimeoutError if they don't."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: condition(self.requests))

    async def ended(self, number: int = -1, timeout_s: float = 30.0) -> Seen:
        """Return a request (by default the latest) once its connection or reply has ended."""
        await self.wait_for(bool, timeout_s)
        one = self.requests[number]
        await self.wait_for(lambda _: one.ended_at is not None, timeout_s)
        return one

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        mode, _, option = request.match_info["mode"].partition("@")
        body = await request.json()
        seen = Seen(
            number=len(self.requests),
            mode=mode,
            body=body,
            headers=dict(request.headers),
            began_at=time.monotonic(),
        )
        self.requests.append(seen)
        self.counts[mode] += 1
        reply = Reply(request, body, option, turn=self.counts[mode], on_sent=_noting(seen))
        try:
            await self._tell()
            return await MODES[mode](reply)
        except (asyncio.CancelledError, ConnectionResetError):
            seen.closed = True
            raise
        finally:
            seen.ended_at = time.monotonic()
            await asyncio.shield(asyncio.ensure_future(self._tell()))


def _noting(seen: Seen) -> Callable[[], None]:
    def note() -> None:
        seen.sent += 1
        seen.first_sent_at = seen.first_sent_at or time.monotonic()

    return note


async def _serve(port: int) -> None:
    async with MisbehavingServer(port=port) as server:
        print(f"http://127.0.0.1:{server.port}/<mode>/v1 with the modes: {', '.join(MODES)}")
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8089)
    try:
        asyncio.run(_serve(parser.parse_args().port))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
