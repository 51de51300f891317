"""How long a client waits for its request to be on disk while as many others as can are served.

Each of 64 clients submits, waits for the answer and submits again, at a provider that answers at
once: the engine does nothing but accept, run and end. The floor is one transaction with a request
of each, by a connection that nobody else uses.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ksi_tui import collector
from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.events import RESULT, Subscription
from tests.benchmarks import floor
from tests.benchmarks.null_provider import NullProvider

CLIENTS: Final = 64
EACH: Final = 50


async def submitting(folder: Path) -> dict[str, Any]:
    """Return the ms that each submit took, and each bare transaction."""
    collector.calm()  # as the command does
    config = Config.model_validate(
        {
            "engine": {
                "database": str(folder / "submitting.db"),
                "responses_dir": str(folder / "responses"),
                "max_concurrency": CLIENTS,
            },
            "providers": [{"name": "null", "kind": "simulated", "models": ["m"]}],
        }
    )
    async with CompletionEngine(config, build=NullProvider) as engine:
        began = time.perf_counter()
        taken = await _clients(engine)
        wall_s = time.perf_counter() - began
    bare = await _transactions(folder / "bare.db")
    return {
        "requests": len(taken),
        "per_s": len(taken) / wall_s,
        **_percentiles("submit", taken),
        **_percentiles("bare", bare),
        "taken_ms": taken,
        "bare_taken_ms": bare,
    }


async def _clients(engine: CompletionEngine) -> list[float]:
    taken: list[float] = []
    answered: dict[str, asyncio.Future[None]] = {}

    async def client(number: int) -> None:
        for nth in range(EACH):
            name = f"r-{number}-{nth}"
            answer = answered[name] = asyncio.get_running_loop().create_future()
            asked = {"request_id": name, "prompt": "question", "model": "m", "stream": False}
            began = time.perf_counter()
            reply = await engine.emit("completion:async", asked)
            taken.append(1000 * (time.perf_counter() - began))
            if "error" in reply:
                raise RuntimeError(reply["error"])
            await answer

    async with engine.subscribe(RESULT) as results:
        await asyncio.gather(_told(results, answered), *map(client, range(CLIENTS)))
    return taken


async def _told(results: Subscription, answered: dict[str, asyncio.Future[None]]) -> None:
    left = CLIENTS * EACH
    async for event in results:
        if event.name == RESULT:
            answered.pop(event.data["request_id"]).set_result(None)
            left -= 1
            if not left:
                return


async def _transactions(path: Path) -> list[float]:
    connection, taken = floor.opened(path), []
    for first in range(1, CLIENTS * EACH, CLIENTS):
        numbers = range(first, first + CLIENTS)
        connection.batch = floor.batch_of(floor.entry(number) for number in numbers)
        began = time.perf_counter()
        await asyncio.to_thread(connection.commit)
        taken.append(1000 * (time.perf_counter() - began))
    connection.close()
    return taken


def _percentiles(what: str, taken: Sequence[float]) -> dict[str, float]:
    ordered = sorted(taken)
    return {
        f"{what}_p50_ms": ordered[len(ordered) // 2],
        f"{what}_p99_ms": ordered[int(len(ordered) * 0.99)],
    }
