-- Calls that count against their providers' limits of requests and tokens a minute. A number is
-- used again once its call is older than that, so a provider has no more rows than its busiest
-- minute had calls.
CREATE TABLE admissions (
    provider TEXT NOT NULL,
    number INTEGER NOT NULL,
    at REAL NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (provider, number)
) STRICT, WITHOUT ROWID;
