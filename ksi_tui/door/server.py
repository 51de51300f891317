"""The door: an engine's client served over HTTP on the socket beside its database.

Puts the routes together and owns the server's life. What each route does is in the modules
of their duties; listening on TCP, and what that needs of guards, is not done here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from ksi_tui import __version__
from ksi_tui.client import EngineClient
from ksi_tui.door import looking, openapi, place, wire
from ksi_tui.door.acting import Acting
from ksi_tui.door.attached import Attached
from ksi_tui.door.reaching import other_session
from ksi_tui.door.stream import Streams
from ksi_tui.engine.clock import iso
from ksi_tui.engine.errors import EventError, KsiError
from ksi_tui.engine.payload_errors import shown
from ksi_tui.engine.views import Level

log = logging.getLogger(__name__)


def _ours(record: logging.LogRecord) -> bool:
    """Whether a record of the HTTP server's is worth a line: what is no HTTP is the sender's."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_of_http_server = logging.getLogger(f"{__name__}.http")
_of_http_server.addFilter(_ours)

MOST_CONNECTIONS: Final = 256
MOST_LINE: Final = 262_144
"""Bytes of a request's first line: a snapshot's query may name many requests."""
IDLE_S: Final = 75.0
"""How long a connection may be silent, or take for the head of a request, in seconds."""
LEAVE_WITHIN_S: Final = 2.0
_Described = Callable[[], Mapping[str, Any]]
_DESCRIBED: Final = web.AppKey[_Described]("ksi_described")
_UNREADY: Final = (Level.STARTING, Level.STOPPING, Level.READ_ONLY)


class Door:
    """Serves an engine's client on the socket of its database, from entering to leaving.

    Entering raises DoorError. Who enters owns the database. `app` makes the same for another
    listener, with more routes and guards.
    """

    def __init__(self, client: EngineClient, *, database: Path, name: str = "ksi-tui") -> None:
        self.socket = place.socket_of(database)
        self.boot = secrets.token_hex(8)
        self.attached = Attached()
        self._client = client
        self._database, self._name = database, name
        self._started_at = time.time()
        self._streams = Streams(client, self.boot, self.attached)
        self._acting = Acting(client)
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._inode = 0

    async def __aenter__(self) -> Self:
        listening = await asyncio.to_thread(place.taken, self.socket)
        self._inode = self.socket.lstat().st_ino
        self._runner = runner_of(self.app())
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        factory = partial(_connection, self._runner.server)
        self._server = await loop.create_unix_server(factory, sock=listening)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._runner is not None
        place.left(self.socket, self._inode)
        self._server.close()
        await self._runner.cleanup()
        await self._streams.aclose()
        await self._acting.aclose()

    # --- what is served --------------------------------------------------------------------

    def app(
        self,
        *,
        routes: Iterable[web.AbstractRouteDef] = (),
        middlewares: Iterable[Middleware] = (),
        described: _Described = openapi.document,
    ) -> web.Application:
        """Return a new application with the door's routes and these, behind these guards.

        `described` makes the description of all of it, once it is asked for.
        """
        app = web.Application(
            middlewares=[_in_one_shape, *middlewares], client_max_size=wire.MOST_BODY
        )
        app[_DESCRIBED] = described
        app.add_routes([*self.routes(), *routes])
        app.on_response_prepare.append(_named)
        app.on_shutdown.append(self._streams.end_those_of)
        return app

    def routes(self) -> list[web.RouteDef]:
        """Return the door's routes."""
        return [
            web.post("/events/{name}", self._emit),
            web.get("/events", self._streams.respond, allow_head=False),
            web.get("/snapshot", self._snapshot, allow_head=False),
            web.get("/hello", self._hello, allow_head=False),
            web.get("/healthz", self._alive),
            web.get("/readyz", self._ready),
            web.get("/openapi.json", self._described, allow_head=False),
        ]

    async def _emit(self, request: web.Request) -> web.Response:
        data = await wire.object_of(request)
        caller, name = wire.caller_of(request), request.match_info["name"]
        other = other_session(name, data) if caller.own_sessions else None
        if other is not None:
            said = f"to send a result into another session ({shown(other)}) needs the role operate"
            return wire.refused(said, code="forbidden", status=403)
        return wire.replied(await self._acting.emit(name, data, caller))

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        return await looking.respond(self._client, self.attached, request)

    async def _hello(self, _: web.Request) -> web.Response:
        return wire.answered(self.hello())

    def hello(self) -> dict[str, Any]:
        """Return who answers here and who is attached, as plain JSON."""
        return {
            "service": "ksi-tui",
            "version": __version__,
            "boot": self.boot,
            "pid": os.getpid(),
            "database": str(self._database),
            "started_at": iso(self._started_at),
            "name": self._name,
            "attached": self.attached.listed(),
        }

    async def _alive(self, _: web.Request) -> web.Response:
        return wire.answered({"status": "alive"})

    async def _ready(self, _: web.Request) -> web.Response:
        verdict = self._client.snapshot(looking.TOTALS_ONLY).verdict
        if verdict.level in _UNREADY:
            reason = f"{verdict.level.value.lower()}: {verdict.cause}"
            return wire.refused(reason, code="not_ready")
        return wire.answered({"status": "ready"})

    async def _described(self, request: web.Request) -> web.Response:
        return wire.answered(request.app[_DESCRIBED]())


def runner_of(app: web.Application) -> web.AppRunner:
    """Return what runs an application with the door's bounds; a client that goes is noticed."""
    return web.AppRunner(
        app,
        access_log=None,
        logger=_of_http_server,
        handle_signals=False,
        handler_cancellation=True,
        keepalive_timeout=IDLE_S,
        max_line_size=MOST_LINE,
        shutdown_timeout=LEAVE_WITHIN_S,
    )


class _Refused(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _connection(server: web.Server | None) -> asyncio.BaseProtocol:
    if server is None or len(server.connections) >= MOST_CONNECTIONS:
        return _Refused()
    return server()


async def _named(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "ksi-tui"
    response.headers["X-Content-Type-Options"] = "nosniff"


@web.middleware
async def _in_one_shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer whatever goes wrong in the shape of a refusal, and tell nothing of our insides."""
    try:
        return await handler(request)
    except EventError as error:
        return wire.refused_as(error)
    except KsiError as error:
        return wire.refused(str(error), code="not_ready")
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _of_http(error)
    except web.RequestPayloadError:
        return wire.refused("the body is broken: not what its headers say")
    except ConnectionError:
        raise  # nobody is left to answer
    except Exception:  # the edge: recorded, told in general words
        log.exception("a request through the door failed", extra={"path": request.path[:200]})
        told = "a fault of the engine's own; its log has it"
        return wire.refused(told, code="not_ready", status=500)


def _of_http(error: web.HTTPException) -> web.Response:
    if error.status == 413:
        most = f"the body has more than {wire.MOST_BODY:,} bytes"
        return wire.refused(most, status=413)
    if error.status == 408:
        return wire.refused("the body did not arrive in time", status=408)
    if error.status == 404:
        return wire.refused("no such path; /openapi.json has them all", code="not_found")
    response = wire.refused(f"{error.status} {error.reason}", status=error.status)
    with suppress(KeyError):
        response.headers["Allow"] = error.headers["Allow"]
    return response
