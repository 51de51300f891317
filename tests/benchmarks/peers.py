"""The durable engine beside those who keep nothing: `litellm.Router` and bare `acompletion`.

The same calls, mocked by litellm and answered by a server on loopback, whole, 64 at once, and
streamed, 32 at once; each side a process, the engine with two workers. What two processes of bare
`acompletion` take for them is the floor of whoever calls through litellm on two cores. They take
turns.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tests.benchmarks import engine_side, serving
from tests.benchmarks.litellm_side import LITELLM, ROUTER, bare_litellm, litellm_router
from tests.benchmarks.side_process import Shared, side_process
from tests.benchmarks.work import (
    Side,
    Taken,
    Work,
    cpu_ratio,
    in_turn,
    median_ms,
    total,
    wall_ratio,
)

OURS: Final = "engine"
FLOOR: Final = "litellm alone, two processes"
BLOCKS: Final = 2
_AT_ONCE: Final = engine_side.IN_FLIGHT
_STREAMS: Final = 32
_WARM_CALLS: Final = 16
WORKS: Final = (
    Work(name="mocked", calls=768, at_once=_AT_ONCE, mocked=True),
    Work(name="mocked_streams", calls=_STREAMS, at_once=_STREAMS, mocked=True, stream=True),
    Work(name="served", calls=256, at_once=_AT_ONCE),
    Work(name="served_streams", calls=_STREAMS, at_once=_STREAMS, stream=True),
)


@asynccontextmanager
async def _sides(folder: Path) -> AsyncIterator[Mapping[str, Side]]:
    async with serving.upstream(folder) as upstream:
        base = f"{upstream.url}/ok/v1"
        async with (
            side_process(engine_side.MODULE, base, str(folder)) as ours,
            litellm_router(base) as router,
            bare_litellm(base) as bare,
            bare_litellm(base) as another,
        ):
            yield {OURS: ours, ROUTER: router, LITELLM: bare, FLOOR: Shared([bare, another])}


async def peers(folder: Path, blocks: int = BLOCKS) -> dict[str, Any]:
    """Wall and CPU of all sides per kind of work, and of the engine ÷ of each other one."""
    async with _sides(folder) as sides:
        for side in sides.values():
            for work in WORKS:
                await side.block(replace(work, calls=_WARM_CALLS))
        taken = await in_turn(sides, WORKS, blocks)
    return {work.name: _summed(work, taken[work.name]) for work in WORKS}


def _summed(work: Work, taken: Mapping[str, Taken]) -> dict[str, Any]:
    units = work.units * len(taken[OURS])
    return {
        "wall": {peer: wall_ratio(taken[OURS], taken[peer]) for peer in (ROUTER, LITELLM)},
        "cpu": {peer: cpu_ratio(taken[OURS], taken[peer]) for peer in (ROUTER, LITELLM)},
        "floor_wall": {p: wall_ratio(taken[FLOOR], taken[p]) for p in (ROUTER, LITELLM)},
        "floor_cpu": {p: cpu_ratio(taken[FLOOR], taken[p]) for p in (ROUTER, LITELLM)},
        "ms": median_ms(work, taken),
        "cpu_ms": {side: 1000 * total(each, "cpu_s") / units for side, each in taken.items()},
        "taken": taken,
    }
