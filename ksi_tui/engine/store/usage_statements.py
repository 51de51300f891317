"""Every SQL statement about usage: sums over calls, how they are folded, and questions to them.

Text only, as in `statements`. What is summed, and over what time, is `usage`'s.
"""

# Nothing but the fixed texts of this module is ever put together here.
# ruff: noqa: S608

from __future__ import annotations

from typing import Final

from ksi_tui.engine.store.statements import CALL_COLUMNS, TOKENS

SUMS: Final = (
    "requests",
    "calls",
    "input",
    "cache_read",
    "cache_write",
    "output",
    "reasoning",
    "cost",
    "unpriced",
    "estimated",
    "waste_tokens",
    "waste_cost",
    "waste_calls",
    "waste_s",
    "mcp_requests",
    "tool_schema_tokens",
    "cache_savings",
    "unpriced_savings",
    "unpriced_waste",
    "failed_calls",
    "latency_s",
    "timed_calls",
    "ttft_s",
    "ttft_calls",
)
"""The columns that are summed, in the order of `usage.Sums`."""


def _add_sums(table: str, keys: tuple[str, ...], source: str | None = None) -> str:
    """Return the statement that adds rows to a table of sums: one row of values, or a query's."""
    columns = ", ".join(keys + SUMS)
    marks = ", ".join("?" * (len(keys) + len(SUMS)))
    adds = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
    return (
        f"INSERT INTO {table} ({columns}) {source or f'VALUES ({marks})'}"
        f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {adds}"
    )


ADD_MINUTE: Final = _add_sums("usage_unfolded", ("start", "provider", "model", "agent_id"))
ADD_SESSION_USAGE: Final = _add_sums(
    "usage_sessions", ("session_id", "provider", "model", "agent_id")
)

# A plain SUM keeps integers integers. WHERE 1: SQLite cannot tell ON CONFLICT from a join else.
FOLD: Final = _add_sums(
    "usage_spans",
    ("span_s", "start", "provider", "model", "agent_id"),
    f"SELECT ?1, start / ?1 * ?1 AS since, provider, model, agent_id,"
    f" {', '.join(f'SUM({name})' for name in SUMS)}"
    " FROM usage_unfolded WHERE 1 GROUP BY since, provider, model, agent_id",
)
FACETS: Final = {"all": "''", "provider": "provider", "model": "model", "agent": "agent_id"}
"""What the rows of `usage_facets` are about, and the column of the calls that is their name."""
FOLD_FACETS: Final = tuple(
    _add_sums(
        "usage_facets",
        ("facet", "span_s", "start", "name"),
        f"SELECT '{facet}', ?1, start / ?1 * ?1 AS since, {column} AS who,"
        f" {', '.join(f'SUM({name})' for name in SUMS)}"
        " FROM usage_unfolded WHERE 1 GROUP BY since, who",
    )
    for facet, column in FACETS.items()
)
FORGET_UNFOLDED: Final = "DELETE FROM usage_unfolded"
RAISE_EDGE: Final = """
UPDATE counters SET value = MAX(value, MIN(?3, ?4 + (
    SELECT start FROM usage_spans WHERE span_s = ?2 ORDER BY start LIMIT 1
) / ?5 * ?5))
WHERE name = ?1 AND EXISTS (SELECT 1 FROM usage_spans WHERE span_s = ?2)
"""
DROP_SPANS: Final = """
DELETE FROM usage_spans
WHERE span_s = ?2 AND start < (SELECT value FROM counters WHERE name = ?1)
"""
DROP_FACETS: Final = """
DELETE FROM usage_facets
WHERE facet = ?3 AND span_s = ?2 AND start < (SELECT value FROM counters WHERE name = ?1)
"""

# --- questions ----------------------------------------------------------------------------

_SUM_COLUMNS: Final = ", ".join(f"TOTAL(u.{name})" for name in SUMS)

USAGE_EDGES: Final = """
SELECT (SELECT value FROM counters WHERE name = 'usage_hours_from'),
    (SELECT value FROM counters WHERE name = 'usage_minutes_from')
"""
_COLUMNS: Final = ", ".join(SUMS)
SESSIONS: Final = "usage_sessions u"
CALLS: Final = "usage_calls u"
CALLS_OF_SESSION: Final = "requests r CROSS JOIN usage_calls u ON u.request_id = r.request_id"


def spans(pieces: int, selected: str) -> str:
    """Return the source of the sums by time: so many pieces of what is folded, and the rest.

    Both are narrowed by `selected`. Parameters: span, low and high of each piece, `selected`'s,
    the edges below which only days and only hours are told apart, low and high, `selected`'s.
    """
    names = "provider, model, agent_id"
    folded = f"SELECT start, {names}, {_COLUMNS} FROM {_pieces(pieces, 'usage_spans')}"
    return f"({folded}{selected} UNION ALL {_unfolded(names, selected)}) u"


def facets(pieces: int, facet: str, *, named: bool, columns: str = _COLUMNS) -> str:
    """Return the same as `spans` of the sums about one thing, narrowed by its name or not.

    The parameters are those of `spans`; `columns` are the sums, all unless told.
    """
    column = FACETS[facet]
    folded = f"SELECT start, name, {columns} FROM {_pieces(pieces, 'usage_facets')}"
    by_name, by_column = (" AND name = ?", f" AND {column} = ?") if named else ("", "")
    unfolded = _unfolded(f"{column} AS name", by_column, columns)
    return f"({folded} AND facet = '{facet}'{by_name} UNION ALL {unfolded}) u"


def _pieces(count: int, table: str) -> str:
    values = ", ".join(["(?, ?, ?)"] * count) or "(0, 0, 0)"
    return (
        f"(VALUES {values}) piece CROSS JOIN {table}"
        " WHERE span_s = piece.column1 AND start >= piece.column2 AND start < piece.column3"
    )


def _unfolded(names: str, selected: str, columns: str = _COLUMNS) -> str:
    """Return what is not folded yet, as coarse as what is folded is there."""
    return f"""
    SELECT start / w * w AS start, {names}, {columns} FROM (
        SELECT *, CASE WHEN start < ? THEN 86400 WHEN start < ? THEN 3600 ELSE 60 END AS w
        FROM usage_unfolded WHERE start >= ? AND start < ?
    ) WHERE 1{selected}
"""


LARGEST: Final = f"{TOKENS} DESC, k LIMIT ?"
NEWEST: Final = "k DESC LIMIT ?"


def sums(source: str, key: str, where: str, *, order: str = "k") -> str:
    """Return the statement that sums the calls of `source` by `key` (a column expression).

    With the `order` LARGEST those with the most tokens come first, with NEWEST the last of
    time, and no more than a last parameter says.
    """
    return (
        f"SELECT {key} AS k, {_SUM_COLUMNS} FROM {source} WHERE {where} GROUP BY k ORDER BY {order}"
    )


def largest_sessions(where: str) -> str:
    """Return the statement that sums by session, of no more sessions than a parameter says.

    Those with the most tokens come first. They are found first, then summed: a fifth of the
    time of summing all. Parameters: those of `where`, the number, those of `where`.
    """
    key = "u.session_id"
    found = (
        f"SELECT {key} FROM {SESSIONS} WHERE {where} GROUP BY {key} ORDER BY {TOKENS} DESC, {key}"
    )
    return (
        f"SELECT {key} AS k, {_SUM_COLUMNS} FROM {SESSIONS}"
        f" WHERE {key} IN ({found} LIMIT ?) AND {where} GROUP BY k ORDER BY {TOKENS} DESC, k"
    )


def call_records(*, of_session: bool, where: str) -> str:
    """Return the statement that lists single calls by rising row; the limit comes last."""
    columns = ", ".join(f"u.{name.strip()}" for name in CALL_COLUMNS.split(","))
    source = "requests r CROSS JOIN calls u ON u.request_id = r.request_id"
    return (
        f"SELECT u.row, {columns} FROM {source if of_session else 'calls u'}"
        f" WHERE {where} ORDER BY u.row LIMIT ?"
    )


FIRST_CALL_SINCE: Final = "SELECT MIN(+row) FROM calls WHERE finished_at >= ?"
