"""Every SQL statement of the store, so that no other module holds any.

Text only. What a statement is for stands with the code that runs it; the schema is in
`schema/`. Lists of values travel as one JSON array (`json_each`), so that the text of
a statement never depends on how many there are.
"""

# Nothing but the fixed texts of this module is ever put together here.
# ruff: noqa: S608

from __future__ import annotations

from typing import Final

# --- writes -----------------------------------------------------------------------------

ACCEPT: Final = """
INSERT INTO requests (row, request_id, session_id, agent_id, asked_model, model, state, rank, place,
    queued_at, max_attempts, timeout_s, stream, needs_mcp, lock_timeout_s, lock_fails)
VALUES (?1, ?2, ?3, ?4, ?5, ?5, 'queued', ?6, ?1, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
"""
ADD_PAYLOAD: Final = "INSERT INTO payloads (row, asked) VALUES (?, ?)"

_MOVED: Final = """
    state = ?2, attempts = ?3, walks = ?4, interruptions = ?5, spent_s = ?6, retry_at = ?8"""
_KEPT: Final = """,
    started_at = COALESCE(?7, started_at),
    error_kind = COALESCE(?9, error_kind),
    error_message = CASE WHEN ?9 IS NULL THEN error_message ELSE ?10 END"""
_BY_HAND: Final = """,
    place = COALESCE(?11, place), model = COALESCE(?12, model),
    max_attempts = COALESCE(?13, max_attempts), avoid = COALESCE(?14, avoid)"""
_FORGOTTEN: Final = """,
    started_at = ?7, error_kind = ?9, error_message = ?10, queued_at = COALESCE(?15, queued_at),
    finished_at = NULL, finish_seq = NULL, provider = NULL, answered_model = NULL, ttft_ms = NULL,
    ended_by = NULL, reason = NULL"""

MOVE: Final = f"UPDATE requests SET {_MOVED}{_KEPT} WHERE request_id = ?1"
REDIRECT: Final = f"UPDATE requests SET {_MOVED}{_KEPT}{_BY_HAND} WHERE request_id = ?1"
REOPEN: Final = f"UPDATE requests SET {_MOVED}{_FORGOTTEN}{_BY_HAND} WHERE request_id = ?1"
DROP_REPLY: Final = """
DELETE FROM replies WHERE row = (SELECT row FROM requests WHERE request_id = ?)
"""
FINISH: Final = """
UPDATE requests SET
    state = ?2, finished_at = ?3, finish_seq = ?4, attempts = ?5, walks = ?6, interruptions = ?7,
    spent_s = ?8, started_at = COALESCE(?9, started_at), retry_at = NULL, ttft_ms = ?10,
    provider = ?11, answered_model = ?12, error_kind = ?13, error_message = ?14, ended_by = ?15,
    reason = ?16
WHERE request_id = ?1
"""
ADD_REPLY: Final = """
INSERT OR REPLACE INTO replies (row, text, result)
SELECT row, ?2, ?3 FROM requests WHERE request_id = ?1
"""
ADD_ATTEMPT: Final = """
INSERT OR REPLACE INTO attempts (request_id, started_at, attempt, finished_at, verdicts, error_kind,
    retry_at, spent)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_CALL: Final = """request_id, attempt, ordinal, provider, model, agent_id, session_id, started_at,
    finished_at, outcome, asked_model, first_token_at, last_token_at, error_kind, error_message,
    status, input, cache_read, cache_write, output, reasoning, estimated, raw_usage, cost,
    price_version, partial_text, upstream_closed_ms"""
ADD_CALL: Final = f"INSERT INTO calls ({_CALL}) VALUES ({', '.join('?' * 27)})"
ADD_TURN: Final = "INSERT INTO turns (session_id, chars, pair) VALUES (?, ?, ?)"
TOUCH_SESSION: Final = """
INSERT INTO sessions (session_id, created_at, last_activity, request_count, turn_count, ended_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (session_id) DO UPDATE SET
    created_at = MIN(created_at, excluded.created_at),
    last_activity = MAX(last_activity, excluded.last_activity),
    request_count = request_count + excluded.request_count,
    turn_count = turn_count + excluded.turn_count,
    ended_at = CASE WHEN ?7 THEN excluded.ended_at ELSE ended_at END
"""
ADD_AGENT: Final = "INSERT OR IGNORE INTO session_agents (session_id, agent_id) VALUES (?, ?)"
SAVE_LOCK: Final = """
INSERT OR REPLACE INTO locks (session_id, holder, granted_at, expires_at, hold_s, extended,
    request_id)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
DROP_LOCK: Final = "DELETE FROM locks WHERE session_id = ?"
SAVE_PROVIDER: Final = "INSERT OR REPLACE INTO providers (provider, state) VALUES (?, ?)"
ADD_ACTION: Final = """
INSERT INTO actions (at, name, target, by, reason, detail) VALUES (?, ?, ?, ?, ?, ?)
"""
ADD_TO_COUNTER: Final = "UPDATE counters SET value = value + ?2 WHERE name = ?1"
RAISE_COUNTER: Final = "UPDATE counters SET value = MAX(value, ?2) WHERE name = ?1"

SUMS: Final = (
    "requests",
    "calls",
    "input",
    "cache_read",
    "cache_write",
    "output",
    "reasoning",
    "cost",
    "unpriced",
    "estimated",
    "waste_tokens",
    "waste_cost",
    "waste_calls",
    "waste_s",
)
"""The columns that are summed, in the order of `usage.Sums`."""


def _add_sums(table: str, keys: tuple[str, ...]) -> str:
    columns = ", ".join(keys + SUMS)
    marks = ", ".join("?" * (len(keys) + len(SUMS)))
    adds = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
    return (
        f"INSERT INTO {table} ({columns}) VALUES ({marks})"
        f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {adds}"
    )


ADD_SPAN: Final = _add_sums("usage_spans", ("span_s", "start", "provider", "model", "agent_id"))
ADD_SESSION_USAGE: Final = _add_sums(
    "usage_sessions", ("session_id", "provider", "model", "agent_id")
)

# --- questions ----------------------------------------------------------------------------

_UNFINISHED: Final = """
SELECT request_id, session_id, agent_id, model, state, rank, place, queued_at, started_at, retry_at,
    attempts, walks, interruptions, max_attempts, timeout_s, spent_s, stream, needs_mcp,
    lock_timeout_s, lock_fails, avoid, error_kind, error_message
FROM requests"""
ALL_UNFINISHED: Final = f"{_UNFINISHED} WHERE finish_seq IS NULL ORDER BY place"
SOME_UNFINISHED: Final = f"""{_UNFINISHED}
WHERE request_id IN (SELECT value FROM json_each(?)) AND +finish_seq IS NULL ORDER BY place"""

_SESSION: Final = "SELECT session_id, created_at, last_activity, request_count, turn_count"
OPEN_SESSIONS: Final = """
SELECT s.session_id, s.created_at, s.last_activity, s.request_count, s.turn_count, a.agent_id
FROM (
        SELECT session_id FROM requests WHERE finish_seq IS NULL UNION SELECT session_id FROM locks
    ) waiting
    CROSS JOIN sessions s ON s.session_id = waiting.session_id
    LEFT JOIN session_agents a ON a.session_id = s.session_id
"""
ONE_SESSION: Final = f"{_SESSION} FROM sessions WHERE session_id = ?"
SESSION_AGENTS: Final = "SELECT agent_id FROM session_agents WHERE session_id = ? ORDER BY agent_id"
SESSIONS_NAMED: Final = """
SELECT session_id FROM sessions WHERE session_id IN (SELECT value FROM json_each(?))
"""
LOCKS: Final = """
SELECT session_id, holder, granted_at, expires_at, hold_s, extended, request_id FROM locks
"""
PROVIDERS: Final = "SELECT provider, state FROM providers"
COUNTERS: Final = "SELECT name, value FROM counters"

_REQUEST: Final = """
SELECT r.request_id, r.session_id, r.agent_id, r.asked_model, r.model, r.state, r.rank, r.place,
    r.queued_at, r.started_at, r.finished_at, r.finish_seq, r.retry_at, r.attempts, r.walks,
    r.interruptions, r.max_attempts, r.timeout_s, r.spent_s, r.stream, r.lock_timeout_s,
    r.lock_fails, r.avoid, r.provider, r.answered_model, r.ttft_ms, r.error_kind, r.error_message,
    r.ended_by, r.reason, p.asked, y.text, y.result
FROM requests r LEFT JOIN payloads p ON p.row = r.row LEFT JOIN replies y ON y.row = r.row"""
ONE_REQUEST: Final = f"{_REQUEST} WHERE r.request_id = ?"
SESSION_REQUESTS: Final = f"{_REQUEST} WHERE r.session_id = ? ORDER BY r.place DESC LIMIT ?"
ATTEMPTS_OF: Final = """
SELECT request_id, attempt, started_at, finished_at, verdicts, error_kind, retry_at, spent
FROM attempts WHERE request_id = ? ORDER BY started_at, attempt
"""
CALLS_OF: Final = f"SELECT row, {_CALL} FROM calls WHERE request_id = ? ORDER BY row"
ACTIONS_OF: Final = """
SELECT at, name, target, by, reason, detail FROM actions WHERE target = ? ORDER BY row
"""
SPECS: Final = """
SELECT r.request_id, r.session_id, r.agent_id, r.asked_model, r.rank, r.timeout_s, r.stream,
    r.lock_timeout_s, r.lock_fails, p.asked
FROM requests r JOIN payloads p ON p.row = r.row
WHERE r.request_id IN (SELECT value FROM json_each(?))
"""
STATES: Final = """
SELECT request_id, state FROM requests WHERE request_id IN (SELECT value FROM json_each(?))
"""
TURNS: Final = """
SELECT row, chars, pair FROM turns WHERE session_id = ? AND row < ? ORDER BY row DESC LIMIT ?
"""

_RESULT: Final = """
SELECT r.finish_seq, r.request_id, r.session_id, r.agent_id, r.state, y.text, y.result, r.provider,
    r.model, r.answered_model, r.asked_model, r.attempts, r.error_kind, r.error_message,
    r.queued_at, r.started_at, r.finished_at, r.ttft_ms
FROM requests r LEFT JOIN replies y ON y.row = r.row"""
RESULTS_BY_STATE: Final = f"""{_RESULT}
WHERE r.state = ? AND r.finish_seq > ? ORDER BY r.finish_seq LIMIT ?"""
RESULTS_OF_SESSION: Final = f"""{_RESULT}
WHERE r.session_id = ?1 AND +r.finish_seq > ?2 AND (?3 IS NULL OR +r.state = ?3)
ORDER BY +r.finish_seq LIMIT ?4"""
RESULTS_OF: Final = f"""{_RESULT}
WHERE r.request_id IN (SELECT value FROM json_each(?)) AND +r.finish_seq > 0"""
CALL_USAGE_OF: Final = """
SELECT request_id, outcome, input, cache_read, cache_write, output, reasoning, estimated, cost
FROM calls WHERE request_id IN (SELECT value FROM json_each(?)) ORDER BY row
"""

_SUM_COLUMNS: Final = ", ".join(f"TOTAL(u.{name})" for name in SUMS)

SPANS: Final = "usage_spans u"
SESSIONS: Final = "usage_sessions u"
CALLS: Final = "usage_calls u"
CALLS_OF_SESSION: Final = "requests r CROSS JOIN usage_calls u ON u.request_id = r.request_id"


def sums(source: str, key: str, where: str) -> str:
    """Return the statement that sums the calls of `source` by `key` (a column expression)."""
    return f"SELECT {key} AS k, {_SUM_COLUMNS} FROM {source} WHERE {where} GROUP BY k ORDER BY k"


def call_records(*, of_session: bool, where: str) -> str:
    """Return the statement that lists single calls by rising row; the limit comes last."""
    columns = ", ".join(f"u.{name.strip()}" for name in _CALL.split(","))
    source = "requests r CROSS JOIN calls u ON u.request_id = r.request_id"
    return (
        f"SELECT u.row, {columns} FROM {source if of_session else 'calls u'}"
        f" WHERE {where} ORDER BY u.row LIMIT ?"
    )


FIRST_CALL_SINCE: Final = "SELECT MIN(+row) FROM calls WHERE finished_at >= ?"
