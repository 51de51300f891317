"""Finds out who asks, and whether they may.

With tokens every request needs one whose role covers what it asks for; without, whoever reaches
loopback may do all that is not for the local socket alone. What needs which role is a table in
`roles`; the guard decides by the route that was found, so that it sees what the handler will.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from ksi_tui.access.rates import Rates
from ksi_tui.access.refusals import refused
from ksi_tui.access.roles import LOCAL_ONLY, OPEN_ROUTES, Role, role_of_route
from ksi_tui.access.tokens import TokenRecord, Tokens
from ksi_tui.door import wire
from ksi_tui.gateway.serving import CUT

log = logging.getLogger(__name__)

_EVENT_ROUTE: Final = "/events/{name}"
_MOST_PATH: Final = 200
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="ksi-tui"'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who asks. `name` is what actions are recorded under: a token's, else what they say.

    `key` tells callers apart: the token where there is one, else the peer's address.
    """

    name: str
    role: Role
    peer: str
    token: TokenRecord | None = None

    @property
    def key(self) -> str:
        """What the caller's share is counted under."""
        return f"token {self.token.id}" if self.token is not None else f"peer {self.peer}"


WHO: Final = web.RequestKey("who", Who)

TooMany = Callable[[str, float], web.Response]


def route_of(request: web.Request) -> str | None:
    """Return the route that a request was found to go to, as it was mounted; None for none."""
    match = request.match_info
    if match.http_exception is not None or match.route.resource is None:
        return None
    return match.route.resource.canonical


def event_of(request: web.Request) -> str | None:
    """Return the event that a request emits, None where it emits none."""
    return request.match_info.get("name") if route_of(request) == _EVENT_ROUTE else None


def role_needed(request: web.Request) -> Role | None:
    """Return the role that a request needs, None where it needs no token.

    To be told that something is not here takes any token: strangers learn nothing.
    """
    route = route_of(request)
    if route is None:
        return Role.VIEW
    if route in OPEN_ROUTES:
        return None
    return role_of_route(request.method, route, event_of(request) or "")


class Guard:
    """The middleware that lets in who may come. Without `tokens` that is whoever is there.

    `strangers` counts refusals by peer: who has no token may not even ask often.
    """

    def __init__(self, tokens: Tokens | None, strangers: Rates, too_many: TooMany) -> None:
        self._tokens = tokens
        self._strangers = strangers
        self._too_many = too_many
        self._inside: dict[int, tuple[web.Request, TokenRecord]] = {}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request in, or answer 401, 403 or, to a stranger that goes on, 429."""
        peer = request.remote or ""
        needed = role_needed(request)
        event = event_of(request)
        if self._tokens is None:
            said = wire.caller_of(request).operator
            request[WHO] = Who(name=said, role=Role.OPERATE, peer=peer)
            if event in LOCAL_ONLY:
                return self._local_only(request)
            return await handler(request)
        if needed is None:
            request[WHO] = Who(name="", role=Role.VIEW, peer=peer)
            return _for_outside(await handler(request), request.path)
        record = self._tokens.of(_bearer(request))
        if record is None:
            return self._stranger(request, peer)
        request[WHO] = who = Who(name=record.name, role=record.role, peer=peer, token=record)
        request[wire.CALLER] = replace(
            wire.caller_of(request),
            operator=record.name,
            proven=True,
            own_sessions=not record.role.covers(Role.OPERATE),
        )
        if not record.role.covers(needed):
            self._told("refused: the role is too small", request, who)
            return refused(
                request.path,
                403,
                f"this needs a token of the role {needed}; this one's is {record.role}",
            )
        if event in LOCAL_ONLY:
            return self._local_only(request)
        return await self._watched(request, record, handler)

    async def _watched(
        self, request: web.Request, record: TokenRecord, handler: Handler
    ) -> web.StreamResponse:
        """Handle a request as long as its token counts, however long its answer takes."""
        self._inside[id(request)] = (request, record)
        try:
            return await handler(request)
        finally:
            del self._inside[id(request)]

    def end_revoked(self) -> None:
        """Cut off whoever was let in by a token that counts no more."""
        for request, record in list(self._inside.values()):
            if self._tokens is not None and not self._tokens.holds(record):
                log.warning("cut off: the token was revoked", extra={"who": record.name})
                request[CUT] = "its client's token was revoked"
                if request.transport is not None:
                    request.transport.abort()

    def _stranger(self, request: web.Request, peer: str) -> web.Response:
        wait_s = self._strangers.take(peer)
        if wait_s:
            return self._too_many(request.path, wait_s)
        log.warning(
            "refused: no token that counts", extra={"peer": peer, "path": request.path[:_MOST_PATH]}
        )
        return refused(
            request.path,
            401,
            "this needs a token, as Authorization: Bearer; `ksi-tui token new` makes one",
            headers=_CHALLENGE,
            close=True,
        )

    def _local_only(self, request: web.Request) -> web.Response:
        self._told("refused: not over the network", request, request[WHO])
        return refused(
            request.path, 403, "this event is taken on the engine's own socket only, never here"
        )

    def _told(self, said: str, request: web.Request, who: Who) -> None:
        log.warning(
            said, extra={"who": who.name, "peer": who.peer, "path": request.path[:_MOST_PATH]}
        )


def _for_outside(answer: web.StreamResponse, path: str) -> web.StreamResponse:
    """Return an answer for who has no token: without its why, and the connection ends with it."""
    if answer.status >= 400:
        return refused(path, answer.status, "not ready", close=True)
    answer.force_close()
    return answer


def _bearer(request: web.Request) -> str:
    """Return the token that a request brings; empty where it brings none, or several."""
    given = request.headers.getall("Authorization", [])
    if len(given) != 1:
        return ""
    scheme, _, token = given[0].partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
