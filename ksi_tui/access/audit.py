"""Who did what over the network, one line of the log for each acting request.

The engine's own record has the actions with their `by`; here is also what was refused by it, and
where it came from. Nothing of a body but the ids that it names is written down.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from ksi_tui.access.guard import WHO, event_of, role_needed
from ksi_tui.access.roles import Role

log = logging.getLogger(__name__)

ACTED: Final = "a request over the network"
_NAMING: Final = ("request_id", "session_id", "agent_id", "provider", "scope", "id")
_MOST_READ: Final = 65_536
_MOST_CHARS: Final = 200


@web.middleware
async def audited(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Note an acting request once it was answered, or ended without an answer."""
    needed = role_needed(request)
    if needed in (None, Role.VIEW):
        return await handler(request)
    status: int | None = None
    try:
        response = await handler(request)
        status = response.status
    except web.HTTPException as error:
        status = error.status
        raise
    finally:
        who = request[WHO]
        log.info(
            ACTED,
            extra={
                "who": who.name,
                "who_id": who.token.id if who.token is not None else None,
                "role": str(who.role) if who.token is not None else None,
                "peer": who.peer,
                "did": event_of(request) or request.path,
                "on": await _named(request),
                "status": status,
            },
        )
    return response


async def _named(request: web.Request) -> dict[str, str]:
    """Return what an event names, as far as its body is small and can be read."""
    if event_of(request) is None or (request.content_length or _MOST_READ) >= _MOST_READ:
        return {}
    try:
        data: Any = json.loads(await request.read())
    except (ValueError, RecursionError):
        return {}
    if not isinstance(data, dict):
        return {}
    found = {name: data[name] for name in _NAMING if isinstance(data.get(name), str)}
    return {name: value[:_MOST_CHARS] for name, value in found.items()}
