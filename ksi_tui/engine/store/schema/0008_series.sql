-- What charts need beside tokens and dollars: calls that failed, and how long answers took, as
-- sums with the number of what they are sums of, so that a mean over any time is exact.
-- `timed_calls` are answered calls; `ttft_calls` those of them whose first token came before
-- their end, which is so of streams only.
ALTER TABLE usage_spans ADD COLUMN failed_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_spans ADD COLUMN latency_s REAL NOT NULL DEFAULT 0;
ALTER TABLE usage_spans ADD COLUMN timed_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_spans ADD COLUMN ttft_s REAL NOT NULL DEFAULT 0;
ALTER TABLE usage_spans ADD COLUMN ttft_calls INTEGER NOT NULL DEFAULT 0;

ALTER TABLE usage_facets ADD COLUMN failed_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_facets ADD COLUMN latency_s REAL NOT NULL DEFAULT 0;
ALTER TABLE usage_facets ADD COLUMN timed_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_facets ADD COLUMN ttft_s REAL NOT NULL DEFAULT 0;
ALTER TABLE usage_facets ADD COLUMN ttft_calls INTEGER NOT NULL DEFAULT 0;

ALTER TABLE usage_unfolded ADD COLUMN failed_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_unfolded ADD COLUMN latency_s REAL NOT NULL DEFAULT 0;
ALTER TABLE usage_unfolded ADD COLUMN timed_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_unfolded ADD COLUMN ttft_s REAL NOT NULL DEFAULT 0;
ALTER TABLE usage_unfolded ADD COLUMN ttft_calls INTEGER NOT NULL DEFAULT 0;

ALTER TABLE usage_sessions ADD COLUMN failed_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_sessions ADD COLUMN latency_s REAL NOT NULL DEFAULT 0;
ALTER TABLE usage_sessions ADD COLUMN timed_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_sessions ADD COLUMN ttft_s REAL NOT NULL DEFAULT 0;
ALTER TABLE usage_sessions ADD COLUMN ttft_calls INTEGER NOT NULL DEFAULT 0;

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
    cost IS NULL AND input IS NOT NULL AND outcome <> 'answered' AS unpriced_waste,
    outcome = 'failed' AS failed_calls,
    CASE outcome WHEN 'answered' THEN MAX(0.0, finished_at - started_at) ELSE 0.0 END AS latency_s,
    outcome = 'answered' AS timed_calls,
    CASE WHEN outcome = 'answered' AND first_token_at < finished_at
        THEN MAX(0.0, first_token_at - started_at) ELSE 0.0 END AS ttft_s,
    COALESCE(outcome = 'answered' AND first_token_at < finished_at, 0) AS ttft_calls
FROM calls;

-- The calls that are still there fill what is new; where they are gone, a mean is of fewer calls.
-- Calls of one minute may be half folded: those of a row that is not folded yet go there whole.
CREATE TEMP TABLE timed AS SELECT
    CAST(finished_at AS INTEGER) / 60 * 60 AS start, provider, model, agent_id,
    SUM(failed_calls) AS failed_calls, SUM(latency_s) AS latency_s,
    SUM(timed_calls) AS timed_calls, SUM(ttft_s) AS ttft_s, SUM(ttft_calls) AS ttft_calls
FROM usage_calls GROUP BY 1, 2, 3, 4;
UPDATE usage_unfolded AS u SET
    failed_calls = c.failed_calls,
    latency_s = c.latency_s,
    timed_calls = c.timed_calls,
    ttft_s = c.ttft_s,
    ttft_calls = c.ttft_calls
FROM timed AS c
WHERE u.start = c.start AND u.provider = c.provider AND u.model = c.model
    AND u.agent_id = c.agent_id;
DELETE FROM timed AS c WHERE EXISTS (
    SELECT 1 FROM usage_unfolded AS u
    WHERE u.start = c.start AND u.provider = c.provider AND u.model = c.model
        AND u.agent_id = c.agent_id
);
UPDATE usage_spans AS s SET
    failed_calls = c.failed_calls,
    latency_s = c.latency_s,
    timed_calls = c.timed_calls,
    ttft_s = c.ttft_s,
    ttft_calls = c.ttft_calls
FROM (
    SELECT w.span_s, start / w.span_s * w.span_s AS start, provider, model, agent_id,
        SUM(failed_calls) AS failed_calls, SUM(latency_s) AS latency_s, SUM(timed_calls) AS timed_calls,
        SUM(ttft_s) AS ttft_s, SUM(ttft_calls) AS ttft_calls
    FROM timed, (SELECT 60 AS span_s UNION ALL SELECT 3600 UNION ALL SELECT 86400) AS w
    GROUP BY 1, 2, 3, 4, 5
) AS c
WHERE s.span_s = c.span_s AND s.start = c.start AND s.provider = c.provider
    AND s.model = c.model AND s.agent_id = c.agent_id;
DROP TABLE timed;
UPDATE usage_facets AS f SET
    failed_calls = c.failed_calls,
    latency_s = c.latency_s,
    timed_calls = c.timed_calls,
    ttft_s = c.ttft_s,
    ttft_calls = c.ttft_calls
FROM (
    SELECT span_s, start, '' AS name,
        SUM(failed_calls) AS failed_calls, SUM(latency_s) AS latency_s, SUM(timed_calls) AS timed_calls,
        SUM(ttft_s) AS ttft_s, SUM(ttft_calls) AS ttft_calls
    FROM usage_spans GROUP BY 1, 2, 3
) AS c
WHERE f.facet = 'all' AND f.span_s = c.span_s AND f.start = c.start AND f.name = c.name;
UPDATE usage_facets AS f SET
    failed_calls = c.failed_calls,
    latency_s = c.latency_s,
    timed_calls = c.timed_calls,
    ttft_s = c.ttft_s,
    ttft_calls = c.ttft_calls
FROM (
    SELECT span_s, start, provider AS name,
        SUM(failed_calls) AS failed_calls, SUM(latency_s) AS latency_s, SUM(timed_calls) AS timed_calls,
        SUM(ttft_s) AS ttft_s, SUM(ttft_calls) AS ttft_calls
    FROM usage_spans GROUP BY 1, 2, 3
) AS c
WHERE f.facet = 'provider' AND f.span_s = c.span_s AND f.start = c.start AND f.name = c.name;
UPDATE usage_facets AS f SET
    failed_calls = c.failed_calls,
    latency_s = c.latency_s,
    timed_calls = c.timed_calls,
    ttft_s = c.ttft_s,
    ttft_calls = c.ttft_calls
FROM (
    SELECT span_s, start, model AS name,
        SUM(failed_calls) AS failed_calls, SUM(latency_s) AS latency_s, SUM(timed_calls) AS timed_calls,
        SUM(ttft_s) AS ttft_s, SUM(ttft_calls) AS ttft_calls
    FROM usage_spans GROUP BY 1, 2, 3
) AS c
WHERE f.facet = 'model' AND f.span_s = c.span_s AND f.start = c.start AND f.name = c.name;
UPDATE usage_facets AS f SET
    failed_calls = c.failed_calls,
    latency_s = c.latency_s,
    timed_calls = c.timed_calls,
    ttft_s = c.ttft_s,
    ttft_calls = c.ttft_calls
FROM (
    SELECT span_s, start, agent_id AS name,
        SUM(failed_calls) AS failed_calls, SUM(latency_s) AS latency_s, SUM(timed_calls) AS timed_calls,
        SUM(ttft_s) AS ttft_s, SUM(ttft_calls) AS ttft_calls
    FROM usage_spans GROUP BY 1, 2, 3
) AS c
WHERE f.facet = 'agent' AND f.span_s = c.span_s AND f.start = c.start AND f.name = c.name;
UPDATE usage_sessions AS s SET
    failed_calls = c.failed_calls,
    latency_s = c.latency_s,
    timed_calls = c.timed_calls,
    ttft_s = c.ttft_s,
    ttft_calls = c.ttft_calls
FROM (
    SELECT session_id, provider, model, agent_id,
        SUM(failed_calls) AS failed_calls, SUM(latency_s) AS latency_s, SUM(timed_calls) AS timed_calls,
        SUM(ttft_s) AS ttft_s, SUM(ttft_calls) AS ttft_calls
    FROM usage_calls GROUP BY 1, 2, 3, 4
) AS c
WHERE s.session_id = c.session_id AND s.provider = c.provider AND s.model = c.model
    AND s.agent_id = c.agent_id;
