"""Which sums a usage question reads: the choice of table, condition and parameters.

Pure: it returns a statement built from the parts in `statements` and its parameters, and
runs nothing. Times alone are answered from the sums by span (of one provider, model or
agent, or of all, from the sums about that alone), sessions alone from the sums by session;
only a session's part of a time needs single calls.
"""

from __future__ import annotations

from typing import Final

from ksi_tui.engine.store import usage_statements
from ksi_tui.engine.store.records import UsageQuery
from ksi_tui.engine.store.usage import DAY_S, MINUTE_S, SPANS_S, Edges, span_for, whole

Question = tuple[str, list[object]]

_COLUMNS: Final = {
    "agent": "u.agent_id",
    "model": "u.model",
    "provider": "u.provider",
    "session": "u.session_id",
}
_NEVER: Final = "0"


def usage_question(query: UsageQuery, edges: Edges) -> Question:
    """Return the statement of `Reader.usage` and its parameters; raises ValueError."""
    _check(query)
    if query.session_id is None and query.by != "session":
        return _from_spans(query, edges)
    timeless = query.since is None and query.until is None
    if timeless and query.by != "day" and query.bucket_s is None:
        return _from_sessions(query)
    return _from_calls(query)


def _check(query: UsageQuery) -> None:
    if query.by is not None and query.by != "day" and query.by not in _COLUMNS:
        raise ValueError(f"usage by {query.by!r}: it is one of {', '.join(_COLUMNS)}, day")
    if query.by is not None and query.bucket_s is not None:
        raise ValueError("usage goes by groups or in buckets of time, not both")


def _from_spans(query: UsageQuery, edges: Edges) -> Question:
    spans: tuple[int, ...] = SPANS_S
    step = _step_s(query)
    if query.by == "day":
        spans = (DAY_S,)
    elif query.bucket_s is not None:
        spans = (span_for(query.bucket_s),)
    low, high = edges.widened(*whole(query.since, query.until, step))
    folded = edges.pieces(low, high, spans)
    selected, values = _selected(query)
    key, key_values = _key(query, "u.start")
    facet = _facet(query)
    if facet is None:
        source = usage_statements.spans(
            len(folded), "".join(f" AND {one.removeprefix('u.')}" for one in selected)
        )
    else:
        source = usage_statements.facets(len(folded), facet, named=bool(selected))
        key = "u.name" if facet == query.by else key
    parameters = [number for piece in folded for number in piece]
    unfolded = [edges.hours_from, edges.minutes_from, low, high]
    return _sums(query, source, key, "1", [*key_values, *parameters, *values, *unfolded, *values])


def _facet(query: UsageQuery) -> str | None:
    """Return what the question is about where that is one thing only; None where it is more."""
    chosen = {"provider": query.provider, "model": query.model, "agent": query.agent_id}
    about = {name for name, value in chosen.items() if value is not None or name == query.by}
    if len(about) > 1:
        return None
    return about.pop() if about else "all"


def _sums(query: UsageQuery, source: str, key: str, where: str, values: list[object]) -> Question:
    order, few = "k", query.largest
    if query.largest is not None:
        order = usage_statements.LARGEST
    elif query.newest is not None:
        order, few = usage_statements.NEWEST, query.newest
    limit = [] if few is None else [few]
    return usage_statements.sums(source, key, where, order=order), [*values, *limit]


def _from_sessions(query: UsageQuery) -> Question:
    selected, values = _selected(query)
    key, key_values = _key(query, _NEVER)
    where = " AND ".join(selected) or "1"
    if query.by == "session" and query.largest is not None:
        return usage_statements.largest_sessions(where), [*values, query.largest, *values]
    return _sums(query, usage_statements.SESSIONS, key, where, [*key_values, *values])


def _from_calls(query: UsageQuery) -> Question:
    low, high = whole(query.since, query.until, _step_s(query))
    selected, values = _selected(query)
    source, column = usage_statements.CALLS, "u.finished_at"
    if query.session_id is not None:
        source, column = usage_statements.CALLS_OF_SESSION, "+u.finished_at"
        selected[0] = "r.session_id = ?"
    where = " AND ".join([*selected, f"{column} >= ? AND {column} < ?"])
    key, key_values = _key(query, "CAST(u.finished_at AS INTEGER)")
    return _sums(query, source, key, where, [*key_values, *values, low, high])


def _step_s(query: UsageQuery) -> int:
    if query.by == "day":
        return DAY_S
    if query.bucket_s is None:
        return MINUTE_S
    span_for(query.bucket_s)
    return query.bucket_s


def _key(query: UsageQuery, time: str) -> Question:
    if query.bucket_s is not None:
        return f"{time} - {time} % ?", [query.bucket_s]
    if query.by == "day":
        return f"date({time}, 'unixepoch')", []
    return ("''" if query.by is None else _COLUMNS[query.by]), []


def _selected(query: UsageQuery) -> tuple[list[str], list[object]]:
    chosen = {
        "u.session_id": query.session_id,
        "u.provider": query.provider,
        "u.model": query.model,
        "u.agent_id": query.agent_id,
    }
    known = {column: value for column, value in chosen.items() if value is not None}
    return [f"{column} = ?" for column in known], list(known.values())


def records_question(query: UsageQuery, after: int) -> Question:
    """Return the statement of `Reader.usage_records`, without the limit that it ends with.

    The time is exact here, since single calls are shown. It only filters: the rows are
    walked in order from `after`, and the caller has put that at the first call of the time.
    """
    of_session = query.session_id is not None
    conditions, values = _selected(query)
    if of_session:
        conditions[0] = "r.session_id = ?"
    conditions.append("u.row > ?" if not of_session else "+u.row > ?")
    values.append(after)
    if query.since is not None:
        conditions.append("+u.finished_at >= ?")
        values.append(query.since)
    if query.until is not None:
        conditions.append("+u.finished_at < ?")
        values.append(query.until)
    return usage_statements.call_records(
        of_session=of_session, where=" AND ".join(conditions)
    ), values
