"""How long a filter over a hundred thousand unfinished and as many ended requests takes.

And how late the engine's loop turns meanwhile: the one that a dashboard shares.
"""

from __future__ import annotations

import gc
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from ksi_tui import collector
from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.store import migrations
from tests.benchmarks.lateness import Lateness

ENDED: Final = 100_000
QUEUED: Final = 100_000
SESSIONS: Final = 10_000
CANCELLED: Final = 10_000
_TIMES: Final = 5

COMMON: Final = (
    "",
    "acme-42",
    "session:acme-42",
    "meta.customer:globex",
    "status:failed",
    "status:failed age<1h error:rate",
    "provider:p-1 tokens>1k",
    "model:gpt -agent:agent-7",
    "cost>0.005",
)
"""What a person types; each is answered from disk, with what runs from memory."""
WALKS: Final = ("why:paused", "-why:behind", "status:waiting")
"""What only memory knows: every session is looked at."""

_REQUESTS: Final = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :all)
INSERT INTO requests (row, request_id, session_id, agent_id, asked_model, model, state, rank, place,
    queued_at, started_at, finished_at, finish_seq, attempts, walks, max_attempts, timeout_s,
    needs_mcp, lock_fails, provider, answered_model, ttft_ms, error_kind, error_message)
SELECT i, 'r-' || i, 'acme-' || (i * 7919 % :sessions), 'agent-' || (i % 50), 'gpt-4o-mini',
    'gpt-4o-mini',
    CASE WHEN i > :ended THEN 'queued' WHEN i % 20 = 0 THEN 'failed' ELSE 'completed' END, 3, i,
    :now - (:all - i) * 0.1,
    CASE WHEN i <= :ended THEN :now - (:all - i) * 0.1 END,
    CASE WHEN i <= :ended THEN :now - (:all - i) * 0.1 + 2 + i % 70 / 10.0 END,
    CASE WHEN i <= :ended THEN i END, i <= :ended, i <= :ended, 3, 900.0, 0, 0,
    CASE WHEN i <= :ended THEN 'p-' || (i % 3) END,
    CASE WHEN i <= :ended THEN 'gpt-4o-mini-2024' END, CASE WHEN i <= :ended THEN 200 + i % 900 END,
    CASE WHEN i <= :ended AND i % 20 = 0 THEN 'api_rate_limit' END,
    CASE WHEN i <= :ended AND i % 20 = 0 THEN '429: rate limit reached, try again in 20 s' END
FROM n"""
_FILL: Final = (
    """INSERT INTO payloads SELECT row, json_object('max_attempts', 3, 'prompt',
        printf('%.*c', 400, 'x'), 'metadata',
        json_object('customer', CASE row % 500 WHEN 7 THEN 'globex' ELSE 'c-' || row % 500 END))
    FROM requests""",
    """INSERT INTO labels SELECT row, 'customer', asked ->> '$.metadata.customer' FROM payloads""",
    """INSERT INTO calls (request_id, attempt, ordinal, provider, model, session_id, started_at,
        finished_at, outcome, asked_model, input, cache_read, cache_write, output, reasoning,
        estimated, cost)
    SELECT request_id, 1, 1, provider, answered_model, session_id, started_at, finished_at,
        'answered', asked_model, row % 3000, 0, 0, row % 500, 0, 0, row % 97 / 1e4
    FROM requests WHERE finish_seq IS NOT NULL""",
    """INSERT INTO sessions SELECT session_id, MIN(queued_at), MAX(queued_at), COUNT(*), 0, NULL
    FROM requests GROUP BY session_id""",
    """UPDATE counters SET value = (SELECT COUNT(*) FROM requests WHERE state = name)
    WHERE name IN ('queued', 'completed', 'failed')""",
    """UPDATE counters SET value = (SELECT MAX(row) + 1 FROM requests)
    WHERE name IN ('next_place', 'next_number')""",
    """UPDATE counters SET value = (SELECT MAX(finish_seq) + 1 FROM requests)
    WHERE name = 'next_finish_seq'""",
    """UPDATE counters SET value = (SELECT MAX(finish_seq) FROM requests)
    WHERE name IN ('filed_seq', 'marked_seq')""",
    "INSERT INTO pauses (scope, id, since) VALUES ('engine', '', 0)",
)


def _fill(path: Path) -> None:
    """Make a database as an engine would have left it."""
    migrations.prepare(path)
    sizes = {"all": ENDED + QUEUED, "ended": ENDED, "sessions": SESSIONS, "now": time.time()}
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.executescript("PRAGMA synchronous=OFF; PRAGMA cache_size=-256000; BEGIN")
        raw.execute(_REQUESTS, sizes)
        for statement in _FILL:
            raw.execute(statement)
        raw.execute("COMMIT")


async def _took(ask: Callable[[], Awaitable[Mapping[str, Any]]], times: int) -> dict[str, Any]:
    """Return the median time of a question in ms, and how late the loop turned meanwhile."""
    took, late = [], Lateness()
    async with late.on():
        for _ in range(times):
            began = time.perf_counter()
            reply = await ask()
            took.append((time.perf_counter() - began) * 1000)
            if "error" in reply:
                raise RuntimeError(reply["error"])
    return {"ms": sorted(took)[len(took) // 2], **late.report()}


def _worst(measured: Mapping[str, Mapping[str, Any]], name: str) -> float:
    return max(float(each[name]) for each in measured.values())


async def finding(folder: Path) -> dict[str, Any]:
    """Ask each filter a few times; then cancel ten thousand requests at once and take it back."""
    path = folder / "ksi.db"
    _fill(path)
    collector.calm()  # as the command does
    settings = Config.model_validate(
        {
            "engine": {"database": str(path), "responses_dir": str(folder / "responses")},
            "providers": [{"name": "p", "kind": "simulated", "models": ["*"], "model": "sim/echo"}],
        }
    )
    async with CompletionEngine(settings) as engine:

        def asking(name: str, **data: Any) -> Callable[[], Awaitable[Mapping[str, Any]]]:
            return lambda: engine.emit(name, data)

        gc.collect()
        gc.freeze()  # as the dashboard does once it is connected
        await engine.emit("completion:requests")
        found = {
            text: await _took(asking("completion:requests", filter=text), _TIMES)
            for text in (*COMMON, *WALKS)
        }
        ids = await engine.emit("completion:requests", {"filter": "status:queued", "ids_only": 1})
        some = random.Random(1).sample(ids["ids"], CANCELLED)
        stop = await _took(asking("completion:cancel", request_ids=some), 1)
        undo = await _took(asking("completion:retry", request_ids=some, in_place=True), 1)
        left = await engine.emit("completion:requests", {"filter": "status:queued", "limit": 1})
        if left["total"] != QUEUED:
            raise RuntimeError(f"{left['total']} are queued after the undo, {QUEUED} were before")
    common = {text: found[text] for text in COMMON}
    walks = {text: found[text] for text in WALKS}
    return {
        "requests": ENDED + QUEUED,
        "common_ms": _worst(common, "ms"),
        "walk_ms": _worst(walks, "ms"),
        "stall_p99_ms": _worst(found, "stall_p99_ms"),
        "bulk_ms": max(stop["ms"], undo["ms"]),
        "bulk_stall_p99_ms": max(stop["stall_p99_ms"], undo["stall_p99_ms"]),
        "found": found,
        "bulk": {"cancel": stop, "undo": undo},
    }
