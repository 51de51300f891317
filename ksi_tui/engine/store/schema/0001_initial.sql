-- Times are epoch seconds (UTC). A request is unfinished exactly while finish_seq is NULL.

CREATE TABLE requests (
    row            INTEGER PRIMARY KEY, -- its place when it was accepted: unique, rising
    request_id     TEXT NOT NULL UNIQUE,
    session_id     TEXT NOT NULL,
    agent_id       TEXT,
    asked_model    TEXT NOT NULL,
    model          TEXT NOT NULL,
    state          TEXT NOT NULL,
    rank           INTEGER NOT NULL,    -- of its priority; the level follows from it
    place          INTEGER NOT NULL,
    queued_at      REAL NOT NULL,
    started_at     REAL,
    finished_at    REAL,
    finish_seq     INTEGER,
    retry_at       REAL,
    attempts       INTEGER NOT NULL DEFAULT 0,
    walks          INTEGER NOT NULL DEFAULT 0,
    interruptions  INTEGER NOT NULL DEFAULT 0,
    max_attempts   INTEGER NOT NULL,
    timeout_s      REAL NOT NULL,
    spent_s        REAL NOT NULL DEFAULT 0,
    stream         INTEGER,
    needs_mcp      INTEGER NOT NULL,
    lock_timeout_s REAL,
    lock_fails     INTEGER NOT NULL,
    avoid          TEXT,                -- JSON array
    provider       TEXT,
    answered_model TEXT,
    ttft_ms        REAL,
    error_kind     TEXT,
    error_message  TEXT,
    ended_by       TEXT,
    reason         TEXT
) STRICT;
CREATE INDEX requests_unfinished ON requests (place) WHERE finish_seq IS NULL;
CREATE UNIQUE INDEX requests_finished ON requests (state, finish_seq) WHERE finish_seq IS NOT NULL;
CREATE INDEX requests_session ON requests (session_id, place);

-- Big values stand apart, so that an update of a request does not rewrite them and the
-- list of the unfinished does not read them.
CREATE TABLE payloads (
    row   INTEGER PRIMARY KEY, -- requests.row
    asked TEXT NOT NULL        -- JSON: what of the RequestSpec has no column
) STRICT;
CREATE TABLE replies (
    row    INTEGER PRIMARY KEY, -- requests.row
    text   TEXT,                -- NULL where it is the content of the result
    result TEXT                 -- JSON: the standard envelope
) STRICT;

CREATE TABLE attempts (
    request_id  TEXT NOT NULL,
    started_at  REAL NOT NULL,
    attempt     INTEGER NOT NULL,
    finished_at REAL,
    verdicts    TEXT NOT NULL,   -- JSON array of [provider, kind, detail, until]
    error_kind  TEXT,
    retry_at    REAL,
    spent       INTEGER NOT NULL,
    PRIMARY KEY (request_id, started_at, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE calls (
    row                INTEGER PRIMARY KEY,
    request_id         TEXT NOT NULL,
    attempt            INTEGER NOT NULL,
    ordinal            INTEGER NOT NULL,
    provider           TEXT NOT NULL,
    model              TEXT NOT NULL,
    agent_id           TEXT,
    session_id         TEXT NOT NULL,
    started_at         REAL NOT NULL,
    finished_at        REAL NOT NULL,
    outcome            TEXT NOT NULL,
    asked_model        TEXT NOT NULL,
    first_token_at     REAL,
    last_token_at      REAL,
    error_kind         TEXT,
    error_message      TEXT,
    status             INTEGER,
    input              INTEGER, -- the five buckets and `estimated` are NULL where nothing is known
    cache_read         INTEGER,
    cache_write        INTEGER,
    output             INTEGER,
    reasoning          INTEGER,
    estimated          INTEGER,
    raw_usage          TEXT,    -- JSON, as the provider sent it
    cost               REAL,
    price_version      TEXT,
    partial_text       TEXT,
    upstream_closed_ms REAL
) STRICT;
CREATE INDEX calls_request ON calls (request_id);
CREATE INDEX calls_finished ON calls (finished_at);

CREATE TABLE sessions (
    session_id    TEXT PRIMARY KEY,
    created_at    REAL NOT NULL,
    last_activity REAL NOT NULL,
    request_count INTEGER NOT NULL,
    turn_count    INTEGER NOT NULL,
    ended_at      REAL
) STRICT, WITHOUT ROWID;
CREATE TABLE session_agents (
    session_id TEXT NOT NULL,
    agent_id   TEXT NOT NULL,
    PRIMARY KEY (session_id, agent_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE turns (
    row        INTEGER PRIMARY KEY,
    session_id TEXT NOT NULL,
    chars      INTEGER NOT NULL,
    pair       TEXT NOT NULL     -- JSON array: the user's message, the reply
) STRICT;
CREATE INDEX turns_session ON turns (session_id);

CREATE TABLE locks (
    session_id TEXT PRIMARY KEY,
    holder     TEXT NOT NULL,
    granted_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    hold_s     REAL NOT NULL,
    extended   INTEGER NOT NULL,
    request_id TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE providers (
    provider TEXT PRIMARY KEY,
    state    TEXT NOT NULL       -- JSON, the provider manager's own
) STRICT;
CREATE TABLE actions (
    row    INTEGER PRIMARY KEY,
    at     REAL NOT NULL,
    name   TEXT NOT NULL,
    target TEXT NOT NULL,
    by     TEXT,
    reason TEXT,
    detail TEXT
) STRICT;
CREATE INDEX actions_target ON actions (target);

-- How many requests there are of each state, and the next numbers to give out.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES
    ('queued', 0), ('processing', 0), ('retrying', 0),
    ('completed', 0), ('failed', 0), ('cancelled', 0),
    ('next_place', 1), ('next_number', 1), ('next_finish_seq', 1);

-- Sums over calls by span of time: each call is in its minute, its hour and its day, so that
-- a question of any length reads few rows.
CREATE TABLE usage_spans (
    span_s   INTEGER NOT NULL,   -- 60, 3600 or 86400
    start    INTEGER NOT NULL,   -- epoch second, a multiple of span_s
    provider TEXT NOT NULL,
    model    TEXT NOT NULL,
    agent_id TEXT NOT NULL,      -- '' for none
    requests     INTEGER NOT NULL,
    calls        INTEGER NOT NULL,
    input        INTEGER NOT NULL,
    cache_read   INTEGER NOT NULL,
    cache_write  INTEGER NOT NULL,
    output       INTEGER NOT NULL,
    reasoning    INTEGER NOT NULL,
    cost         REAL NOT NULL,
    unpriced     INTEGER NOT NULL,
    estimated    INTEGER NOT NULL,
    waste_tokens INTEGER NOT NULL,
    waste_cost   REAL NOT NULL,
    waste_calls  INTEGER NOT NULL,
    waste_s      REAL NOT NULL,
    PRIMARY KEY (span_s, start, provider, model, agent_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE usage_sessions (
    session_id TEXT NOT NULL,
    provider   TEXT NOT NULL,
    model      TEXT NOT NULL,
    agent_id   TEXT NOT NULL,
    requests     INTEGER NOT NULL,
    calls        INTEGER NOT NULL,
    input        INTEGER NOT NULL,
    cache_read   INTEGER NOT NULL,
    cache_write  INTEGER NOT NULL,
    output       INTEGER NOT NULL,
    reasoning    INTEGER NOT NULL,
    cost         REAL NOT NULL,
    unpriced     INTEGER NOT NULL,
    estimated    INTEGER NOT NULL,
    waste_tokens INTEGER NOT NULL,
    waste_cost   REAL NOT NULL,
    waste_calls  INTEGER NOT NULL,
    waste_s      REAL NOT NULL,
    PRIMARY KEY (session_id, provider, model, agent_id)
) STRICT, WITHOUT ROWID;

-- One call in the columns of the sums; the rules are those of `usage.call_sums`.
CREATE VIEW usage_calls AS SELECT
    row, request_id, session_id, provider, model, COALESCE(agent_id, '') AS agent_id, finished_at,
    outcome = 'answered' AS requests,
    1 AS calls,
    COALESCE(input, 0) AS input,
    COALESCE(cache_read, 0) AS cache_read,
    COALESCE(cache_write, 0) AS cache_write,
    COALESCE(output, 0) AS output,
    COALESCE(reasoning, 0) AS reasoning,
    COALESCE(cost, 0.0) AS cost,
    cost IS NULL AND (input IS NOT NULL OR outcome = 'answered') AS unpriced,
    COALESCE(estimated, 0) AS estimated,
    CASE outcome WHEN 'answered' THEN 0
        ELSE COALESCE(input + cache_read + cache_write + output + reasoning, 0) END AS waste_tokens,
    CASE outcome WHEN 'answered' THEN 0.0 ELSE COALESCE(cost, 0.0) END AS waste_cost,
    outcome <> 'answered' AS waste_calls,
    CASE outcome WHEN 'answered' THEN 0.0 ELSE finished_at - started_at END AS waste_s
FROM calls;
