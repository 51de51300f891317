"""A side in a process of its own, which does what a line on its stdin asks."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace

from tests.benchmarks.spent import family_cpu_s
from tests.benchmarks.work import Work


class SideProcess:
    """The process; what those below it spend is its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def block(self, work: Work) -> dict[str, float]:
        """Have some work done; returns its wall and CPU seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        before = family_cpu_s(self._process.pid)
        self._process.stdin.write(json.dumps(asdict(work)).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("a side has ended")
        spent_s = family_cpu_s(self._process.pid) - before
        return {"wall_s": json.loads(line), "cpu_s": spent_s, "client_cpu_s": 0.0}


class Shared:
    """Several sides that do each work together, a part each."""

    def __init__(self, sides: Sequence[SideProcess]) -> None:
        self._sides = sides

    async def block(self, work: Work) -> dict[str, float]:
        """Have some work done; returns the wall seconds of all and the sum of the CPU's."""
        many = len(self._sides)
        part = replace(work, calls=work.calls // many, at_once=max(1, work.at_once // many))
        began = time.perf_counter()
        done = await asyncio.gather(*(side.block(part) for side in self._sides))
        wall_s = time.perf_counter() - began
        return {"wall_s": wall_s, "cpu_s": sum(d["cpu_s"] for d in done), "client_cpu_s": 0.0}


@asynccontextmanager
async def side_process(module: str, *arguments: str) -> AsyncIterator[SideProcess]:
    """Run a module as a side, against what its arguments name."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    )
    try:
        yield SideProcess(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


# --- in the process ------------------------------------------------------------------------------


async def serve(do: Callable[[Work], Awaitable[None]]) -> None:
    """Do the work of each line on stdin; tell how many seconds it took."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        work = Work(**json.loads(line))
        began = time.perf_counter()
        await do(work)
        print(time.perf_counter() - began, flush=True)
