"""The journal's part of the store: which rare happenings are kept, as what, and how they are found.

Values, their statements and their questions, as in `upkeep`. Final states and actions tell of
themselves in the transaction that writes them (`entry_of`); of anything else its teller hands
over an `EntryKept`.
"""

# Nothing but the fixed texts of this module is ever put together here.
# ruff: noqa: S608

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ksi_tui.engine import events
from ksi_tui.engine.models import Action, PauseScope, State

KEPT_ROWS: Final = 100_000
"""How many entries the clean-up leaves at most."""
LONGEST_TEXT: Final = 2_000
"""A longer text in an entry loses its end: an error message may be a whole web page."""
ACTION: Final = "action:"
"""What the names of people's actions begin with."""
_ON_SESSIONS: Final = ("force lock", "reset conversation")
_ON_REQUESTS: Final = ("cancel", "retry", "send elsewhere", "report failure")

Row = tuple[object, ...]

# --- writes -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryKept:
    """Something rare has happened."""

    at: float
    name: str
    data: Mapping[str, Any]
    provider: str | None = None
    session_id: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalPruned:
    """Entries up to a seq go."""

    upto: int


JournalWrite = EntryKept | JournalPruned

ADD_ENTRY: Final = """
INSERT INTO journal (at, name, provider, session_id, request_id, data) VALUES (?, ?, ?, ?, ?, ?)
"""
PRUNE: Final = "DELETE FROM journal WHERE seq <= ?"


def entry_row(entry: EntryKept) -> Row:
    """Return an entry's columns."""
    data = {name: _short(value) for name, value in entry.data.items()}
    names = (entry.provider, entry.session_id, entry.request_id)
    return (entry.at, entry.name, *names, json.dumps(data, separators=(",", ":")))


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return value[: LONGEST_TEXT - 1] + "…"
    return value


def of_action(action: Action, session_of: str | None = None) -> EntryKept:
    """Return the entry of what somebody did: `action:cancel`, `action:pause` …

    `session_of`: the session of the request that it was done to.
    """
    name, target = action.name, action.target
    scope, _, id = target.partition(":")
    on_session, on_request = name in _ON_SESSIONS, name in _ON_REQUESTS
    scoped = not (on_session or on_request)
    session_id = target if on_session else session_of
    if scoped and scope == PauseScope.SESSION:
        session_id = id
    ids = {"request_id": target, "session_id": session_of} if on_request and session_of else {}
    return EntryKept(
        at=action.at,
        name=f"{ACTION}{name}",
        provider=id if scoped and scope == PauseScope.PROVIDER else None,
        session_id=session_id,
        request_id=target if on_request else None,
        data={
            "by": action.by,
            "reason": action.reason,
            "target": target,
            "detail": action.detail,
            **ids,
        },
    )


def of_end(
    state: State, at: float, ids: tuple[str, str], provider: str | None, told: Mapping[str, Any]
) -> EntryKept:
    """Return the entry of a request that failed or was cancelled; `ids`: request and session."""
    request_id, session_id = ids
    return EntryKept(
        at=at,
        name=events.ERROR if state is State.FAILED else events.CANCELLED,
        provider=provider,
        session_id=session_id,
        request_id=request_id,
        data={"request_id": request_id, "session_id": session_id, "provider": provider, **told},
    )


# --- questions --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalQuery:
    """Which entries: all, or those of a name that `pattern` fits and of what is given.

    At most `limit`, the newest below the seq `before`.
    """

    limit: int
    pattern: str = "*"
    provider: str | None = None
    session_id: str | None = None
    request_id: str | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One entry as it is kept. `at` in epoch seconds."""

    seq: int
    at: float
    name: str
    data: Mapping[str, Any]


# One step of the index a name, however many entries there are.
NAMES: Final = """
WITH RECURSIVE found (name) AS (
    SELECT (SELECT name FROM journal WHERE name > '' ORDER BY name LIMIT 1)
    UNION ALL
    SELECT (SELECT name FROM journal WHERE name > found.name ORDER BY name LIMIT 1)
    FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL
"""
ENDS: Final = """
SELECT (SELECT seq FROM journal WHERE seq > 0 ORDER BY seq LIMIT 1),
    (SELECT seq FROM journal WHERE seq > 0 ORDER BY seq DESC LIMIT 1)
"""
OLDEST: Final = "SELECT seq, at FROM journal WHERE seq > 0 ORDER BY seq LIMIT ?"
_AFTER_ALL: Final = 2**63 - 1


def questions(query: JournalQuery, names: Sequence[str]) -> Iterable[tuple[str, list[object]]]:
    """Yield the statements whose rows, put together, hold the newest entries that are asked for.

    `names` are those in the journal. Each walks down one index: that of the narrowest thing
    asked for, or, for some names only, that of each name.
    """
    asked = {
        "request_id": query.request_id,
        "session_id": query.session_id,
        "provider": query.provider,
    }
    given = {column: value for column, value in asked.items() if value is not None}
    before = _AFTER_ALL if query.before is None else query.before
    fitting = [name for name in names if events.matches(query.pattern, name)]
    if not given and query.pattern != "*":
        for name in fitting:
            yield _page("name = ?"), [name, before, query.limit]
        return
    # Only the first is looked up; a + keeps the others from being mixed into that.
    terms = [f"{'+' if index else ''}{column} = ?" for index, column in enumerate(given)]
    values: list[object] = [*given.values()]
    if query.pattern != "*":
        terms.append("+name IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(fitting))
    yield _page(*terms), [*values, before, query.limit]


def _page(*terms: str) -> str:
    where = " AND ".join([*terms, "seq < ?"])
    return f"SELECT seq, at, name, data FROM journal WHERE {where} ORDER BY seq DESC LIMIT ?"


def newest(found: Iterable[Sequence[Any]], limit: int) -> list[JournalEntry]:
    """Return the newest of the rows of `questions` as entries, the newest first."""
    rows = sorted(found, key=lambda row: -int(row[0]))[:limit]
    return [
        JournalEntry(seq=seq, at=at, name=name, data=json.loads(data))
        for seq, at, name, data in rows
    ]


def pruned_upto(
    ends: tuple[int | None, int | None], oldest: Iterable[Sequence[Any]], before: float
) -> int | None:
    """Return the seq up to which the oldest entries go: too old, or too many; None: none."""
    first, last = ends
    if first is None or last is None:
        return None
    too_many = last - KEPT_ROWS
    upto: int | None = None
    for seq, at in oldest:
        if at >= before and seq > too_many:
            break
        upto = seq
    return upto


Add = Callable[[str, Row], None]


def add_to_batch(write: JournalWrite, add: Add) -> None:
    """Hand a write's statement and row to `add`."""
    if isinstance(write, EntryKept):
        add(ADD_ENTRY, entry_row(write))
    else:
        add(PRUNE, (write.upto,))
