"""Loads with a real screen: the first frame, and how late the screen's loop gets.

The dashboard runs in a pseudo-terminal, since a headless run never builds the bytes for
the terminal and so measures too little.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.lateness import Lateness
from tests.benchmarks.terminal import Terminal
from tests.servers.misbehaving import MisbehavingServer

STREAMS = 32
WATCHED_S = 8.0
_STARTS = 5

_BARE = """
from textual.app import App
from textual.widgets import Static
class Bare(App):
    def compose(self):
        yield Static("first frame")
Bare().run()
"""


def environ(folder: Path) -> dict[str, str]:
    """Return an environment without keys, at home in `folder`."""
    keyless = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")}
    return {**keyless, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}


async def first_frame(folder: Path) -> dict[str, Any]:
    """Time from the start of the command to the first frame with its panes, and a bare app's.

    Started in turn, and all with bytecode in place, as an installation has it.
    """
    ours, bare = [sys.executable, "-m", "ksi_tui"], [sys.executable, "-c", _BARE]
    pairs = [
        (await _frame(ours, b"Active", folder), await _frame(bare, b"first frame", folder))
        for _ in range(1 + _STARTS)
    ][1:]
    wall, cpu = ([(one[kind], other[kind]) for one, other in pairs] for kind in (0, 1))
    return {"wall_s": wall, "cpu_s": cpu, "ratio": _ratio(wall), "cpu_ratio": _ratio(cpu)}


async def _frame(command: list[str], mark: bytes, folder: Path) -> tuple[float, float]:
    """Return the seconds until a mark is drawn, of the wall and of the CPU."""
    kept = {k: v for k, v in environ(folder).items() if k != "PYTHONDONTWRITEBYTECODE"}
    with Terminal(command, {**kept, "PYTHONPYCACHEPREFIX": str(folder / "code")}) as terminal:
        return await asyncio.to_thread(terminal.until, mark, 60), terminal.cpu_s


def _ratio(pairs: list[tuple[float, float]]) -> float:
    return statistics.median(ours / bare for ours, bare in pairs)


async def stall_streams(folder: Path) -> dict[str, Any]:
    """Lateness of a tick on the screen's loop while 32 real streams arrive."""
    return await _stall(folder, streams=STREAMS)


async def stall_start(folder: Path) -> dict[str, Any]:
    """The same from the first frame on, while a worker starts."""
    return await _stall(folder, streams=0)


async def _stall(folder: Path, *, streams: int) -> dict[str, Any]:
    out = folder / "stall.json"
    async with MisbehavingServer() as server:
        command = [
            sys.executable,
            "-m",
            "tests.benchmarks.screen",
            f"http://127.0.0.1:{server.port}/ok@50/v1",
            str(streams),
            str(out),
        ]
        with Terminal(command, environ(folder)) as terminal:
            await asyncio.to_thread(
                terminal.drain_until, lambda: out.exists() or terminal.ended, 120
            )
    measured: dict[str, Any] = json.loads(out.read_text())
    return measured


# --- inside the terminal ----------------------------------------------------------------------


async def _watched(base: str, streams: int, out: Path) -> int:
    from ksi_tui import collector
    from ksi_tui.app import KsiApp, run_dashboard
    from ksi_tui.config import Config

    config = Config.model_validate(
        {
            "engine": {
                "database": str(out.with_name("ksi.db")),
                "responses_dir": str(out.with_name("responses")),
                "max_concurrency": STREAMS,
            },
            "providers": [{"name": "local", "models": ["gpt-*"], "api_base": base}],
        }
    )
    collector.calm()  # as the command does
    late, tasks = Lateness(), []

    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        from ksi_tui.engine import CompletionEngine

        async with CompletionEngine(config) as engine:
            tasks.append(asyncio.create_task(_load(engine, streams, late, out)))
            yield engine

    app = KsiApp(connect, ui=config.ui, name="bench")
    return await run_dashboard(app)


async def _load(engine: Any, streams: int, late: Lateness, out: Path) -> None:
    async with engine.subscribe("worker:started") as started:
        if streams:
            async for event in started:
                if event.name == "worker:started":
                    break
            for index in range(streams):
                await engine.emit(
                    "completion:async",
                    {"prompt": f"stream {index}", "model": "gpt-4o-mini", "max_tokens": 1000},
                )
            await _until_streaming(engine, streams)
        await late.watch(WATCHED_S)
    arrived = sum(row.tokens for row in engine.snapshot().active)
    whole = {"streams": streams, "tokens": arrived, **late.report()}
    part = out.with_suffix(".part")
    part.write_text(json.dumps(whole))
    part.rename(out)


async def _until_streaming(engine: Any, streams: int) -> None:
    async with engine.subscribe("completion:progress") as progress:
        while sum(row.ttft_s is not None for row in engine.snapshot().active) < streams:
            await anext(progress)


if __name__ == "__main__":
    sys.exit(asyncio.run(_watched(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
