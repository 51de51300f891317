"""How late a tick of 5 ms comes on the loop that it runs on: what a person feels as stalls.

Others use the machine too, and what they take shows in the lateness. So two more things are
measured at the same time: how late the same tick comes in a process that does nothing else
(`bare_…`), and how much CPU the loop's thread spends in one go (`turn_…`), which no neighbour adds
to.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

TICK_S = 0.005


class Lateness:
    """Gathers how late each tick came, in ms, while it is on."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []
        self.turns_ms: list[float] = []
        self._bare: dict[str, Any] = {}
        self._over = False

    async def watch(self, seconds: float) -> None:
        """Tick for so long."""
        async with self.on():
            await asyncio.sleep(seconds)

    @asynccontextmanager
    async def on(self) -> AsyncIterator[None]:
        """Tick while what is inside runs, and once more."""
        self._over = False
        bare = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-m", "tests.benchmarks.lateness"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert bare.stdout is not None
        await asyncio.to_thread(bare.stdout.readline)
        run = asyncio.Handle._run
        asyncio.Handle._run = self._timed(run)  # type: ignore[method-assign]
        task = asyncio.create_task(self._ticking(), name="tick")
        try:
            yield
        finally:
            self._over = True
            await task
            asyncio.Handle._run = run  # type: ignore[method-assign]
            said, _ = await asyncio.to_thread(bare.communicate, "\n")
            self._bare = json.loads(said)

    async def _ticking(self) -> None:
        while not self._over:
            await self._tick()

    async def _tick(self) -> None:
        began = time.perf_counter()
        await asyncio.sleep(TICK_S)
        self.late_ms.append((time.perf_counter() - began - TICK_S) * 1000)

    def _timed(self, run: Any) -> Any:
        turns, clock = self.turns_ms, time.thread_time

        def timed(handle: asyncio.Handle) -> None:
            began = clock()
            run(handle)
            turns.append((clock() - began) * 1000)

        return timed

    def report(self) -> dict[str, Any]:
        """Return the percentiles."""
        return {
            "ticks": len(self.late_ms),
            **_percentiles("stall", self.late_ms),
            "turn_max_ms": max(self.turns_ms),
            "turns_over_5_ms": sum(turn > 5 for turn in self.turns_ms),
            **{f"bare_{name}": value for name, value in self._bare.items()},
        }


def _percentiles(what: str, values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        f"{what}_p50_ms": ordered[len(ordered) // 2],
        f"{what}_p99_ms": ordered[int(len(ordered) * 0.99)],
        f"{what}_max_ms": ordered[-1],
    }


async def _bare() -> None:
    """Tick until a line comes in; then print how late the ticks came."""
    late = Lateness()
    print(flush=True)
    waiting = asyncio.create_task(asyncio.to_thread(sys.stdin.readline), name="stdin")
    while not waiting.done():
        await late._tick()
    await waiting
    print(json.dumps(_percentiles("stall", late.late_ms or [0.0])))


if __name__ == "__main__":
    asyncio.run(_bare())
