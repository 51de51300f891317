"""Serves the attached dashboard to browsers on this machine, one process a visitor.

Who may: whoever knows the key in the address, from the page that is served here and no other
(Host against DNS rebinding, Origin against somebody else's page), so many at once. What they get
is `pages`'s, what a visitor is `visitor`'s.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import WSCloseCode, web
from aiohttp.typedefs import Handler

from ksi_tui.access.connections import BoundedSite, handling
from ksi_tui.access.hosts import Hosts
from ksi_tui.access.limits import Limits
from ksi_tui.web.key import same
from ksi_tui.web.pages import Pages, told
from ksi_tui.web.visitor import Visitor, closed, size_in

log = logging.getLogger(__name__)

MOST_VISITORS: Final = 8
"""Each is a process of some 60 MB."""
_CONNECTIONS: Final = 256
_MOST_BYTES: Final = 1 << 20
"""Of one message of a browser's: the longest paste."""
_HEARTBEAT_S: Final = 15.0
_CLOSE_WITHIN_S: Final = 2.0
_END_WITHIN_S: Final = 10.0
_REFUSED: Final = 4000
"""A websocket's own close codes begin here; the page shows the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What is served. `host` is what the listening socket was asked for as.

    `command` returns how the dashboard of visitor number n is started, `absent` why no dashboard
    could attach now, None where it could; it may block.
    """

    sock: socket.socket
    host: str
    key: str
    command: Callable[[int], Sequence[str]]
    absent: Callable[[], str | None]
    most: int = MOST_VISITORS


@asynccontextmanager
async def serving(served: Served) -> AsyncIterator[None]:
    """Serve until left; then every visitor's line is closed and every process has ended."""
    room = _Room(served, Pages())
    app = web.Application(middlewares=[handling, room.guard])
    app.router.add_get("/{key}/", room.page)
    app.router.add_get("/{key}/ws", room.visit)
    app.router.add_get("/{key}/files/{name}", room.file)
    app.on_shutdown.append(room.close)
    runner = web.AppRunner(app, shutdown_timeout=_END_WITHIN_S)
    await runner.setup()
    try:
        await BoundedSite(runner, served.sock, Limits(connections=_CONNECTIONS)).start()
        yield
    finally:
        await runner.cleanup()


class _Room:
    """The visitors, and the handlers that let them in."""

    def __init__(self, served: Served, pages: Pages) -> None:
        self._served = served
        self._pages = pages
        self._hosts = Hosts.of(served.host, served.sock.getsockname()[0])
        self._visitors: dict[int, web.WebSocketResponse] = {}
        self._closing = False

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request pass that comes from our own page, or from who typed its address."""
        given = request.headers.getall("Host", [])
        if len(given) != 1 or not self._hosts.allow(given[0]):
            return told(421, "the Host header does not name this machine's loopback", close=True)
        origins = request.headers.getall("Origin", [])
        if origins not in ([], [f"http://{given[0]}"]):
            return told(403, "another page than ksi-tui's own asks", close=True)
        if not same(request.match_info.get("key", ""), self._served.key):
            return told(403, "open the whole address that `ksi-tui web` said; its key is secret")
        return await handler(request)

    async def page(self, request: web.Request) -> web.Response:
        """Answer with the page, or with why there is nothing to attach to."""
        if (why := await asyncio.to_thread(self._served.absent)) is not None:
            return told(503, why)
        if (why := self._full()) is not None:
            return told(503, why)
        size = request.query.get("fontsize", "")
        return self._pages.page(request.headers["Host"], self._served.key, size)

    async def file(self, request: web.Request) -> web.Response:
        """Answer with a file of the page's."""
        return self._pages.file(request.match_info["name"])

    async def visit(self, request: web.Request) -> web.StreamResponse:
        """Attach a dashboard for as long as the websocket is open."""
        if "Origin" not in request.headers:
            return told(403, "another page than ksi-tui's own asks", close=True)
        line = web.WebSocketResponse(
            heartbeat=_HEARTBEAT_S, max_msg_size=_MOST_BYTES, timeout=_CLOSE_WITHIN_S
        )
        await line.prepare(request)
        if self._closing:
            await closed(line, WSCloseCode.GOING_AWAY, "")
        elif (why := self._full()) is not None:
            await closed(line, _REFUSED, why)
        else:
            number = next(n for n in range(1, self._served.most + 1) if n not in self._visitors)
            self._visitors[number] = line
            log.info("a browser came", extra={"visitor": number, "peer": request.remote})
            try:
                visitor = Visitor(self._served.command(number), line)
                await visitor.serve(*size_in(request.query))
            except Exception as error:  # the visit's boundary: recorded, and told
                log.exception("a browser's visit failed")
                await closed(line, WSCloseCode.INTERNAL_ERROR, f"a fault: {type(error).__name__}")
            finally:
                del self._visitors[number]
                log.info("a browser left", extra={"visitor": number})
        return line

    async def close(self, _: web.Application) -> None:
        """Let nobody in any more, and close the lines of those who are."""
        self._closing = True
        lines = list(self._visitors.values())
        await asyncio.gather(*(closed(each, WSCloseCode.GOING_AWAY, "") for each in lines))

    def _full(self) -> str | None:
        if len(self._visitors) < self._served.most:
            return None
        return f"{self._served.most} browsers are attached, which is the most; leave one with q"
