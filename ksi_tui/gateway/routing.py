"""The gateway's routes: `/v1/chat/completions`, `/v1/models`, and an error for the rest of `/v1`.

Reads bodies, and answers every failure in OpenAI's shape. Who may come in, how large a body
may be and how many connections there are is decided by the application it is mounted on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from ksi_tui.gateway.asked import asked
from ksi_tui.gateway.faults import (
    Fault,
    Refused,
    bad_request,
    fault_of_reply,
    internal,
)
from ksi_tui.gateway.serving import Completions, headers_of

if TYPE_CHECKING:
    from ksi_tui.client import EngineClient

log = logging.getLogger(__name__)

BODY_S: Final = 60.0
"""How long a body may take to arrive, in seconds."""

_METHODS: Final = {"/v1/chat/completions": "POST", "/v1/models": "GET"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes(client: EngineClient) -> list[web.RouteDef]:
    """Return the routes over an engine's client.

    The runner of their application needs `handler_cancellation=True`: by that a client's
    leaving is told, which cancels its request upstream.
    """
    gateway = _Gateway(client)
    return [
        web.post("/v1/chat/completions", _shaped(gateway.complete)),
        web.get("/v1/models", _shaped(gateway.models)),
        # (?s: a name may hold whatever a path can, line ends too.
        web.get("/v1/models/{id:(?s:.+)}", _shaped(gateway.model)),
        web.route("*", "/v1/{tail:(?s:.*)}", _shaped(_unknown)),
    ]


class _Gateway:
    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._completions = Completions(client)
        self._made = int(time.time())

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answer POST /v1/chat/completions."""
        # A page of any site may post other types without being asked first by the browser.
        if request.content_type != "application/json":
            raise bad_request(
                "Content-Type: application/json", code="unsupported_media_type", status=415
            )
        return await self._completions.serve(request, asked(await _body(request), request.headers))

    async def models(self, _: web.Request) -> web.StreamResponse:
        """Answer GET /v1/models: those that are known by name."""
        data = [self._entry(row) for row in await self._rows() if not row["pattern"]]
        return web.json_response({"object": "list", "data": data})

    async def model(self, request: web.Request) -> web.StreamResponse:
        """Answer GET /v1/models/{id}, also of one that only a pattern names."""
        name = request.match_info["id"]
        for row in await self._rows():
            known = fnmatchcase(name, row["model"]) if row["pattern"] else name == row["model"]
            if known:
                return web.json_response(self._entry(row) | {"id": name})
        raise Refused(
            fault_of_reply({"code": "no_provider", "error": f"The model '{name}' does not exist"})
        )

    async def _rows(self) -> list[dict[str, Any]]:
        reply = await self._client.emit("completion:models", {})
        if "code" in reply:
            raise Refused(fault_of_reply(reply))
        rows: list[dict[str, Any]] = reply["models"]
        return rows

    def _entry(self, row: dict[str, Any]) -> dict[str, Any]:
        owner = row["providers"][0] if row["providers"] else "ksi-tui"
        return {"id": row["model"], "object": "model", "created": self._made, "owned_by": owner}


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError:
        raise bad_request(
            f"the body did not arrive within {BODY_S:g} s", code="timeout", status=408
        ) from None
    except web.HTTPRequestEntityTooLarge as error:
        raise bad_request(error.text or "", code="request_too_large", status=413) from None
    except web.RequestPayloadError as error:
        raise bad_request(f"the body cannot be read: {error}", code="invalid_body") from None


async def _unknown(request: web.Request) -> web.StreamResponse:
    text = f"Unknown request URL: {request.method} {request.path}"
    allowed = _METHODS.get(request.path)
    if allowed is None:
        raise bad_request(text, code="unknown_url", status=404)
    wrong = bad_request(f"{text}; use {allowed}", code="method_not_allowed", status=405)
    response = _response(wrong.fault)
    response.headers["Allow"] = allowed
    return response


def _shaped(handler: Handler) -> Handler:
    """Return the handler with every failure in OpenAI's shape."""

    async def shaped(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as refused:
            return _response(refused.fault, refused.request_id)
        except web.HTTPException:
            raise
        except ConnectionError:
            raise  # the client is gone: nobody is left to be told
        except Exception:  # the request's boundary: recorded, and told without its cause
            log.exception("a request of the gateway failed")
            return _response(internal())

    return shaped


def _response(fault: Fault, request_id: str | None = None) -> web.Response:
    headers = {} if request_id is None else headers_of(request_id)
    if fault.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(fault.retry_after_s)))
    return web.Response(
        text=json.dumps(fault.body()),
        status=fault.status,
        content_type="application/json",
        headers=headers,
    )
