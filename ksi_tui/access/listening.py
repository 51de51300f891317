"""The listener: the door's routes, the gateway's and the metrics' on a TCP address, guarded.

Composition only: what each check does is in its own module, what is served in the package that
serves it. There is no TLS: a proxy in front ends that, and connects to the address given here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Self

from aiohttp import web
from aiohttp.typedefs import Middleware

from ksi_tui.access import described
from ksi_tui.access.audit import audited
from ksi_tui.access.connections import BoundedSite, bound, handling, parsed, url_of
from ksi_tui.access.guard import Guard
from ksi_tui.access.hosts import HostCheck, Hosts
from ksi_tui.access.limits import BodyLimit, HeaderLimit, Limits, RateLimit, too_many
from ksi_tui.access.rates import Rates
from ksi_tui.access.tokens import Tokens
from ksi_tui.client import EngineClient
from ksi_tui.door.server import Door
from ksi_tui.gateway import routing as gateway
from ksi_tui.metrics.exposition import Metrics

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 2.0
"""So long a stream goes on at most after its token was revoked."""
_LEAVE_WITHIN_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An address that is taken, and who may come: nothing is served there yet.

    `host` is what it was asked for as, `url` where it is, as `http://ADDRESS:PORT`. Without
    `tokens` it is a loopback address.
    """

    sock: socket.socket
    host: str
    url: str
    tokens: Tokens | None

    @classmethod
    def take(cls, address: str, token_file: Path | None) -> Self:
        """Take `HOST:PORT`; raises ListenFault and TokenFault. Blocks: it may ask a name server."""
        tokens = Tokens(token_file) if token_file is not None else None
        sock = bound(address, anywhere=tokens is not None)
        return cls(sock=sock, host=parsed(address)[0], url=url_of(sock), tokens=tokens)

    @property
    def told(self) -> str:
        """Where it listens and for whom, in words."""
        whom = "whoever has a token" if self.tokens is not None else "everybody on this machine"
        return f"listening on {self.url} for {whom}"

    def close(self) -> None:
        """Give the place up."""
        self.sock.close()


@asynccontextmanager
async def listening(
    client: EngineClient, door: Door, address: str, token_file: Path | None = None
) -> AsyncIterator[str]:
    """Serve an engine on `HOST:PORT` and give the URL; raises ListenFault and TokenFault.

    Without a token file only loopback is taken. Leaving ends the engine as `serving` does.
    """
    place = await asyncio.to_thread(Place.take, address, token_file)
    async with serving(client, door, place):
        yield place.url


@asynccontextmanager
async def serving(
    client: EngineClient, door: Door, place: Place, limits: Limits | None = None
) -> AsyncIterator[None]:
    """Serve an engine at a place that was taken, which is given up at the end.

    Leaving lets nobody in any more and then ends the engine, within its own grace: who waits for
    an answer gets it as long as that lasts.
    """
    limits = limits or (Limits() if place.tokens is not None else Limits.on_loopback())
    guard = Guard(place.tokens, _strangers(limits), too_many)
    with place.sock:
        async with Metrics(client, lambda: len(door.attached.listed())) as metrics:
            app = door.app(
                routes=[*gateway.routes(client), *metrics.routes()],
                middlewares=_middlewares(guard, place, limits),
                described=partial(described.document, tokens=place.tokens is not None),
            )
            runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_LEAVE_WITHIN_S)
            await runner.setup()
            site = BoundedSite(runner, place.sock, limits)
            watch = asyncio.create_task(_end_revoked(guard), name="listener-tokens")
            try:
                await site.start()
                yield
            finally:
                await site.stop()
                await client.emit("system:shutdown", {})
                watch.cancel()
                await asyncio.wait([watch])
                await runner.cleanup()


def _middlewares(guard: Guard, place: Place, limits: Limits) -> list[Middleware]:
    """Return the checks in their order: cheap ones first, and nobody's body before who it is."""
    hosts = Hosts.of(place.host, place.sock.getsockname()[0])
    rates = Rates(limits.requests_per_s, limits.burst, time.monotonic)
    return [
        handling,
        HostCheck(hosts).middleware,
        HeaderLimit(limits).middleware,
        guard.middleware,
        RateLimit(rates).middleware,
        BodyLimit(limits).middleware,
        audited,
    ]


def _strangers(limits: Limits) -> Rates:
    return Rates(limits.strangers_per_s, limits.strangers_burst, time.monotonic)


async def _end_revoked(guard: Guard) -> None:
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        try:
            guard.end_revoked()
        except Exception:  # the task's boundary: recorded, and looked again
            log.exception("whose token was revoked could not be looked up")
