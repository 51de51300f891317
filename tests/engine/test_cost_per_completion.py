"""That a completion costs the same however much waits, for however many models, has ended, or
has a session.

Counted, not timed: SQL statements, steps of SQLite's machine, rows changed, lines of Python.
The least of a few completions is what one costs: only what a clock drives adds to it. How many
writes share a transaction is up to the disk, and each group takes a few lines of its own.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import aiosqlite

from ksi_tui.engine import CompletionEngine
from tests.engine.crowded import STUCK, fill
from tests.engine.engine_fixtures import config, provider

COMPLETIONS = 6
ALIKE = 1.05
"""How many times the lines of another is still the same; one look at a crowd is three times."""
SMALL = {"queued": 1_000, "ended": 100, "sessions": 10}
CROWDS = {
    "backlog": {**SMALL, "queued": 20_000},
    "history": {**SMALL, "ended": 20_000},
    "sessions": {**SMALL, "queued": 5_000, "sessions": 5_000},
    "models": {**SMALL, "queued": 5_000, "sessions": 5_000, "models": 5_000},
}
_SHORT = ("CONSTANT", "counters", "response_marks")
"""Tables whose length does not depend on what there is; the response files' writer reads them."""


class Cost(NamedTuple):
    """What one completion took."""

    statements: int
    steps: int
    rows: int
    lines: int


class _Counting:
    """Counts what two connections and the main thread do while it is on."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.steps = self.lines = 0

    async def watch(self, connection: aiosqlite.Connection) -> None:
        await connection.set_trace_callback(self.texts.append)
        await connection.set_progress_handler(self._step, 1)

    def _step(self) -> int:
        self.steps += 1
        return 0

    def trace(self, frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        ours = "/ksi_tui/" in frame.f_code.co_filename
        self.lines += event == "line" and ours
        return self.trace if ours else None


@asynccontextmanager
async def _engine(folder: Path, crowd: dict[str, Any]) -> AsyncIterator[CompletionEngine]:
    settings = config(
        folder,
        providers=[provider("p", "sim/*"), provider(STUCK, "stuck/*")],
        engine={"max_queue_depth": 100_000, "shutdown_grace_s": 0, "default_model": "sim/echo"},
    )
    fill(folder / "ksi.db", **crowd)
    async with CompletionEngine(settings) as engine:
        yield engine


async def _complete(engine: CompletionEngine) -> None:
    async with engine.subscribe("completion:result") as results:
        reply = await engine.emit("completion:async", {"prompt": "question", "stream": False})
        assert reply["status"] == "queued"
        async for event in results:
            if event.name == "completion:result":
                return


async def _costs(folder: Path, crowd: dict[str, int]) -> tuple[Cost, list[str]]:
    """Return the least that a completion took, and every statement that ran."""
    found: list[Cost] = []
    counting = _Counting()
    async with _engine(folder, crowd) as engine:
        parts = engine._parts
        assert parts is not None
        store: Any = parts.core.store
        await _complete(engine)
        await counting.watch(store._writer._connection)
        await counting.watch(store._reads)
        for _ in range(COMPLETIONS):
            before = (len(counting.texts), counting.steps, store._writer._group.total_changes)
            counting.lines = 0
            sys.settrace(counting.trace)
            try:
                await asyncio.create_task(_complete(engine))  # its frames begin under the trace
            finally:
                sys.settrace(None)
            now = (len(counting.texts), counting.steps, store._writer._group.total_changes)
            texts, steps, rows = (a - b for a, b in zip(now, before, strict=True))
            found.append(Cost(texts, steps, rows, counting.lines))
        assert parts.core.queue.waiting_count == crowd["queued"]
        for connection in (store._writer._connection, store._reads):
            await connection.set_progress_handler(None, 0)
            await connection.set_trace_callback(None)
    statements, steps, rows, lines = map(min, zip(*found, strict=True))
    return Cost(statements, steps, rows, lines), counting.texts


async def test_a_completion_costs_the_same_in_a_crowd(tmp_path: Path) -> None:
    costs: dict[str, Cost] = {}
    for name, crowd in {"small": SMALL, **CROWDS}.items():
        costs[name], _ = await _costs(tmp_path / name, crowd)
    assert min(costs["small"]) > 0
    counted = {name: cost._replace(lines=0) for name, cost in costs.items()}
    assert counted == dict.fromkeys(costs, counted["small"])
    lines = [cost.lines for cost in costs.values()]
    assert max(lines) <= ALIKE * min(lines), lines


async def test_no_statement_of_a_completion_scans(tmp_path: Path) -> None:
    _, texts = await _costs(tmp_path, SMALL)
    ran = Counter(text.split()[0] for text in texts)
    assert {"INSERT", "UPDATE"} <= {*ran}
    with closing(sqlite3.connect(tmp_path / "ksi.db")) as connection:
        plans = [
            (row[3], text)
            for text in {*texts}
            if text.split()[0] in ("INSERT", "UPDATE", "DELETE", "SELECT", "WITH")
            for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")
        ]
    assert any(step.startswith("SEARCH") for step, _ in plans)
    scans = [plan for plan in plans if plan[0].startswith("SCAN")]
    assert [plan for plan in scans if plan[0].split()[1] not in _SHORT] == []
