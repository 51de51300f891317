-- Every result up to filed_seq (a finish_seq) is in its response file; those above it and up to
-- marked_seq were on their way there. Old databases begin at the beginning: their results
-- are written out too.
INSERT INTO counters (name, value) VALUES ('filed_seq', 0), ('marked_seq', 0);

-- How long (bytes) each response file was before the results between the two went into it.
CREATE TABLE response_marks (
    name   TEXT PRIMARY KEY,
    length INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
