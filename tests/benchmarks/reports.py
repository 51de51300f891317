"""How long a usage report takes over a million records: each question that a person asks."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from ksi_tui.engine.store import migrations, usage_statements
from ksi_tui.engine.store.base import Store
from ksi_tui.engine.store.folding import fold_steps
from ksi_tui.engine.store.records import UsageQuery
from ksi_tui.engine.store.sqlite import SqliteStore, open_store

RECORDS: Final = 1_000_000
DAYS: Final = 30
AGENTS: Final = 100
SESSIONS: Final = 20_000
MODELS: Final = 12
_DAY_S: Final = 86_400
_END: Final = 1_800_057_600
_BEGIN: Final = _END - DAYS * _DAY_S
_TIMES: Final = 5

QUESTIONS: Final[Mapping[str, UsageQuery]] = {
    "all of it": UsageQuery(),
    "30 d": UsageQuery(since=_BEGIN + 1234),
    "24 h": UsageQuery(since=_END - _DAY_S),
    "by agent": UsageQuery(by="agent"),
    "by model, 30 d": UsageQuery(by="model", since=_BEGIN + 1234),
    "by provider, 24 h": UsageQuery(by="provider", since=_END - _DAY_S + 1234),
    "by day": UsageQuery(by="day"),
    "one agent": UsageQuery(agent_id="agent-7"),
    "one agent's models": UsageQuery(agent_id="agent-7", by="model"),
    "one session": UsageQuery(session_id="s-7"),
    "trend by hour, 30 d": UsageQuery(since=_BEGIN, bucket_s=3600),
    "trend by hour of an agent, 30 d": UsageQuery(agent_id="agent-7", since=_BEGIN, bucket_s=3600),
    "trend by minute, 24 h": UsageQuery(since=_END - _DAY_S, bucket_s=60),
    "the 100 largest sessions": UsageQuery(by="session", largest=100),
}

# Numbers that a hash of the row scatters: a session has one agent and two models.
_CALLS: Final = f"""
WITH RECURSIVE n (row) AS (SELECT 0 UNION ALL SELECT row + 1 FROM n WHERE row < ?1 - 1),
    made AS (
        SELECT row, {_BEGIN} + row * {DAYS * _DAY_S}.0 / ?1 AS at, row * 7919 % {SESSIONS} AS s
        FROM n
    )
INSERT INTO calls (request_id, attempt, ordinal, provider, model, agent_id, session_id, started_at,
    finished_at, outcome, asked_model, input, cache_read, cache_write, output, reasoning, estimated,
    cost, price_version, cache_savings)
SELECT 'r-' || row, 1, 1, 'p-' || ((s + row / {SESSIONS} % 2) % {MODELS} / 4),
    'm-' || ((s + row / {SESSIONS} % 2) % {MODELS}), 'agent-' || (s % {AGENTS}),
    's-' || s, at - 1, at,
    'answered', 'm', row * 31 % 4000, 500, 0,
    row * 17 % 900, 0, 0, CASE WHEN row % 3 THEN row % 97 / 1e4 END, 'map', 0.001
FROM made
"""


def _fill(path: Path, records: int) -> None:
    """Make a database of so many calls, with their sums as the engine would have written them."""
    migrations.prepare(path)
    names = ", ".join(("provider", "model", "agent_id"))
    sums = ", ".join(f"SUM({name})" for name in usage_statements.SUMS)
    columns = ", ".join(usage_statements.SUMS)
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.executescript("PRAGMA synchronous=OFF; PRAGMA cache_size=-256000; BEGIN")
        raw.execute(_CALLS, (records,))
        for day in range(DAYS):
            begin = _BEGIN + day * _DAY_S
            raw.execute(
                f"INSERT INTO usage_unfolded (start, {names}, {columns})"
                f" SELECT CAST(finished_at AS INTEGER) / 60 * 60 AS at, {names}, {sums}"
                " FROM usage_calls WHERE finished_at >= ? AND finished_at < ?"
                f" GROUP BY at, {names}",
                (begin, begin + _DAY_S),
            )
            for statement, rows in fold_steps(begin + _DAY_S):
                raw.executemany(statement, rows)
        raw.execute(
            f"INSERT INTO usage_sessions (session_id, {names}, {columns})"
            f" SELECT session_id, {names}, {sums} FROM usage_calls GROUP BY session_id, {names}"
        )
        raw.execute("COMMIT")


async def _took_ms(store: Store, query: UsageQuery) -> float:
    """Return the median of a few times that a question is asked, in milliseconds."""
    times = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        await store.usage(query)
        times.append((time.perf_counter() - began) * 1000)
    return sorted(times)[_TIMES // 2]


async def _statements(store: SqliteStore, query: UsageQuery) -> list[str]:
    """Return what a question is to SQLite, as text."""
    texts: list[str] = []
    await store._reads.set_trace_callback(texts.append)
    await store.usage(query)
    return texts


def _barely_ms(path: Path, statements: Sequence[str]) -> float:
    """Return the median of what SQLite alone takes for statements, in milliseconds."""
    times = []
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        for _ in range(_TIMES):
            began = time.perf_counter()
            for statement in statements:
                raw.execute(statement).fetchall()
            times.append((time.perf_counter() - began) * 1000)
    return sorted(times)[_TIMES // 2]


async def usage_million(folder: Path, records: int = RECORDS) -> dict[str, Any]:
    """Ask each question of a month of calls; medians in milliseconds, and the slowest of them."""
    path = folder / "usage.db"
    _fill(path, records)
    store = await open_store(path)
    try:
        ((_, totals),) = await store.usage(UsageQuery())
        if totals.calls != records:
            raise RuntimeError(f"{records} calls were made, the report counts {totals.calls}")
        took_ms = {name: await _took_ms(store, query) for name, query in QUESTIONS.items()}
        slowest = max(took_ms, key=lambda name: took_ms[name])
        statements = await _statements(store, QUESTIONS[slowest])
    finally:
        await store.aclose()
    return {
        "requests": records,
        "slowest": slowest,
        "slowest_ms": took_ms[slowest],
        "barely_ms": _barely_ms(path, statements),
        "took_ms": took_ms,
    }
