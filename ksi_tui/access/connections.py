"""The listening socket and its connections: where it may be, how many, and how long they wait.

HTTP is aiohttp's. Only what cannot be said by its settings is done here: a bound on connections,
and refusals of what is no HTTP that repeat nothing of it, since it may hold a token.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.typedefs import Handler
from aiohttp.web_request import BaseRequest

from ksi_tui.access.limits import Limits
from ksi_tui.access.refusals import refused
from ksi_tui.engine.errors import ConfigError

_BACKLOG: Final = 128
_FULL_BODY: Final = json.dumps({"error": "too many connections", "code": "rate_limited"}).encode()
_FULL: Final = (
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: application/json; charset=utf-8\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_FULL_BODY), _FULL_BODY)
)
_TOKENS_INSTEAD: Final = (
    "that needs --tokens FILE, with a token that `ksi-tui token new --role operate` makes"
)
_LINGER_S: Final = 2.0
_LOOKED_AT_WITHIN_S: Final = 0.1


class ListenFault(ConfigError):
    """An address that cannot be listened on; the message names it and what would be right."""


def parsed(address: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT` or `[ADDRESS]:PORT`; raises ListenFault."""
    host, colon, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or (":" in bare and bare == host):
        raise ListenFault(f"--listen takes HOST:PORT, such as 127.0.0.1:4000, not {address!r}")
    if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ListenFault(f"--listen {address}: a port is a number from 0 (any) to 65535")
    return bare, int(port)


def bound(address: str, *, anywhere: bool, instead: str = _TOKENS_INSTEAD) -> socket.socket:
    """Return a socket bound to `HOST:PORT`; raises ListenFault. May ask a name server.

    Without `anywhere` only loopback is taken; `instead` says what else would do.
    """
    host, port = parsed(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ListenFault(f"--listen {address}: no address of that name is known") from None
    family, kind, protocol, _, place = found[0]
    if not anywhere and not ipaddress.ip_address(place[0]).is_loopback:
        raise ListenFault(f"--listen {address} is reached from other machines: {instead}")
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(place)
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise ListenFault(f"cannot listen on {address}: {_why(error, port)}") from None
    return listening


def _why(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken by another program; port 0 takes a free one"
    return error.strerror or "refused"


def url_of(listening: socket.socket) -> str:
    """Return `http://ADDRESS:PORT` of a bound socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class BoundedSite(web.BaseSite):
    """A bound socket's site, with at most so many connections at once."""

    __slots__ = ("_limits", "_sock")

    def __init__(self, runner: web.AppRunner, sock: socket.socket, limits: Limits) -> None:
        super().__init__(runner)
        self._sock = sock
        self._limits = limits

    @property
    def name(self) -> str:
        """The address, as `http://ADDRESS:PORT`."""
        return url_of(self._sock)

    async def start(self) -> None:
        """Take connections."""
        await super().start()
        server = self._runner.server
        assert server is not None
        self._server = await asyncio.get_running_loop().create_server(
            _connecting(server, self._limits), sock=self._sock
        )


def _connecting(server: web.Server, limits: Limits) -> Callable[[], asyncio.Protocol]:
    loop = asyncio.get_running_loop()

    def connect() -> asyncio.Protocol:
        if len(server.connections) >= limits.connections:
            return _Full()
        return _Connection(
            server,
            loop=loop,
            limits=limits,
            access_log=None,
            keepalive_timeout=limits.idle_s,
            lingering_time=_LINGER_S,
            # The parser's own bounds lie above those that are refused in words.
            max_line_size=limits.header_bytes,
            max_field_size=limits.header_bytes,
            max_headers=2 * limits.header_count,
        )

    return connect


class _Full(asyncio.Protocol):
    """Turns one connection too many away."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(_FULL)
        transport.close()


class _Connection(web.RequestHandler):
    """A connection that waits a bounded time for a head, and longer for the next one to begin.

    aiohttp has one time-out for both (`keepalive_timeout`, here the longer): a proxy in front
    keeps connections idle, and must not be cut off just as it sends.
    """

    __slots__ = ("_busy", "_head", "_limits")

    def __init__(self, manager: web.Server, *, limits: Limits, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._limits = limits
        self._busy = False
        self._head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Expect a head; let the system drop a peer that takes nothing of what was sent to it."""
        opened: socket.socket | None = transport.get_extra_info("socket")
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if opened is not None and option is not None:
            with suppress(OSError):
                unread_ms = int(self._limits.unread_s * 1000)
                opened.setsockopt(socket.IPPROTO_TCP, option, unread_ms)
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Expect nothing more."""
        self._found_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; what comes between two requests is the next one's head."""
        if not self._busy and self._head is None:
            self._expect_head()
        super().data_received(data)

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Expect no head for as long as a request is handled."""
        self._busy = True
        self._found_head()
        try:
            yield
        finally:
            self._busy = False

    def _expect_head(self) -> None:
        loop = asyncio.get_running_loop()
        self._head = loop.call_later(self._limits.head_s, self._head_is_late)

    def _head_is_late(self) -> None:
        # What came while the loop was busy with something else is still to be looked at.
        loop = asyncio.get_running_loop()
        self._head = loop.call_later(_LOOKED_AT_WITHIN_S, self.force_close)

    def _found_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it repeats what was sent
    ) -> web.StreamResponse:
        """Answer what is no HTTP, or too much of it, without a word of it; log nothing of it."""
        if request.writer.output_size:
            raise ConnectionError("the answer has begun")
        if isinstance(exc, LineTooLong):
            return refused("", 431, "the request line or a header is too large", close=True)
        said = "this is no HTTP request" if status == 400 else "a fault of its own"
        return refused("", status, said, close=True)


@web.middleware
async def handling(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell a request's connection that its head is there."""
    connection = request.protocol
    if not isinstance(connection, _Connection):
        return await handler(request)
    with connection.handling():
        return await handler(request)
