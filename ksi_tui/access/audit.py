"""Who did what over the network, one line of the log for each acting request.

The engine's own record has the actions with their `by`; here is also what was refused by it, and
where it came from. Nothing of a body but the ids that it names is written down.
"""

from __future__ import annotations

import asyncio
import json
import logging
from functools import partial
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from ksi_tui.access.guard import WHO, event_of, role_needed
from ksi_tui.access.roles import Role
from ksi_tui.gateway.serving import ABOUT

log = logging.getLogger(__name__)

ACTED: Final = "a request over the network"
_NAMING: Final = ("request_id", "session_id", "agent_id", "provider", "scope", "id")
_MOST_READ: Final = 65_536
_MOST_CHARS: Final = 200


@web.middleware
async def audited(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Note an acting request once it was answered, or ended without an answer."""
    if role_needed(request) in (None, Role.VIEW):
        return await handler(request)
    response: web.StreamResponse | None = None
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = error
        raise
    finally:
        who = request[WHO]
        asked = await request.read() if event_of(request) and request.body_exists else b""
        noted = partial(
            log.info,
            ACTED,
            extra={
                "who": who.name or None,
                "who_id": who.token.id if who.token is not None else None,
                "role": str(who.role) if who.token is not None else None,
                "peer": who.peer,
                "did": event_of(request) or request.path[:_MOST_CHARS],
                "on": _served(request) or _answered(response) | _named(asked),
                "status": response.status if response is not None else None,
            },
        )
        # Whoever waits for the answer does not wait for the log's file.
        asyncio.get_running_loop().call_soon(noted)
    return response


def _served(request: web.Request) -> dict[str, str]:
    """Return the gateway's request, which a client that leaves has too."""
    return {"request_id": request[ABOUT][:_MOST_CHARS]} if ABOUT in request else {}


def _answered(response: web.StreamResponse | None) -> dict[str, str]:
    """Return what the answer to an event names."""
    if isinstance(response, web.Response) and isinstance(response.body, bytes):
        return _named(response.body)
    return {}


def _named(text: bytes) -> dict[str, str]:
    """Return what JSON of an event names, as far as it is small and can be read."""
    if not 0 < len(text) < _MOST_READ:
        return {}
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(data, dict):
        return {}
    found = {name: data[name] for name in _NAMING if isinstance(data.get(name), str)}
    return {name: value[:_MOST_CHARS] for name, value in found.items()}
