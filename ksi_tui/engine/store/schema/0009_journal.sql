-- Rare happenings, for whoever looks back: circuits, pauses, failures, and what people did. It is
-- pruned from its oldest end only, so that seq has no gaps.
CREATE TABLE journal (
    seq        INTEGER PRIMARY KEY,
    at         REAL NOT NULL,
    name       TEXT NOT NULL,       -- of the event, or action:<what>
    provider   TEXT,
    session_id TEXT,
    request_id TEXT,
    data       TEXT NOT NULL        -- JSON object
) STRICT;
CREATE INDEX journal_name ON journal (name);
CREATE INDEX journal_provider ON journal (provider) WHERE provider IS NOT NULL;
CREATE INDEX journal_session ON journal (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX journal_request ON journal (request_id) WHERE request_id IS NOT NULL;

-- Older actions are told too; what else has happened was not kept.
INSERT INTO journal (at, name, provider, session_id, request_id, data)
SELECT at, 'action:' || name,
    CASE WHEN target LIKE 'provider:%' AND name NOT IN ('force lock', 'reset conversation')
        THEN substr(target, 10) END,
    CASE WHEN name IN ('force lock', 'reset conversation') THEN target
        WHEN target LIKE 'session:%' AND name IN ('pause', 'resume') THEN substr(target, 9) END,
    CASE WHEN name IN ('cancel', 'retry', 'report failure') THEN target END,
    json_object('by', by, 'reason', reason, 'target', target, 'detail', detail)
FROM actions ORDER BY row;
