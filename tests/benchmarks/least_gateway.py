"""The least that a gateway over litellm can do: a handler around bare `acompletion`, one process.

`python -m tests.benchmarks.least_gateway URL` says where it listens. It keeps nothing, checks
nobody and limits nothing; what it takes is the floor of every gateway that calls through litellm.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Final

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from aiohttp import web

_MODEL: Final = "openai/gpt-4o-mini"


async def _answer(request: web.Request) -> web.StreamResponse:
    asked: dict[str, Any] = json.loads(await request.read())
    called = {**asked, "model": _MODEL, "api_base": request.app[_BASE], "api_key": "none"}
    found: Any = await litellm.acompletion(**called)
    if not asked.get("stream"):
        return web.Response(text=found.model_dump_json(), content_type="application/json")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    async for chunk in found:
        await response.write(f"data: {chunk.model_dump_json()}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    return response


_BASE: Final = web.AppKey("base", str)


def main(api_base: str) -> None:
    """Serve until a signal ends it."""
    litellm.suppress_debug_info = True
    app = web.Application()
    app[_BASE] = api_base
    app.router.add_post("/v1/chat/completions", _answer)
    web.run_app(app, host="127.0.0.1", port=0, access_log=None)


if __name__ == "__main__":
    main(*sys.argv[1:])
