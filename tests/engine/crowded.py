"""Databases that are full before an engine opens them: a backlog, a history, many sessions.

Written by SQL alone, so that twenty thousand requests cost a part of a second. What waits asks
for the model `stuck/x`, or for many of which each has a number behind that, which are for a
provider that is paused or serves nobody yet.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ksi_tui.engine.store import migrations
from tests.engine.store_values import T0

STUCK = "stuck"
"""The provider, paused, that all which waits is for."""

_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)"
_REQUESTS = f"""
INSERT INTO requests (row, request_id, session_id, asked_model, model, state, rank, place,
    queued_at, started_at, finished_at, finish_seq, max_attempts, timeout_s, needs_mcp, lock_fails)
{_NUMBERS}, m(i, name) AS (SELECT i, 'stuck/x' || iif(?6 > 1, i % ?6, '') FROM n)
SELECT i, 'old-' || i, 's-' || (i % ?3), name, name, ?4, 3, i, ?5,
    CASE ?4 WHEN 'completed' THEN ?5 END, CASE ?4 WHEN 'completed' THEN ?5 END,
    CASE ?4 WHEN 'completed' THEN i END, 3, 900.0, 0, 0 FROM m
"""
_PAYLOADS = """
INSERT INTO payloads (row, asked)
SELECT row, '{"max_attempts":3,"prompt":"question"}' FROM requests
"""
_REPLIES = """
INSERT INTO replies (row, text) SELECT row, 'answer' FROM requests WHERE state = 'completed'
"""
_CALLS = """
INSERT INTO calls (request_id, attempt, ordinal, provider, model, session_id, started_at,
    finished_at, outcome, asked_model, input, cache_read, cache_write, output, reasoning, estimated)
SELECT request_id, 1, 1, 'stuck', 'stuck/x', session_id, queued_at, queued_at + 1, 'answered',
    'stuck/x', 2, 0, 0, 2, 0, 0 FROM requests WHERE state = 'completed'
"""
_ATTEMPTS = """
INSERT INTO attempts (request_id, started_at, attempt, finished_at, verdicts, spent)
SELECT request_id, queued_at, 1, queued_at + 1, '[]', 1 FROM requests WHERE state = 'completed'
"""
_SESSIONS = """
INSERT INTO sessions (session_id, created_at, last_activity, request_count, turn_count)
SELECT session_id, MIN(queued_at), MAX(queued_at), COUNT(*), 0 FROM requests GROUP BY session_id
"""
_PAUSE = "INSERT INTO pauses (scope, id, since) VALUES ('provider', ?, ?)"


def fill(
    path: Path,
    *,
    queued: int = 0,
    ended: int = 0,
    sessions: int = 1,
    models: int = 1,
    at: float = T0,
    paused: bool = True,
) -> None:
    """Make a database that holds so many requests, in so many sessions, for so many models."""
    path.parent.mkdir(exist_ok=True)
    migrations.prepare(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        for state, first, count in (("completed", 1, ended), ("queued", ended + 1, queued)):
            if count:
                values = (first, first + count - 1, sessions, state, at, models)
                connection.execute(_REQUESTS, values)
        for statement in (_PAYLOADS, _REPLIES, _CALLS, _ATTEMPTS, _SESSIONS):
            connection.execute(statement)
        counters = {
            "queued": queued,
            "completed": ended,
            "next_place": ended + queued + 1,
            "next_finish_seq": ended + 1,
            "filed_seq": ended,
            "marked_seq": ended,
        }
        connection.executemany(
            "UPDATE counters SET value = ?2 WHERE name = ?1", list(counters.items())
        )
        if paused:
            connection.execute(_PAUSE, (STUCK, at))
        connection.execute("COMMIT")
