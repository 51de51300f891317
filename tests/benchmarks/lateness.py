"""How late a tick of 5 ms comes on the loop that it runs on: what a person feels as stalls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

TICK_S = 0.005


class Lateness:
    """Gathers how late each tick came, in ms, while it is on."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []

    async def watch(self, seconds: float) -> None:
        """Tick for so long."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            await self._tick()

    @asynccontextmanager
    async def on(self) -> AsyncIterator[None]:
        """Tick while what is inside runs, and once more."""
        over = False

        async def ticking() -> None:
            while not over:
                await self._tick()

        task = asyncio.create_task(ticking(), name="tick")
        try:
            yield
        finally:
            over = True
            await task

    async def _tick(self) -> None:
        began = time.perf_counter()
        await asyncio.sleep(TICK_S)
        self.late_ms.append((time.perf_counter() - began - TICK_S) * 1000)

    def report(self) -> dict[str, Any]:
        """Return the percentiles."""
        ordered = sorted(self.late_ms)
        return {
            "ticks": len(ordered),
            "stall_p50_ms": ordered[len(ordered) // 2],
            "stall_p99_ms": ordered[int(len(ordered) * 0.99)],
            "stall_max_ms": ordered[-1],
        }
