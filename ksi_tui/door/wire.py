"""The shapes on the wire: bodies in, replies and refusals out, and who calls.

HTTP itself is aiohttp's, the meaning of an event the engine's. What comes in is untrusted.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from aiohttp import web

from ksi_tui.door.attached import Caller
from ksi_tui.engine.errors import EventError, InvalidRequest
from ksi_tui.engine.nesting import MOST_DEEP, too_deep
from ksi_tui.engine.payload_errors import shortened, shown
from ksi_tui.engine.payloads import MAX_ID_CHARS

MOST_BODY: Final = 16 * 2**20
"""Bytes of a body, unpacked."""
BODY_WITHIN_S: Final = 60.0
"""How long a body may take to arrive, in seconds."""
STATUS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "invalid_request": 400,
        "not_found": 404,
        "conflict": 409,
        "lock_denied": 409,
        "no_provider": 422,
        "queue_full": 429,
        "not_ready": 503,
    }
)
"""The HTTP status of each code that a refusal may have."""
CALLER: Final = web.RequestKey("ksi_caller", Caller)
"""Where a guard before the door puts who calls; without one the headers are believed."""

_SIGNS: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def replied(reply: Mapping[str, Any]) -> web.Response:
    """Return an engine's reply; a refusal has the status of its code."""
    code, said = reply.get("code"), reply.get("error")
    refused = isinstance(said, str) and isinstance(code, str)
    return answered(reply, status=STATUS.get(str(code), 400) if refused else 200)


def answered(data: Mapping[str, Any], *, status: int = 200) -> web.Response:
    """Return plain JSON as a response; one that is for later says when to come again."""
    return web.Response(
        body=json.dumps(data, separators=(",", ":")).encode(),
        status=status,
        content_type="application/json",
        headers={"Retry-After": "1"} if status == 429 else None,
    )


def refused(message: str, *, code: str = "invalid_request", status: int = 0) -> web.Response:
    """Return a refusal in the shape of the engine's own."""
    return answered({"error": message, "code": code}, status=status or STATUS[code])


def refused_as(error: EventError) -> web.Response:
    """Return the refusal that an error of the engine's edge means."""
    return refused(str(error), code=error.code)


async def object_of(request: web.Request) -> dict[str, Any]:
    """Return the body as an object, an empty one where there is none; raises InvalidRequest.

    Raises HTTPException when it does not arrive in time or is too large, and
    RequestPayloadError when it is broken.
    """
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            body = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    if not body:
        return {}
    found = parsed(body, "the body")
    if not isinstance(found, dict):
        raise InvalidRequest(f"the body is a JSON object, found {shown(found)}")
    return found


def parsed(text: bytes | str, what: str) -> Any:
    """Return JSON from outside; InvalidRequest says `what` is none.

    It is nested at most `MOST_DEEP` levels.
    """
    try:
        found = json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise InvalidRequest(f"{what} is nested too deep") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{what} is not UTF-8") from None
    except ValueError as error:
        raise InvalidRequest(f"{what} is not valid JSON: {shortened(str(error))}") from None
    if too_deep(found):
        raise InvalidRequest(f"{what} is nested too deep: {MOST_DEEP} levels at most")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def caller_of(request: web.Request) -> Caller:
    """Return who calls: as a guard knows it, else as the headers say."""
    known: Caller | None = request.get(CALLER)
    if known is not None:
        return known
    headers = request.headers
    return Caller(
        operator=_name(headers.get("X-Ksi-Operator", "")),
        kind=_name(headers.get("X-Ksi-Kind", "")),
        client=_name(headers.get("X-Ksi-Client", "")),
    )


def _name(text: str) -> str:
    """Return a name from a header as one that may be kept and shown."""
    return _SIGNS.sub("", text).strip()[:MAX_ID_CHARS]
