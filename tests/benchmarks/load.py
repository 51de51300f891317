"""Loads that are measured from outside: each runs in a process of its own and prints JSON.

`python -m tests.benchmarks.load NAME` prints one object with what it measured.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ksi_tui import collector
from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.events import LOST, RESULT, Subscription
from tests.benchmarks import (
    cancelling,
    crowd,
    finding,
    floor,
    gateway,
    growth,
    leaving,
    peers,
    reports,
    screen,
    seeing,
    submitting,
)
from tests.benchmarks.null_provider import NullProvider
from tests.benchmarks.work import in_flight


async def _results(results: Subscription, count: int) -> None:
    """Wait for `count` results; those that a full buffer has lost count too."""
    async for event in results:
        if event.name == RESULT:
            count -= 1
        elif event.name == LOST:
            count -= event.data["lost"]
        if count <= 0:
            return


async def _complete(engine: CompletionEngine, count: int, data: dict[str, Any]) -> None:
    """Submit `count` requests and wait until the last of them is answered."""
    async with engine.subscribe(RESULT) as results:
        await asyncio.gather(_submit(engine, count, data), _results(results, count))


async def _submit(engine: CompletionEngine, count: int, data: dict[str, Any]) -> None:
    async def one(index: int) -> None:
        reply = await engine.emit("completion:async", {**data, "prompt": f"question {index}"})
        if "error" in reply:
            raise RuntimeError(reply["error"])

    await in_flight(512, count, one)


async def durable_null(folder: Path, count: int = 10_000) -> dict[str, Any]:
    """Accept, run and finish `count` requests with a provider that answers at once."""
    collector.calm()  # as the command does
    database = folder / "null.db"
    config = Config.model_validate(
        {
            "engine": {
                "database": str(database),
                "responses_dir": str(folder / "responses"),
                "max_concurrency": 256,
            },
            "providers": [{"name": "null", "kind": "simulated", "models": ["m"]}],
        }
    )
    async with CompletionEngine(config, build=NullProvider) as engine:
        began, began_cpu = time.perf_counter(), time.process_time()
        await _complete(engine, count, {"model": "m", "stream": False})
        wall_s, spent_s = time.perf_counter() - began, time.process_time() - began_cpu
    rows = _checked_rows(database)
    return {"requests": count, "rows_checked": rows, "wall_s": wall_s, "cpu_s": spent_s}


def _checked_rows(database: Path) -> int:
    """Re-open the database and return how many requests are completed with their own answer."""
    connection = sqlite3.connect(database)
    try:
        (states,) = connection.execute(
            "SELECT count(*) FROM requests WHERE state = 'completed'"
        ).fetchone()
        (calls,) = connection.execute("SELECT count(DISTINCT request_id) FROM calls").fetchone()
        (own,) = connection.execute(
            "SELECT count(*) FROM requests JOIN replies USING (row)"
            " WHERE json_extract(result, '$.response.id') = 'null-' || request_id"
        ).fetchone()
    finally:
        connection.close()
    if not states == calls == own:
        raise RuntimeError(f"{states} completed, {calls} with a call, {own} with their answer")
    return int(states)


LOADS: dict[str, Callable[[Path], Awaitable[dict[str, Any]]]] = {
    "first_frame": screen.first_frame,
    "idle": crowd.idle,
    "crowd": crowd.crowd,
    "crowd_unseen": crowd.crowd_unseen,
    "stall_start": screen.stall_start,
    "stall_streams": screen.stall_streams,
    "durable_null": durable_null,
    "floor": floor.floor,
    "submitting": submitting.submitting,
    "peers": peers.peers,
    "backlog": growth.backlog,
    "backlog_million": growth.backlog_million,
    "sessions": growth.sessions,
    "restart": growth.restart,
    "finding": finding.finding,
    "gateway": gateway.gateway,
    "leaving": leaving.leaving,
    "seeing": seeing.seeing,
    "cancelled": cancelling.cancelled_at_once,
    "usage_million": reports.usage_million,
}


async def measure(name: str) -> dict[str, Any]:
    """Run a load in a folder of its own and return what it measured."""
    with tempfile.TemporaryDirectory() as folder:
        return await LOADS[name](Path(folder))


def main() -> None:
    """Run the load named on the command line and print what it measured."""
    sys.stdout.write(json.dumps(asyncio.run(measure(sys.argv[1]))) + "\n")


if __name__ == "__main__":
    main()
