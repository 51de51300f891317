-- Finding requests: what all calls of one have used stands with it, as do its place among all
-- and what its caller noted.

ALTER TABLE requests ADD COLUMN tokens INTEGER;  -- NULL: nothing is known of any call
ALTER TABLE requests ADD COLUMN cost REAL;       -- dollars, as far as priced; NULL: nothing is
ALTER TABLE requests ADD COLUMN unpriced INTEGER NOT NULL DEFAULT 0;  -- calls without a price
ALTER TABLE requests ADD COLUMN estimated INTEGER NOT NULL DEFAULT 0; -- calls that were counted
UPDATE requests SET tokens = c.tokens, cost = c.cost, unpriced = c.unpriced, estimated = c.estimated
FROM (
    SELECT request_id, SUM(input + cache_read + cache_write + output + reasoning) AS tokens,
        SUM(cost) AS cost,
        SUM(cost IS NULL AND (input IS NOT NULL OR outcome = 'answered')) AS unpriced,
        COALESCE(SUM(estimated), 0) AS estimated
    FROM calls GROUP BY request_id
) AS c
WHERE requests.request_id = c.request_id;

-- The rules are those of `CallRecord`. A call may be booked after its request has ended.
CREATE TRIGGER calls_add_up AFTER INSERT ON calls
WHEN NEW.input IS NOT NULL OR NEW.outcome = 'answered' BEGIN
    UPDATE requests SET
        tokens = CASE WHEN NEW.input IS NULL THEN tokens ELSE COALESCE(tokens, 0)
            + NEW.input + NEW.cache_read + NEW.cache_write + NEW.output + NEW.reasoning END,
        cost = CASE WHEN NEW.cost IS NULL THEN cost ELSE COALESCE(cost, 0.0) + NEW.cost END,
        unpriced = unpriced + (NEW.cost IS NULL),
        estimated = estimated + COALESCE(NEW.estimated, 0)
    WHERE request_id = NEW.request_id;
END;

CREATE INDEX requests_place ON requests (place);
CREATE INDEX requests_session_finished ON requests (session_id, finish_seq)
WHERE finish_seq IS NOT NULL;

CREATE TABLE labels (
    row   INTEGER NOT NULL, -- requests.row
    key   TEXT NOT NULL,
    value TEXT NOT NULL,    -- a text as itself, anything else as JSON
    PRIMARY KEY (row, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX labels_value ON labels (key, value);
INSERT INTO labels (row, key, value)
SELECT p.row, j.key, SUBSTR(CASE j.type WHEN 'text' THEN j.value ELSE p.asked -> j.fullkey END, 1, 500)
FROM payloads p, json_each(p.asked, '$.metadata') j;
