"""What one request, one connection and one caller may take of the listener.

The parser's own bounds, and how long it waits for a head, are set where the listener opens
(`connections`); here is what can be refused in words. Who calls is `guard`'s to find out.
"""

from __future__ import annotations

import asyncio
import math
import resource
from dataclasses import dataclass, field
from typing import Final, Self

from aiohttp import web
from aiohttp.typedefs import Handler

from ksi_tui.access.guard import WHO
from ksi_tui.access.rates import Rates
from ksi_tui.access.refusals import refused
from ksi_tui.door import wire

_MOST_CONNECTIONS: Final = 2_048


def _connections() -> int:
    """Return how many connections may be open at once: half of the files that may be."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if files < 0 else min(_MOST_CONNECTIONS, max(1, files // 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a listener. Sizes are bytes, `_s` seconds.

    `head_s`: until the head of a request is there, from the connection's beginning or the head's;
    `idle_s`: until the next begins, which is longer than what proxies wait; `body_s`: until a
    body is there; `unread_s`: for a client to take what was sent to it.
    """

    body_bytes: int = wire.MOST_BODY
    header_bytes: int = 32 * 1024
    header_count: int = 100
    connections: int = field(default_factory=_connections)
    requests_per_s: float = 1_000.0
    burst: float = 2_000.0
    strangers_per_s: float = 1.0
    strangers_burst: float = 20.0
    head_s: float = 20.0
    idle_s: float = 150.0
    body_s: float = wire.BODY_WITHIN_S
    unread_s: float = 60.0

    @classmethod
    def on_loopback(cls) -> Self:
        """Return the bounds where there are no tokens: all on this machine are one caller."""
        return cls(requests_per_s=10_000.0, burst=20_000.0)


def too_many(path: str, wait_s: float) -> web.Response:
    """Return a 429 that says when to come again."""
    return refused(
        path,
        429,
        "too many requests; Retry-After says in how many seconds to come again",
        headers={"Retry-After": str(max(1, math.ceil(wait_s)))},
    )


class HeaderLimit:
    """The middleware that refuses a head which is too large as a whole."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer 431 for too much of a head."""
        size = sum(len(name) + len(value) + 4 for name, value in request.raw_headers)
        if size > self._limits.header_bytes or len(request.raw_headers) > self._limits.header_count:
            return refused(request.path, 431, "the headers are too large", close=True)
        return await handler(request)


class RateLimit:
    """The middleware that keeps one caller from taking everybody's share."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer 429 over the rate of the token, or of the peer where there are none."""
        wait_s = self._rates.take(request[WHO].key)
        if wait_s:
            return too_many(request.path, wait_s)
        return await handler(request)


class BodyLimit:
    """The middleware that reads the body, within bounds of size and time, before anybody acts."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer 413 for too much, 408 for too slowly; the handler finds the body read."""
        length = request.content_length
        if length is not None and length > self._limits.body_bytes:
            return refused(request.path, 413, self._too_large(), close=True)
        if request.body_exists:
            try:
                async with asyncio.timeout(self._limits.body_s):
                    length = len(await request.read())
            except TimeoutError:
                return refused(request.path, 408, "the body did not come in time", close=True)
            except web.HTTPRequestEntityTooLarge:
                return refused(request.path, 413, self._too_large(), close=True)
            if length > self._limits.body_bytes:
                return refused(request.path, 413, self._too_large(), close=True)
        return await handler(request)

    def _too_large(self) -> str:
        return f"a body holds at most {self._limits.body_bytes:,} bytes"
