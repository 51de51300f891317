-- What a call spends on tool schemas and saves by cache reads, and rollups that are written
-- by the minute and folded into hours and days by the clean-up.

ALTER TABLE calls ADD COLUMN mcp INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN tool_schema_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN cache_savings REAL; -- dollars; NULL where no price is known

ALTER TABLE usage_spans ADD COLUMN mcp_requests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_spans ADD COLUMN tool_schema_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_spans ADD COLUMN cache_savings REAL NOT NULL DEFAULT 0;
ALTER TABLE usage_spans ADD COLUMN unpriced_savings INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_spans ADD COLUMN unpriced_waste INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_sessions ADD COLUMN mcp_requests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_sessions ADD COLUMN tool_schema_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_sessions ADD COLUMN cache_savings REAL NOT NULL DEFAULT 0;
ALTER TABLE usage_sessions ADD COLUMN unpriced_savings INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_sessions ADD COLUMN unpriced_waste INTEGER NOT NULL DEFAULT 0;

-- What older calls have saved was never worked out: their cache reads count as unpriced. How
-- many of the wasted ones have no price was not kept apart.
UPDATE usage_sessions AS s SET unpriced_savings = c.savings, unpriced_waste = c.waste
FROM (
    SELECT session_id, provider, model, COALESCE(agent_id, '') AS agent_id,
        SUM(cache_read > 0) AS savings, SUM(cost IS NULL AND outcome <> 'answered') AS waste
    FROM calls WHERE input IS NOT NULL GROUP BY 1, 2, 3, 4
) AS c
WHERE s.session_id = c.session_id AND s.provider = c.provider AND s.model = c.model
    AND s.agent_id = c.agent_id;
UPDATE usage_spans AS s SET unpriced_savings = c.savings, unpriced_waste = c.waste
FROM (
    SELECT w.span_s, CAST(finished_at AS INTEGER) / w.span_s * w.span_s AS start, provider, model,
        COALESCE(agent_id, '') AS agent_id,
        SUM(cache_read > 0) AS savings, SUM(cost IS NULL AND outcome <> 'answered') AS waste
    FROM calls, (SELECT 60 AS span_s UNION ALL SELECT 3600 UNION ALL SELECT 86400) AS w
    WHERE input IS NOT NULL GROUP BY 1, 2, 3, 4, 5
) AS c
WHERE s.span_s = c.span_s AND s.start = c.start AND s.provider = c.provider
    AND s.model = c.model AND s.agent_id = c.agent_id;

-- Sums by minute that no fold has added to usage_spans yet. Each call is in exactly one of:
-- a row here, or its three rows there (of which the fine ones are dropped with time).
CREATE TABLE usage_unfolded (
    start    INTEGER NOT NULL,   -- epoch second, a multiple of 60
    provider TEXT NOT NULL,
    model    TEXT NOT NULL,
    agent_id TEXT NOT NULL,      -- '' for none
    requests           INTEGER NOT NULL,
    calls              INTEGER NOT NULL,
    input              INTEGER NOT NULL,
    cache_read         INTEGER NOT NULL,
    cache_write        INTEGER NOT NULL,
    output             INTEGER NOT NULL,
    reasoning          INTEGER NOT NULL,
    cost               REAL NOT NULL,
    unpriced           INTEGER NOT NULL,
    estimated          INTEGER NOT NULL,
    waste_tokens       INTEGER NOT NULL,
    waste_cost         REAL NOT NULL,
    waste_calls        INTEGER NOT NULL,
    waste_s            REAL NOT NULL,
    mcp_requests       INTEGER NOT NULL,
    tool_schema_tokens INTEGER NOT NULL,
    cache_savings      REAL NOT NULL,
    unpriced_savings   INTEGER NOT NULL,
    unpriced_waste     INTEGER NOT NULL,
    PRIMARY KEY (start, provider, model, agent_id)
) STRICT, WITHOUT ROWID;

-- The same sums for the questions about one thing: all calls, or those of each provider, model
-- or agent. Their rows are few where those of the three together are many.
CREATE TABLE usage_facets (
    facet    TEXT NOT NULL,      -- 'all', 'provider', 'model' or 'agent'
    span_s   INTEGER NOT NULL,
    start    INTEGER NOT NULL,
    name     TEXT NOT NULL,      -- the provider, model or agent; '' for all and for no agent
    requests           INTEGER NOT NULL,
    calls              INTEGER NOT NULL,
    input              INTEGER NOT NULL,
    cache_read         INTEGER NOT NULL,
    cache_write        INTEGER NOT NULL,
    output             INTEGER NOT NULL,
    reasoning          INTEGER NOT NULL,
    cost               REAL NOT NULL,
    unpriced           INTEGER NOT NULL,
    estimated          INTEGER NOT NULL,
    waste_tokens       INTEGER NOT NULL,
    waste_cost         REAL NOT NULL,
    waste_calls        INTEGER NOT NULL,
    waste_s            REAL NOT NULL,
    mcp_requests       INTEGER NOT NULL,
    tool_schema_tokens INTEGER NOT NULL,
    cache_savings      REAL NOT NULL,
    unpriced_savings   INTEGER NOT NULL,
    unpriced_waste     INTEGER NOT NULL,
    PRIMARY KEY (facet, span_s, start, name)
) STRICT, WITHOUT ROWID;
INSERT INTO usage_facets SELECT 'all', span_s, start, '',
    SUM(requests), SUM(calls), SUM(input), SUM(cache_read), SUM(cache_write),
    SUM(output), SUM(reasoning), SUM(cost), SUM(unpriced), SUM(estimated),
    SUM(waste_tokens), SUM(waste_cost), SUM(waste_calls), SUM(waste_s), SUM(mcp_requests),
    SUM(tool_schema_tokens), SUM(cache_savings), SUM(unpriced_savings),
    SUM(unpriced_waste)
FROM usage_spans GROUP BY span_s, start;
INSERT INTO usage_facets SELECT 'provider', span_s, start, provider,
    SUM(requests), SUM(calls), SUM(input), SUM(cache_read), SUM(cache_write),
    SUM(output), SUM(reasoning), SUM(cost), SUM(unpriced), SUM(estimated),
    SUM(waste_tokens), SUM(waste_cost), SUM(waste_calls), SUM(waste_s), SUM(mcp_requests),
    SUM(tool_schema_tokens), SUM(cache_savings), SUM(unpriced_savings),
    SUM(unpriced_waste)
FROM usage_spans GROUP BY span_s, start, provider;
INSERT INTO usage_facets SELECT 'model', span_s, start, model,
    SUM(requests), SUM(calls), SUM(input), SUM(cache_read), SUM(cache_write),
    SUM(output), SUM(reasoning), SUM(cost), SUM(unpriced), SUM(estimated),
    SUM(waste_tokens), SUM(waste_cost), SUM(waste_calls), SUM(waste_s), SUM(mcp_requests),
    SUM(tool_schema_tokens), SUM(cache_savings), SUM(unpriced_savings),
    SUM(unpriced_waste)
FROM usage_spans GROUP BY span_s, start, model;
INSERT INTO usage_facets SELECT 'agent', span_s, start, agent_id,
    SUM(requests), SUM(calls), SUM(input), SUM(cache_read), SUM(cache_write),
    SUM(output), SUM(reasoning), SUM(cost), SUM(unpriced), SUM(estimated),
    SUM(waste_tokens), SUM(waste_cost), SUM(waste_calls), SUM(waste_s), SUM(mcp_requests),
    SUM(tool_schema_tokens), SUM(cache_savings), SUM(unpriced_savings),
    SUM(unpriced_waste)
FROM usage_spans GROUP BY span_s, start, agent_id;

-- Since when the rows by minute and by hour are all there.
INSERT INTO counters (name, value) VALUES ('usage_minutes_from', 0), ('usage_hours_from', 0);

DROP VIEW usage_calls;
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
    CASE outcome WHEN 'answered' THEN 0.0 ELSE MAX(0.0, finished_at - started_at) END AS waste_s,
    mcp AND outcome = 'answered' AS mcp_requests,
    tool_schema_tokens,
    COALESCE(cache_savings, 0.0) AS cache_savings,
    cache_savings IS NULL AND COALESCE(cache_read, 0) > 0 AS unpriced_savings,
    cost IS NULL AND input IS NOT NULL AND outcome <> 'answered' AS unpriced_waste
FROM calls;
