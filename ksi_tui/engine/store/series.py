"""The question behind charts: sums in equal steps of time, by model or provider.

Pure: values, and the statement that answers, as in `usage_queries`. It reads the sums about
one thing (`usage_facets`) by the longest span that fills a step, never single calls.
"""

# Nothing but the fixed texts of this module is ever put together here.
# ruff: noqa: S608

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from ksi_tui.engine.store import usage_statements
from ksi_tui.engine.store.usage import Edges, span_for
from ksi_tui.engine.store.usage_queries import Question

SERIES_BY: Final = ("model", "provider")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesQuery:
    """Steps of `step_s` seconds (whole minutes) from `low` to `high`, both multiples of it.

    `by` is one of `SERIES_BY`, or None for one series over all calls.
    """

    low: int
    high: int
    step_s: int
    by: str | None = None


class SeriesPoint(NamedTuple):
    """What ended in the step that begins at `start` (epoch seconds); `name` is "" for all calls.

    `tokens` are those of the answers (output and reasoning), `input` all others. A tuple, since
    it is a row as it was read: a day by model has thousands of them.
    """

    start: int
    name: str
    tokens: int
    input: int
    requests: int
    errors: int
    cost: float
    unpriced: int
    latency_s: float
    timed_calls: int
    ttft_s: float
    ttft_calls: int


_SUMMED: Final = {
    "tokens": "output + reasoning",
    "taken_in": "input + cache_read + cache_write",
    "requests": "requests",
    "failed_calls": "failed_calls",
    "cost": "cost",
    "unpriced": "unpriced",
    "latency_s": "latency_s",
    "timed_calls": "timed_calls",
    "ttft_s": "ttft_s",
    "ttft_calls": "ttft_calls",
}
_SUMS: Final = ", ".join(f"SUM({name})" for name in _SUMMED)
_COLUMNS: Final = ", ".join(f"{column} AS {name}" for name, column in _SUMMED.items())

FIRST_SUM: Final = """
SELECT MIN(start) FROM (
    SELECT MIN(start) AS start FROM usage_facets WHERE facet = 'all' AND span_s = 3600
    UNION ALL SELECT MIN(start) FROM usage_unfolded
)
"""
"""Since when there are sums, to the hour where they are folded."""


def series_question(query: SeriesQuery, edges: Edges) -> Question:
    """Return the statement that answers, and its parameters; raises ValueError."""
    if query.by is not None and query.by not in SERIES_BY:
        raise ValueError(f"series by {query.by!r}: it is one of {', '.join(SERIES_BY)}")
    low, high = edges.widened(query.low, query.high)
    pieces = edges.pieces(low, high, (span_for(query.step_s),))
    facet = query.by or "all"
    source = usage_statements.facets(len(pieces), facet, named=False, columns=_COLUMNS)
    parameters: list[object] = [query.step_s, *(number for piece in pieces for number in piece)]
    statement = (
        f"SELECT u.start - u.start % ? AS at, u.name, {_SUMS} FROM {source}"
        " WHERE 1 GROUP BY at, u.name ORDER BY at, u.name"
    )
    return statement, [*parameters, edges.hours_from, edges.minutes_from, low, high]
