"""What litellm alone takes for the gateway's work: `acompletion`, without anybody before it.

Both sides make the same call for every request; only our streams go past the most of it. Runs in a process
of its own, `python -m tests.benchmarks.bare_litellm URL`, and does what a line on its stdin asks.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from tests.benchmarks.gateway_work import Work, expected

LITELLM = "litellm alone"


class BareLitellm:
    """The process, as a side that is measured."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def block(self, work: Work) -> dict[str, float]:
        """Have some work done; returns its wall and CPU seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(work)).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("litellm alone has ended")
        done: dict[str, float] = json.loads(line)
        return done


@asynccontextmanager
async def bare_litellm(api_base: str) -> AsyncIterator[BareLitellm]:
    """Run it against an upstream."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.benchmarks.bare_litellm", api_base),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    )
    try:
        yield BareLitellm(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


# --- the process itself -----------------------------------------------------------------------


async def _one(litellm: Any, api_base: str, work: Work) -> None:
    stream = await litellm.acompletion(
        model="openai/gpt-4o-mini",
        api_base=api_base,
        api_key="none",
        messages=[{"role": "user", "content": "a question"}],
        max_tokens=work.words,
        stream=work.stream,
        **({"stream_options": {"include_usage": True}} if work.stream else {}),
    )
    if work.stream:
        pieces = [c.delta.content or "" async for chunk in stream for c in chunk.choices]
        text = "".join(pieces)
    else:
        text = stream.choices[0].message.content
    if text.split() != expected(work.words):
        raise RuntimeError(f"litellm answered {text[:500]!r}")


async def _block(litellm: Any, api_base: str, work: Work) -> dict[str, float]:
    own, began = time.process_time(), time.perf_counter()
    left = iter(range(work.calls))

    async def next_ones() -> None:
        for _ in left:
            await _one(litellm, api_base, work)

    await asyncio.gather(*(next_ones() for _ in range(work.at_once)))
    spent_s = time.process_time() - own
    return {"wall_s": time.perf_counter() - began, "cpu_s": spent_s, "client_cpu_s": 0.0}


async def _serve(api_base: str) -> None:
    import litellm

    litellm.suppress_debug_info = True
    while line := await asyncio.to_thread(sys.stdin.readline):
        done = await _block(litellm, api_base, Work(**json.loads(line)))
        sys.stdout.write(json.dumps(done) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
