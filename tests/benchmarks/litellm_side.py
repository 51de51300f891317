"""litellm as it comes, as a side: bare `acompletion`, or an in-memory `litellm.Router`.

`python -m tests.benchmarks.litellm_side bare|router URL`. What bare `acompletion` takes is what
nobody who calls through litellm can go below.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from tests.benchmarks.side_process import SideProcess, serve, side_process
from tests.benchmarks.work import Work, expected, in_flight

LITELLM = "litellm alone"
ROUTER = "router"
MODEL = "gpt-4o-mini"
_QUESTION = [{"role": "user", "content": "a question"}]


def bare_litellm(api_base: str) -> AbstractAsyncContextManager[SideProcess]:
    """Run bare `acompletion` against an upstream."""
    return side_process("tests.benchmarks.litellm_side", "bare", api_base)


def litellm_router(api_base: str) -> AbstractAsyncContextManager[SideProcess]:
    """Run a Router with one deployment, an upstream."""
    return side_process("tests.benchmarks.litellm_side", ROUTER, api_base)


# --- the process itself -----------------------------------------------------------------------


def _called(kind: str, api_base: str) -> Callable[..., Awaitable[Any]]:
    import litellm

    litellm.suppress_debug_info = True
    deployment = {"model": f"openai/{MODEL}", "api_base": api_base, "api_key": "none"}
    if kind != ROUTER:
        return partial(litellm.acompletion, **deployment)
    entry = {"model_name": MODEL, "litellm_params": deployment}
    return partial(litellm.Router(model_list=[entry], num_retries=0).acompletion, model=MODEL)


async def _one(call: Callable[..., Awaitable[Any]], work: Work) -> None:
    words = expected(work.words)
    more: dict[str, Any] = {"mock_response": " ".join(words)} if work.mocked else {}
    if work.stream:
        more["stream_options"] = {"include_usage": True}
    asked = {"messages": _QUESTION, "max_tokens": work.words, "stream": work.stream}
    answer = await call(**asked, **more)
    if work.stream:
        text = "".join([c.delta.content or "" async for chunk in answer for c in chunk.choices])
    else:
        text = answer.choices[0].message.content
    if text.split() != words:
        raise RuntimeError(f"litellm answered {text[:500]!r}")


async def _main(kind: str, api_base: str) -> None:
    call = _called(kind, api_base)
    await serve(lambda work: in_flight(work.at_once, work.calls, lambda _: _one(call, work)))


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
