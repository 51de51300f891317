-- What people have paused. Times are epoch seconds (UTC).
CREATE TABLE pauses (
    scope  TEXT NOT NULL,       -- engine, session or provider
    id     TEXT NOT NULL,       -- the session or provider, '' for the engine
    by     TEXT,
    reason TEXT,
    since  REAL NOT NULL,
    PRIMARY KEY (scope, id)
) STRICT, WITHOUT ROWID;
