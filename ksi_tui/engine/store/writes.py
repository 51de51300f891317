"""What one transaction holds: write values, gathered by statement.

Pure: no connection, no clock. The order of writes is kept where it can be seen. Writes of
one request run through the statements accept, reopen, redirect, move, finish in this
order; where a write steps back, a new step begins inside the same transaction. What only
adds up (counters, usage, sessions) or where only the last value counts (locks, providers)
is gathered over the whole transaction and written at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import singledispatchmethod
from typing import Final

from ksi_tui.engine.models import Lock
from ksi_tui.engine.store import columns, statements
from ksi_tui.engine.store.base import (
    Accepted,
    ActionTaken,
    AttemptBooked,
    CallBooked,
    Finished,
    LockGone,
    LockSaved,
    Moved,
    ProviderSaved,
    SessionSeen,
    Write,
)
from ksi_tui.engine.store.usage import Gathered

Rows = list[tuple[object, ...]]

_ORDERED: Final = (
    statements.ACCEPT,
    statements.REOPEN,
    statements.REDIRECT,
    statements.MOVE,
    statements.FINISH,
)
_STAGE: Final = {statement: stage for stage, statement in enumerate(_ORDERED)}
_FOLLOWED_BY: Final = {
    statements.ACCEPT: statements.ADD_PAYLOAD,
    statements.REOPEN: statements.DROP_REPLY,
    statements.FINISH: statements.ADD_REPLY,
}


def request_of(write: Write) -> str | None:
    """Return the id of the request that a write belongs to, or None."""
    match write:
        case Accepted():
            return write.spec.request_id
        case Moved() | Finished():
            return write.request_id
        case AttemptBooked():
            return write.attempt.request_id
        case CallBooked():
            return write.call.request_id
        case _:
            return None


class _SessionDelta:
    """What one transaction adds to one session."""

    __slots__ = ("created_at", "ended_at", "last_activity", "requests", "touched", "turns")

    def __init__(self, at: float) -> None:
        self.created_at = at
        self.last_activity = at
        self.requests = 0
        self.turns = 0
        self.ended_at: float | None = None
        self.touched = False
