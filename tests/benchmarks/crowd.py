"""The dashboard before a crowd: 10,000 sessions, 100,000 queued, 1,000 events a second; and idle.

In a pseudo-terminal, over the real engine with a provider that never answers. The CPU is that
of the whole process; what it is without a screen is the load's own.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.lateness import Lateness
from tests.benchmarks.screen import environ
from tests.benchmarks.spent import resident_kb
from tests.benchmarks.terminal import Terminal

SESSIONS = 10_000
QUEUED = 100_000
EVENTS_PER_S = 1_000
BEATS_PER_S = 50
WATCHED_S = 20.0
SETTLED_S = 5.0
FILLED_S = 15.0
"""By then every bounded buffer is full (the event log holds 10,000)."""
_BATCH = 1_000


async def idle(folder: Path) -> dict[str, Any]:
    """CPU of the dashboard that nobody touches and that has nothing to do."""
    with Terminal([sys.executable, "-m", "ksi_tui"], environ(folder)) as terminal:
        await asyncio.to_thread(terminal.until, b"Nothing is running", 60)
        await asyncio.to_thread(terminal.drain_for, SETTLED_S)
        before, began = terminal.cpu_s, time.monotonic()
        await asyncio.to_thread(terminal.drain_for, WATCHED_S)
        spent_s, watched_s = terminal.cpu_s - before, time.monotonic() - began
    return {"cpu_s": spent_s, "watched_s": watched_s, "cpu_percent": 100 * spent_s / watched_s}


async def crowd(folder: Path) -> dict[str, Any]:
    """Stall, CPU and memory while events come in over a crowded engine."""
    out = folder / "crowd.json"
    command = [sys.executable, "-m", "tests.benchmarks.crowd", str(out)]
    with Terminal(command, environ(folder)) as terminal:
        await asyncio.to_thread(terminal.drain_until, lambda: out.exists() or terminal.ended, 240)
    measured: dict[str, Any] = json.loads(out.read_text())
    return measured


async def crowd_unseen(folder: Path) -> dict[str, Any]:
    """The same load on the same engine without a screen: what is left is the dashboard's share."""
    out = folder / "crowd.json"
    command = [sys.executable, "-m", "tests.benchmarks.crowd", str(out), "unseen"]
    await asyncio.to_thread(
        subprocess.run, command, env=environ(folder), check=True, timeout=240, capture_output=True
    )
    measured: dict[str, Any] = json.loads(out.read_text())
    return measured


# --- inside the terminal ----------------------------------------------------------------------


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _watched(out: Path, *, seen: bool) -> int:
    from ksi_tui import collector
    from ksi_tui.app import KsiApp, run_dashboard
    from ksi_tui.config import Config

    config = Config.model_validate(
        {
            "engine": {
                "database": str(out.with_name("ksi.db")),
                "responses_dir": str(out.with_name("responses")),
                "max_queue_depth": QUEUED * 2,
                "shutdown_grace_s": 0,
            },
            "providers": [
                {"name": "sim", "kind": "simulated", "models": ["sim/*"], "model": "{model}"}
            ],
        }
    )
    collector.calm()  # as the command does
    tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        from ksi_tui.engine import CompletionEngine

        async with CompletionEngine(config) as engine:
            tasks.append(asyncio.create_task(_load(engine, out), name="load"))
            yield engine

    if not seen:
        async with connect():
            await tasks[0]
        return 0
    return await run_dashboard(KsiApp(connect, ui=config.ui, name="bench"))


async def _load(engine: Any, out: Path) -> None:
    for first in range(0, QUEUED, _BATCH):
        requests = [
            {"prompt": "p", "model": "sim/hang", "session_id": f"s-{number % SESSIONS}"}
            for number in range(first, first + _BATCH)
        ]
        reply = await engine.emit("completion:batch", {"requests": requests})
        if "code" in reply:
            raise RuntimeError(reply["error"])
    late = Lateness()
    feeding = asyncio.create_task(_feed(engine), name="feed")
    await asyncio.sleep(FILLED_S)
    cpu_s, rss_kb, began = _cpu_s(), resident_kb(), time.monotonic()
    await late.watch(WATCHED_S)
    watched_s = time.monotonic() - began
    totals = engine.snapshot().totals
    whole = {
        "queued": totals.queued,
        "cpu_percent": 100 * (_cpu_s() - cpu_s) / watched_s,
        "rss_mb": resident_kb() / 1024,
        "grown_mb": (resident_kb() - rss_kb) / 1024,
        **late.report(),
    }
    feeding.cancel()
    part = out.with_suffix(".part")
    part.write_text(json.dumps(whole))
    part.rename(out)


async def _feed(engine: Any) -> None:
    """Publish as the engine does, evenly over the second."""
    number = 0
    due = time.monotonic()
    while True:
        for _ in range(EVENTS_PER_S // BEATS_PER_S):
            number += 1
            engine._router.publish(
                "completion:progress",
                {"request_id": f"r-{number % QUEUED}", "status": "streaming", "provider": "sim"},
            )
        due += 1 / BEATS_PER_S
        await asyncio.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    sys.exit(asyncio.run(_watched(Path(sys.argv[1]), seen=len(sys.argv) == 2)))
