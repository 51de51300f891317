-- What is injected from one session into another, and which request followed from which.

-- A text that waits (`pending`) or is part of an unfinished prompt (`bound`); and the record of
-- what became of others, kept as long as the request that it is told of.
CREATE TABLE injections (
    row                INTEGER PRIMARY KEY, -- the order of arrival
    injection_id       TEXT NOT NULL UNIQUE,
    session_id         TEXT NOT NULL,       -- where it goes
    mode               TEXT NOT NULL,
    position           TEXT NOT NULL,
    content            TEXT NOT NULL,
    created_at         REAL NOT NULL,
    source_id          TEXT,                -- the request whose result it is; NULL: given by hand
    trigger_type       TEXT,
    follow_up_guidance TEXT,
    expires_at         REAL,
    state              TEXT NOT NULL,
    request_id         TEXT,                -- the request that it is part of
    bound_at           REAL,
    blocked            TEXT                 -- JSON: bound, limit, found
) STRICT;
CREATE INDEX injections_alive ON injections (row) WHERE state IN ('pending', 'bound');
CREATE INDEX injections_source ON injections (source_id) WHERE source_id IS NOT NULL;
CREATE INDEX injections_request ON injections (request_id) WHERE request_id IS NOT NULL;

-- What shall happen with the result of a request: queued ahead for one to come, or owed by
-- one that has completed. Rows go as soon as the result is injected.
CREATE TABLE injection_terms (
    request_id TEXT PRIMARY KEY,
    terms      TEXT NOT NULL,       -- JSON
    bounds     TEXT,                -- JSON; NULL: those of the request itself
    owed       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Requests that have a parent. A root has no row: it is at depth 1.
CREATE TABLE chains (
    request_id TEXT PRIMARY KEY,
    parent_id  TEXT NOT NULL,
    root_id    TEXT NOT NULL,
    depth      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX chains_root ON chains (root_id);

CREATE TRIGGER injections_end_with_their_request AFTER DELETE ON requests BEGIN
    DELETE FROM chains WHERE request_id = OLD.request_id;
    DELETE FROM injection_terms WHERE request_id = OLD.request_id;
    DELETE FROM injections WHERE request_id = OLD.request_id AND state IN ('used', 'queued');
    DELETE FROM injections
    WHERE source_id = OLD.request_id AND state IN ('blocked', 'expired', 'cleared');
END;
