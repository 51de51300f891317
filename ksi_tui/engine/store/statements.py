"""Every SQL statement of the store but those about usage, which are in `usage_statements`.

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
VALUES (?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_PAYLOAD: Final = "INSERT INTO payloads (row, asked) VALUES (?, ?)"
ADD_LABEL: Final = "INSERT OR REPLACE INTO labels (row, key, value) VALUES (?, ?, ?)"

_MOVED: Final = """
    state = ?2, attempts = ?3, walks = ?4, interruptions = ?5, spent_s = ?6, retry_at = ?8"""
_BEGUN: Final = ", started_at = COALESCE(?7, started_at)"
# Who was begun and called nobody has not begun.
_BEGUN_OR_NOT: Final = """,
    started_at =
        CASE WHEN ?2 = 'queued' AND ?4 + ?5 = 0 THEN ?7 ELSE COALESCE(?7, started_at) END"""
_KEPT: Final = """,
    error_kind = COALESCE(?9, error_kind),
    error_message = CASE WHEN ?9 IS NULL THEN error_message ELSE ?10 END"""
_BY_HAND: Final = """,
    place = COALESCE(?11, place), model = COALESCE(?12, model),
    max_attempts = COALESCE(?13, max_attempts), avoid = COALESCE(?14, avoid)"""
_FORGOTTEN: Final = """,
    started_at = ?7, error_kind = ?9, error_message = ?10, queued_at = COALESCE(?15, queued_at),
    finished_at = NULL, finish_seq = NULL, provider = NULL, answered_model = NULL, ttft_ms = NULL,
    ended_by = NULL, reason = NULL"""

MOVE: Final = f"UPDATE requests SET {_MOVED}{_BEGUN_OR_NOT}{_KEPT} WHERE request_id = ?1"
REDIRECT: Final = f"UPDATE requests SET {_MOVED}{_BEGUN}{_KEPT}{_BY_HAND} WHERE request_id = ?1"
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
CALL_COLUMNS: Final = """request_id, attempt, ordinal, provider, model, agent_id, session_id,
    started_at, finished_at, outcome, asked_model, first_token_at, last_token_at, error_kind,
    error_message, status, input, cache_read, cache_write, output, reasoning, estimated, raw_usage,
    cost, price_version, partial_text, upstream_closed_ms, mcp, tool_schema_tokens, cache_savings"""
ADD_CALL: Final = f"INSERT INTO calls ({CALL_COLUMNS}) VALUES ({', '.join('?' * 30)})"
FORGET_TURNS: Final = "DELETE FROM turns WHERE session_id = ?"
COUNT_NO_TURNS: Final = "UPDATE sessions SET turn_count = 0 WHERE session_id = ?"
ADD_TURN: Final = "INSERT INTO turns (session_id, chars, pair) VALUES (?, ?, ?)"
_TO_SESSION: Final = """
INSERT INTO sessions (session_id, created_at, last_activity, request_count, turn_count, ended_at)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (session_id) DO UPDATE SET
    created_at = MIN(created_at, excluded.created_at),
    last_activity = MAX(last_activity, excluded.last_activity),
    request_count = request_count + excluded.request_count,
    turn_count = turn_count + excluded.turn_count"""
TOUCH_SESSION: Final = f"{_TO_SESSION}, ended_at = excluded.ended_at"
ADD_TO_SESSION: Final = _TO_SESSION
ADD_AGENT: Final = "INSERT OR IGNORE INTO session_agents (session_id, agent_id) VALUES (?, ?)"
SAVE_LOCK: Final = """
INSERT OR REPLACE INTO locks (session_id, holder, granted_at, expires_at, hold_s, extended,
    request_id)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
DROP_LOCK: Final = "DELETE FROM locks WHERE session_id = ?"
SAVE_PAUSE: Final = """
INSERT OR REPLACE INTO pauses (scope, id, by, reason, since) VALUES (?, ?, ?, ?, ?)
"""
DROP_PAUSE: Final = "DELETE FROM pauses WHERE scope = ? AND id = ?"
SAVE_PROVIDER: Final = "INSERT OR REPLACE INTO providers (provider, state) VALUES (?, ?)"
SAVE_ADMISSION: Final = """
INSERT OR REPLACE INTO admissions (provider, number, at, tokens) VALUES (?, ?, ?, ?)
"""
ADD_ACTION: Final = """
INSERT INTO actions (at, name, target, by, reason, detail) VALUES (?, ?, ?, ?, ?, ?)
"""
ADD_CHAIN: Final = """
INSERT OR REPLACE INTO chains (request_id, parent_id, root_id, depth)
SELECT ?1, ?2, COALESCE(p.root_id, ?2), COALESCE(p.depth, 1) + 1
FROM (SELECT 1) LEFT JOIN chains p ON p.request_id = ?2
"""
_INJECTION: Final = """injection_id, session_id, mode, position, content, created_at, source_id,
    trigger_type, follow_up_guidance, expires_at, state, request_id, bound_at, blocked"""
ADD_INJECTION: Final = f"""
INSERT OR IGNORE INTO injections ({_INJECTION}) VALUES ({", ".join("?" * 14)})
"""
MOVE_INJECTION: Final = """
UPDATE injections SET state = ?2, request_id = ?3,
    bound_at = CASE WHEN ?3 IS NULL THEN NULL ELSE COALESCE(bound_at, ?4) END,
    mode = CASE ?2 WHEN 'queued' THEN 'direct' ELSE mode END
WHERE injection_id = ?1
"""
FORGET_INJECTION: Final = """
DELETE FROM injections WHERE injection_id = ? AND state IN ('expired', 'cleared')
    AND NOT EXISTS (SELECT 1 FROM requests WHERE request_id = source_id)
"""
SAVE_TERMS: Final = """
INSERT OR REPLACE INTO injection_terms (request_id, terms, bounds, owed) VALUES (?, ?, ?, ?)
"""
DROP_TERMS: Final = "DELETE FROM injection_terms WHERE request_id = ?"
ADD_TO_COUNTER: Final = "UPDATE counters SET value = value + ?2 WHERE name = ?1"
RAISE_COUNTER: Final = "UPDATE counters SET value = MAX(value, ?2) WHERE name = ?1"

# --- housekeeping -------------------------------------------------------------------------

DROP_MARKS: Final = "DELETE FROM response_marks"
ADD_MARK: Final = "INSERT INTO response_marks (name, length) VALUES (?, ?)"
MARKS: Final = "SELECT name, length FROM response_marks"
COUNT_UNFILED: Final = """
SELECT COUNT(*) FROM requests WHERE state = 'completed' AND finish_seq > ?"""
UNFILED: Final = """
SELECT r.finish_seq, r.session_id, y.result FROM requests r CROSS JOIN replies y ON y.row = r.row
WHERE r.state = 'completed' AND r.finish_seq > ? AND r.finish_seq <= ? AND y.result IS NOT NULL
ORDER BY r.finish_seq LIMIT ?"""

# Of a request that was retried since it was found old, nothing goes: its number has changed.
_GONE: Final = "FROM requests WHERE row = ?1 AND finish_seq = ?2"
REMOVE_REQUEST: Final = (
    f"UPDATE counters SET value = value - 1 WHERE name = (SELECT state {_GONE})",
    f"DELETE FROM attempts WHERE request_id = (SELECT request_id {_GONE})",
    f"DELETE FROM calls WHERE request_id = (SELECT request_id {_GONE})",
    f"DELETE FROM actions WHERE target = (SELECT request_id {_GONE})",
    f"DELETE FROM injection_terms WHERE request_id = (SELECT request_id {_GONE})",
    f"DELETE FROM payloads WHERE row = (SELECT row {_GONE})",
    f"DELETE FROM replies WHERE row = (SELECT row {_GONE})",
    f"DELETE FROM labels WHERE row = (SELECT row {_GONE})",
    f"DELETE {_GONE}",
)
_HOLDS_NOTHING: Final = """
    AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.session_id = s.session_id)
    AND NOT EXISTS (SELECT 1 FROM locks l WHERE l.session_id = s.session_id)"""
REMOVE_SESSION: Final = f"""
DELETE FROM sessions AS s WHERE session_id = ?1 AND last_activity < ?2 {_HOLDS_NOTHING}"""
REMOVE_OF_SESSION: Final = tuple(
    f"DELETE FROM {table} WHERE session_id = ?1"
    " AND NOT EXISTS (SELECT 1 FROM sessions WHERE session_id = ?1)"
    for table in ("session_agents", "turns", "usage_sessions")
)
REMOVE_ACTION: Final = "DELETE FROM actions WHERE row = ?"

OLDEST_ENDED: Final = """
SELECT row, finish_seq, request_id, session_id, finished_at FROM requests
WHERE state = ? AND finish_seq > ? AND finish_seq <= ? ORDER BY finish_seq LIMIT ?"""
SESSION_IDS: Final = """
SELECT session_id FROM sessions WHERE session_id > ? ORDER BY session_id LIMIT ?"""
DESERTED: Final = f"""
SELECT s.session_id, s.turn_count FROM json_each(?1) g CROSS JOIN sessions s
    ON s.session_id = g.value
WHERE s.last_activity < ?2 {_HOLDS_NOTHING}"""
OLDEST_ACTIONS: Final = """
SELECT a.row, a.at, EXISTS (SELECT 1 FROM requests r WHERE r.request_id = a.target)
FROM actions a WHERE a.row > ? ORDER BY a.row LIMIT ?"""

# --- questions ----------------------------------------------------------------------------

_UNFINISHED: Final = """
SELECT request_id, session_id, agent_id, model, state, rank, place, queued_at, started_at, retry_at,
    attempts, walks, interruptions, max_attempts, timeout_s, spent_s, stream, needs_mcp,
    lock_timeout_s, lock_fails, avoid, error_kind, error_message,
    COALESCE(tokens, 0)
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
PAUSES: Final = "SELECT scope, id, by, reason, since FROM pauses ORDER BY since, scope, id"
PROVIDERS: Final = "SELECT provider, state FROM providers"
ADMISSIONS: Final = "SELECT provider, number, at, tokens FROM admissions"
COUNTERS: Final = "SELECT name, value FROM counters"
INJECTIONS_ALIVE: Final = """
SELECT injection_id, session_id, LENGTH(content) + LENGTH(COALESCE(follow_up_guidance, '')),
    expires_at, request_id
FROM injections WHERE state IN ('pending', 'bound') ORDER BY row
"""
INJECTION_TERMS: Final = "SELECT request_id, terms, bounds, owed FROM injection_terms"

_REQUEST: Final = """
SELECT r.request_id, r.session_id, r.agent_id, r.asked_model, r.model, r.state, r.rank, r.place,
    r.queued_at, r.started_at, r.finished_at, r.finish_seq, r.retry_at, r.attempts, r.walks,
    r.interruptions, r.max_attempts, r.timeout_s, r.spent_s, r.stream, r.lock_timeout_s,
    r.lock_fails, r.avoid, r.provider, r.answered_model, r.ttft_ms, r.error_kind, r.error_message,
    r.ended_by, r.reason, p.asked"""
_ASKED: Final = "FROM requests r LEFT JOIN payloads p ON p.row = r.row"
ONE_REQUEST: Final = f"""{_REQUEST}, y.text, y.result, r.tokens
{_ASKED} LEFT JOIN replies y ON y.row = r.row WHERE r.request_id = ?"""
SESSION_REQUESTS: Final = f"""{_REQUEST}, NULL, NULL, r.tokens
{_ASKED} WHERE r.session_id = ? ORDER BY r.place DESC LIMIT ?"""
SOME_REQUESTS: Final = f"""{_REQUEST}, NULL, NULL, r.tokens
{_ASKED} WHERE r.request_id IN (SELECT value FROM json_each(?)) ORDER BY r.place"""
ATTEMPTS_OF: Final = """
SELECT request_id, attempt, started_at, finished_at, verdicts, error_kind, retry_at, spent
FROM attempts WHERE request_id = ? ORDER BY started_at, attempt
"""
CALLS_OF: Final = f"SELECT row, {CALL_COLUMNS} FROM calls WHERE request_id = ? ORDER BY row"
ACTIONS_OF: Final = """
SELECT at, name, target, by, reason, detail FROM actions WHERE target = ? ORDER BY row
"""
SPECS: Final = """
SELECT r.request_id, r.session_id, r.agent_id, r.asked_model, r.rank, r.timeout_s, r.stream,
    r.lock_timeout_s, r.lock_fails, p.asked
FROM requests r JOIN payloads p ON p.row = r.row
WHERE r.request_id IN (SELECT value FROM json_each(?))
"""
INJECTIONS: Final = f"""
SELECT {_INJECTION} FROM injections WHERE injection_id IN (SELECT value FROM json_each(?))
ORDER BY row
"""
INJECTIONS_ABOUT: Final = f"""
SELECT row, {_INJECTION} FROM injections WHERE source_id = ?1
UNION SELECT row, {_INJECTION} FROM injections WHERE request_id = ?1 ORDER BY row
"""
DIRECT_OF: Final = """
SELECT request_id FROM injections
WHERE request_id IN (SELECT value FROM json_each(?)) AND mode = 'direct'
"""
CHAIN: Final = """
SELECT COALESCE(c.root_id, r.request_id), COALESCE(c.depth, 1), COALESCE(o.queued_at, r.queued_at)
FROM requests r LEFT JOIN chains c ON c.request_id = r.request_id
    LEFT JOIN requests o ON o.request_id = c.root_id
WHERE r.request_id = ?
"""
TOKENS: Final = "TOTAL(u.input + u.cache_read + u.cache_write + u.output + u.reasoning)"
ROOT_TOKENS: Final = f"SELECT {TOKENS} FROM usage_calls u WHERE u.request_id = ?"
CHAIN_TOKENS: Final = f"""
SELECT {TOKENS} FROM chains c CROSS JOIN usage_calls u ON u.request_id = c.request_id
WHERE c.root_id = ?
"""
STATES: Final = """
SELECT request_id, state FROM requests WHERE request_id IN (SELECT value FROM json_each(?))
"""
IN_ORDER: Final = """
SELECT request_id FROM requests WHERE request_id IN (SELECT value FROM json_each(?)) ORDER BY place
"""
SESSIONS_OF: Final = """
SELECT request_id, session_id FROM requests
WHERE request_id IN (SELECT value FROM json_each(?))
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
WHERE r.session_id = ?1 AND r.finish_seq > ?2 AND (?3 IS NULL OR +r.state = ?3)
ORDER BY r.finish_seq LIMIT ?4"""
RESULTS_OF: Final = f"""{_RESULT}
WHERE r.request_id IN (SELECT value FROM json_each(?)) AND +r.finish_seq > 0"""
CALL_USAGE_OF: Final = """
SELECT request_id, outcome, input, cache_read, cache_write, output, reasoning, estimated, cost
FROM calls WHERE request_id IN (SELECT value FROM json_each(?)) ORDER BY row
"""
