"""How the listener says no: one body for the events, OpenAI's for the gateway, and no leak.

Whatever is answered here is written by this program: nothing that a request held is repeated.
Who is refused, and why, is decided elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

log = logging.getLogger(__name__)

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
_SAFE_HEADERS: Final = ("Allow", "Retry-After", "WWW-Authenticate")


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


@web.middleware
async def refusing_as_openai(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what goes wrong under the gateway's paths as its clients know it.

    All other paths are the door's, which answers in the events' shape by itself.
    """
    if not request.path.startswith(GATEWAY):
        return await handler(request)
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        kept = {name: error.headers[name] for name in _SAFE_HEADERS if name in error.headers}
        phrase = HTTPStatus(error.status).phrase.lower()
        return refused(request.path, error.status, phrase, headers=kept)
    except web.RequestPayloadError:
        return refused(request.path, 400, "the body cannot be read", close=True)
    except ConnectionError:  # nobody is there to be answered
        raise
    except Exception:  # the boundary to the network: recorded, and nothing of it told
        log.exception("a request to the gateway failed")
        if request.writer.output_size:
            raise
        return refused(request.path, 500, "a fault of its own; the log has it", close=True)
