"""What grows with a crowd, and must not: cost per completion, the restart, memory.

Engines in one process, a small one, another that is alike, and crowded ones, complete the same
requests in turn, so that a machine whose speed drifts hits all; the least CPU of a few rounds of
each is compared. What waits is written at once; that it is what single submits would have left is
a test's to say (`tests/engine/test_crowded.py`).
"""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import time
import tracemalloc
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

from ksi_tui import collector
from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.events import LOST, PROGRESS, RESULT
from tests.benchmarks.spent import resident_kb
from tests.engine.crowded import STUCK, fill

ROUNDS = 7
COMPLETIONS = 1_000
IN_FLIGHT = 256


async def backlog(folder: Path) -> dict[str, Any]:
    """CPU per completion with 10,000 and 100,000 requests waiting beside it, against 1,000.

    And against another 1,000: how much two that are alike differ.
    """
    return await _compared(folder, *({"queued": many} for many in (1_000, 1_000, 10_000, 100_000)))


async def backlog_million(folder: Path) -> dict[str, Any]:
    """The same with a million, and the memory of the process for each."""
    return await _compared(folder, *({"queued": many} for many in (1_000, 1_000, 1_000_000)))


async def sessions(folder: Path) -> dict[str, Any]:
    """CPU per completion with 100,000 waiting in 1,000 and in as many sessions, against in ten."""
    crowds = ({"queued": 100_000, "sessions": many} for many in (10, 10, 1_000, 100_000))
    return await _compared(folder, *crowds)


async def restart(folder: Path) -> dict[str, Any]:
    """Seconds from the start of an engine with 100,000 queued to its first dispatch, and memory.

    The memory is what is held; what the process keeps of what it held on the way is told too.
    """
    collector.calm()  # as the command does
    queued = 100_000
    _, engine = await _taken_up(folder / "first", queued=10)
    await engine.__aexit__()  # what is imported with the first use is not the queue's
    before_kb = resident_kb()
    started_s, engine = await _taken_up(folder / "timed", queued=queued)
    read_s = _read_s(folder / "timed" / "ksi.db")
    gc.collect()
    resident = resident_kb() - before_kb
    await engine.__aexit__()
    tracemalloc.start()
    _, engine = await _taken_up(folder / "weighed", queued=queued)
    gc.collect()
    held_kb = tracemalloc.get_traced_memory()[0] / 1024
    tracemalloc.stop()
    await engine.__aexit__()
    return {
        "queued": queued,
        "started_s": started_s,
        "kb_per_request": held_kb / queued,
        "resident_kb_per_request": resident / queued,
        "read_s": read_s,
    }


async def _taken_up(place: Path, *, queued: int) -> tuple[float, CompletionEngine]:
    fill(place / "ksi.db", queued=queued, sessions=queued // 10, at=time.time(), paused=False)
    engine = CompletionEngine(_config(place, stuck="sim/hang"))
    progress = engine.subscribe(PROGRESS)
    began = time.perf_counter()
    await engine.__aenter__()
    async for event in progress:
        if event.name == PROGRESS:
            break
    return time.perf_counter() - began, engine


def _read_s(database: Path) -> float:
    """Return the seconds that SQLite alone takes to hand out all rows of the requests."""
    began = time.perf_counter()
    with closing(sqlite3.connect(database)) as raw:
        for _ in raw.execute("SELECT * FROM requests ORDER BY row"):
            pass
    return time.perf_counter() - began


async def _compared(folder: Path, *crowds: dict[str, int]) -> dict[str, Any]:
    collector.calm()  # as the command does
    spent: list[list[float]] = [[] for _ in crowds]
    resident: list[float] = []
    async with AsyncExitStack() as open_engines:
        engines = []
        for number, crowd in enumerate(crowds):
            place = folder / str(number)
            many = crowd.get("sessions", 1)
            fill(place / "ksi.db", queued=crowd["queued"], sessions=many, at=time.time())
            before_kb = resident_kb()
            engine = CompletionEngine(_config(place, stuck="{model}"))
            engines.append(await open_engines.enter_async_context(engine))
            gc.collect()
            resident.append((resident_kb() - before_kb) / crowd["queued"])
        for _ in range(ROUNDS):
            for engine, cpu_us in zip(engines, spent, strict=True):
                cpu_us.append(await _cpu_us(engine))
    small, alike, *crowded = (min(each) for each in spent)
    return {
        "crowds": crowds,
        "cpu_us": spent,
        "alike": alike / small,
        "ratios": [each / small for each in crowded],
        "resident_kb_per_request": resident,
    }


async def _cpu_us(engine: CompletionEngine) -> float:
    """Complete some requests and return the CPU that each took, in microseconds."""
    left = iter(range(COMPLETIONS))

    async def submit() -> None:
        for index in left:
            data = {"prompt": f"question {index}", "model": "sim/echo", "stream": False}
            reply = await engine.emit("completion:async", data)
            if "error" in reply:
                raise RuntimeError(reply["error"])

    async def answered() -> None:
        count = COMPLETIONS
        async for event in results:
            count -= event.data["lost"] if event.name == LOST else event.name == RESULT
            if count <= 0:
                return

    async with engine.subscribe(RESULT) as results:
        began = time.process_time()
        await asyncio.gather(answered(), *(submit() for _ in range(IN_FLIGHT)))
        return (time.process_time() - began) / COMPLETIONS * 1e6


def _config(folder: Path, *, stuck: str) -> Config:
    return Config.model_validate(
        {
            "engine": {
                "database": str(folder / "ksi.db"),
                "responses_dir": str(folder / "responses"),
                "max_queue_depth": 2_000_000,
                "max_concurrency": IN_FLIGHT,
                "shutdown_grace_s": 0,
            },
            "providers": [
                {"name": "null", "kind": "simulated", "models": ["sim/*"], "model": "{model}"},
                {"name": STUCK, "kind": "simulated", "models": ["stuck/*"], "model": stuck},
            ],
        }
    )
