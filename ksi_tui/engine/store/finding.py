"""A filter as SQL: the condition that a request on disk fulfils where the filter matches it.

Pure: it returns statements and their parameters and runs nothing. What a term means is
`filter.match`'s; here it is said once more for SQLite, so that a hundred thousand requests are
looked through outside of Python. Terms about what is only in memory are not judged here: the
caller has done it and brings along for which requests they hold.
"""

# Every text that comes from outside is a parameter; only fixed parts are put together.
# ruff: noqa: S608

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ksi_tui.engine.filter import Comparison, Filter, Pattern, Term, TextTerm
from ksi_tui.engine.filter.match import text_holds
from ksi_tui.engine.models import Priority, State
from ksi_tui.engine.store.columns import storable, to_json
from ksi_tui.engine.store.found import Find, SortBy
from ksi_tui.engine.views import Phase

Parameters = dict[str, Any]

_MODEL: Final = "COALESCE(r.answered_model, r.model)"
_ERROR: Final = ("r.error_kind", "r.error_message")
_TEXTS: Final[Mapping[str, tuple[str, ...]]] = {
    "": (
        "r.request_id",
        "r.session_id",
        "r.agent_id",
        "r.asked_model",
        _MODEL,
        "r.provider",
        *_ERROR,
    ),
    "session": ("r.session_id",),
    "agent": ("r.agent_id",),
    "model": ("r.asked_model", _MODEL),
    "provider": ("r.provider",),
    "error": _ERROR,
    "id": ("r.request_id",),
}
_NUMBERS: Final[Mapping[str, str]] = {
    "age": ":now - r.queued_at",
    "tokens": "r.tokens",
    "cost": "r.cost",
    "attempts": "r.attempts",
    "latency": "r.finished_at - r.queued_at",
    "ttft": "r.ttft_ms / 1000.0",
}
_CHANGING: Final = frozenset(
    {"", "model", "provider", "status", "why", "tokens", "attempts", "ttft"}
)
_SORTS: Final[Mapping[SortBy, str]] = {
    SortBy.QUEUED: "r.place",
    SortBy.AGE: "r.place",
    SortBy.SESSION: "r.session_id COLLATE NOCASE",
    SortBy.AGENT: "r.agent_id COLLATE NOCASE",
    SortBy.MODEL: f"{_MODEL} COLLATE NOCASE",
    SortBy.PROVIDER: "r.provider COLLATE NOCASE",
    SortBy.STATUS: "r.state",
    SortBy.ATTEMPTS: "r.attempts",
    SortBy.TOKENS: "r.tokens",
    SortBy.COST: "r.cost",
    SortBy.LATENCY: "r.finished_at - r.queued_at",
    SortBy.TTFT: "r.ttft_ms",
    SortBy.FINISHED: "r.finish_seq",
    SortBy.WORST: f"""CASE WHEN r.finish_seq IS NULL THEN {sys.maxsize} - r.place
        WHEN r.state = '{State.FAILED}' THEN 0 END""",
}
CHANGING_SORTS: Final = frozenset(
    {SortBy.MODEL, SortBy.PROVIDER, SortBy.ATTEMPTS, SortBy.TOKENS, SortBy.TTFT}
)
"""Orders by what changes while a request runs; `RunningNow.sort_value` is then what it is now."""

# The place of a running request, seen from the side of the big table: the small one is looked
# up by an index that SQLite makes for it.
_LIVE: Final = """
WITH live (place, value) AS MATERIALIZED (SELECT value ->> 0, value ->> 1 FROM json_each(:live))
"""
_LIVE_JOIN: Final = "LEFT JOIN live l ON l.place = CASE WHEN r.finish_seq IS NULL THEN r.place END"
COUNT_ALL: Final = f"""
SELECT SUM(value) FROM counters WHERE name IN ({", ".join(f"'{state}'" for state in State)})
"""
_FOUND: Final = f"""
SELECT r.row, r.request_id, r.session_id, r.agent_id, r.asked_model, {_MODEL}, r.state, r.rank,
    r.queued_at, r.started_at, r.finished_at, r.attempts, r.max_attempts, r.provider, r.ttft_ms,
    r.error_kind, r.error_message, r.ended_by, r.reason, r.tokens, r.cost, r.unpriced, r.estimated,
    p.asked -> '$.metadata'
FROM requests r LEFT JOIN payloads p ON p.row = r.row"""
FOUND_ROWS: Final = f"{_FOUND} WHERE r.row IN (SELECT value FROM json_each(?))"
FOUND_IDS: Final = f"{_FOUND} WHERE r.request_id IN (SELECT value FROM json_each(?))"


def changing(wanted: Filter) -> Filter:
    """Return the terms that look at what changes while a request runs."""
    return Filter(tuple(term for term in wanted.terms if term.field in _CHANGING))


def in_memory(wanted: Filter) -> tuple[TextTerm, ...]:
    """Return the terms that nothing on disk can answer for an unfinished request.

    Those are `why`, and a status that tells one that waits for something from one that is
    only queued.
    """
    return tuple(
        term for term in wanted.terms if isinstance(term, TextTerm) and _only_in_memory(term)
    )


def _only_in_memory(term: TextTerm) -> bool:
    if term.field == "why":
        return True
    queued, waiting = (State.QUEUED, Phase.QUEUED), (State.QUEUED, Phase.WAITING)
    return term.field == "status" and text_holds(term, queued) != text_holds(term, waiting)


class Question:
    """The statements of one `Find`, and the parameters that they share."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._conditions = _Conditions(find)
        self.parameters: Parameters = self._conditions.parameters
        self._where = self._conditions.where()

    @property
    def count(self) -> str:
        """How many requests there are."""
        if self._find.wanted.empty:
            return COUNT_ALL
        return f"SELECT COUNT(*) FROM requests r WHERE {self._where}"

    @property
    def ids(self) -> str:
        """The ids of those asked for, in order, as one JSON array: ten thousand are one value."""
        return f"SELECT json_group_array(request_id) FROM ({self.page})"

    @property
    def page(self) -> str:
        """Row and id of those asked for, in order."""
        find = self._find
        order, live, join = _SORTS[find.sort], "", ""
        if find.sort in CHANGING_SORTS and find.running:
            values = [(each.place, each.sort_value) for each in find.running]
            self.parameters["live"] = to_json(values)
            live, join, order = _LIVE, _LIVE_JOIN, _over(order)
        descending = find.descending is not (find.sort is SortBy.AGE)
        direction = "DESC" if descending else "ASC"
        if order != _SORTS[SortBy.QUEUED]:
            # What is not known comes last both ways; equals stand by their age, the newest first.
            order, direction = f"{order} {direction} NULLS LAST, r.place", "DESC"
        self.parameters |= {"limit": find.limit, "offset": find.offset}
        return f"""{live}
SELECT r.row, r.request_id FROM requests r {join} WHERE {self._where}
ORDER BY {order} {direction} LIMIT :limit OFFSET :offset"""


def _over(order: str) -> str:
    """Return an order in which what is in memory outweighs what is on disk."""
    column, _, collation = order.partition(" COLLATE ")
    return f"COALESCE(l.value, {column})" + (f" COLLATE {collation}" if collation else "")


class _Conditions:
    """Puts terms into SQL, and takes up their parameters."""

    def __init__(self, find: Find) -> None:
        self.parameters: Parameters = {"now": find.now}
        self._find = find

    def where(self) -> str:
        """Return the whole condition."""
        find = self._find
        lasting = [term for term in find.wanted.terms if term.field not in _CHANGING]
        parts = [self._term(term) for term in lasting]
        rest = changing(find.wanted).terms
        if rest:
            parts.append(self._changing(rest))
        return " AND ".join(parts) or "1"

    def _changing(self, terms: Iterable[Term]) -> str:
        """Return the condition on what changes: of running ones the caller has found it out."""
        find = self._find
        unknown = in_memory(find.wanted)
        on_disk = " AND ".join(self._on_disk(term, unknown) for term in terms)
        if find.waiting is not None:
            self.parameters["waiting"] = find.waiting
            waits = "r.place IN (SELECT value FROM json_each(:waiting))"
            on_disk = f"({on_disk}) AND (r.finish_seq IS NOT NULL OR {waits})"
        if not find.running:
            return f"({on_disk})"
        self.parameters["running"] = to_json([each.place for each in find.running])
        self.parameters["holding"] = to_json([each.place for each in find.running if each.holds])
        return f"""CASE
    WHEN r.finish_seq IS NULL AND r.place IN (SELECT value FROM json_each(:running))
    THEN r.place IN (SELECT value FROM json_each(:holding)) ELSE {on_disk} END"""

    def _on_disk(self, term: Term, unknown: tuple[TextTerm, ...]) -> str:
        if not (isinstance(term, TextTerm) and term in unknown):
            return self._term(term)
        # What has ended waits for nothing any more.
        why = str(int(text_holds(term, (None,))))
        ended = why if term.field == "why" else self._status(term)
        return f"(r.finish_seq IS NULL OR {ended})"

    def _term(self, term: Term) -> str:
        if isinstance(term, Comparison):
            compared = f"{_NUMBERS[term.field]} {term.operator} {self._value(term.value)}"
            return f"(NOT ({compared}))" if term.negated else f"({compared})"
        if term.field == "status":
            return self._status(term)
        if term.field == "priority":
            ranks = [p.rank for p in Priority if text_holds(term, (p,))]
            return f"r.rank IN ({', '.join(map(str, ranks)) or 'NULL'})"
        found = self._label(term) if term.field == "meta" else self._any(_TEXTS[term.field], term)
        # A text that is not known fits no value, and so its negation.
        return f"NOT COALESCE({found}, 0)" if term.negated else f"({found})"

    def _status(self, term: TextTerm) -> str:
        states = [state for state in State if text_holds(term, (state, _PHASES.get(state)))]
        names = ", ".join(f"'{state}'" for state in states)
        return f"r.state IN ({names or 'NULL'})"

    def _label(self, term: TextTerm) -> str:
        key = self._value(storable(term.key))
        fits = self._any(("b.value",), term)
        return f"r.row IN (SELECT b.row FROM labels b WHERE b.key = {key} AND ({fits}))"

    def _any(self, columns: tuple[str, ...], term: TextTerm) -> str:
        fits = [self._fits(pattern, exact=term.exact) for pattern in term.patterns]
        return " OR ".join(f"{column} {fit}" for fit in fits for column in columns)

    def _fits(self, pattern: Pattern, *, exact: bool) -> str:
        if exact and len(pattern.parts) == 1:
            # On the left: SQLite makes IN of several, which takes its collation from there.
            return f"COLLATE NOCASE = {self._value(storable(pattern.parts[0]))}"
        parts = "%".join(escaped(part) for part in pattern.parts)
        like = parts if len(pattern.parts) > 1 else f"%{parts}%"
        return f"LIKE {self._value(storable(like))} ESCAPE '\\'"

    def _value(self, value: object) -> str:
        name = f"v{len(self.parameters)}"
        self.parameters[name] = value
        return f":{name}"


_PHASES: Final = {
    State.QUEUED: Phase.QUEUED,
    State.RETRYING: Phase.RETRYING,
    State.COMPLETED: Phase.COMPLETED,
    State.FAILED: Phase.FAILED,
    State.CANCELLED: Phase.CANCELLED,
}
"""What a request is doing as far as its state on disk tells."""


def escaped(text: str) -> str:
    """Return text as LIKE takes it literally, with a backslash as its escape."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
