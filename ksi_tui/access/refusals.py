"""How the listener says no before anybody acts: one body for the events, OpenAI's for the gateway.

Nothing that a request held is repeated. Who is refused, and why, is decided elsewhere; what goes
wrong later the door and the gateway tell by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web

GATEWAY: Final = "/v1/"
_CODES: Mapping[int, str] = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    429: "rate_limited",
    500: "internal",
    503: "not_ready",
}
"""Codes of the events' refusals; any other status is an `invalid_request`."""
_OPENAI_CODES: Mapping[int, tuple[str, str]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("permission_error", "permission_denied"),
    404: ("invalid_request_error", "unknown_url"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    500: ("server_error", "internal"),
    503: ("server_error", "not_ready"),
}


def refused(
    path: str,
    status: int,
    message: str,
    *,
    headers: Mapping[str, str] | None = None,
    close: bool = False,
) -> web.Response:
    """Return a refusal in the shape that the clients of a path know.

    `close`: the connection ends with it, since what follows on it may be anything.
    """
    body: dict[str, object]
    if path.startswith(GATEWAY):
        kind, code = _OPENAI_CODES.get(status, ("invalid_request_error", "invalid_request"))
        body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    else:
        body = {"error": message, "code": _CODES.get(status, "invalid_request")}
    response = web.json_response(body, status=status, headers=headers)
    if close:
        response.force_close()
    return response
