"""What housekeeping writes to the store and asks it: response files and retention.

Values, their statements, and the seam. What runs requests is in `base`; nothing in here
is needed to accept, run or finish one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ksi_tui.engine.models import State
from ksi_tui.engine.store import statements

# --- writes -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesMarked:
    """Results up to `finish_seq` are about to go into files that have these `lengths` (bytes)."""

    finish_seq: int
    lengths: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsFiled:
    """Every result up to `finish_seq` is in its response file, and that is on disk."""

    finish_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """A finished request whose time is over; one that has ended anew since is another one."""

    row: int
    finish_seq: int
    request_id: str
    session_id: str
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestsRemoved:
    """Finished requests go, with payloads, replies, attempts, calls and actions."""

    expired: Sequence[Expired]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionsRemoved:
    """Sessions go, with agents, turns and usage: those idle since `before` and without requests."""

    session_ids: Sequence[str]
    before: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionsRemoved:
    """Actions go, by their row numbers."""

    rows: Sequence[int]


UpkeepWrite = FilesMarked | ResultsFiled | RequestsRemoved | SessionsRemoved | ActionsRemoved
UPKEEP_WRITES: Final = (FilesMarked, ResultsFiled, RequestsRemoved, SessionsRemoved, ActionsRemoved)

Step = tuple[str, Sequence[tuple[object, ...]]]


def steps_of(write: UpkeepWrite) -> Iterator[Step]:
    """Yield the statements of a write with their rows, in the order in which they must run."""
    match write:
        case FilesMarked():
            yield statements.DROP_MARKS, [()]
            yield statements.ADD_MARK, list(write.lengths.items())
        case ResultsFiled():
            yield statements.DROP_MARKS, [()]
        case RequestsRemoved():
            rows = [(each.row, each.finish_seq) for each in write.expired]
            for statement in statements.REMOVE_REQUEST:
                yield statement, rows
        case SessionsRemoved():
            yield statements.REMOVE_SESSION, [(each, write.before) for each in write.session_ids]
            for statement in statements.REMOVE_OF_SESSION:
                yield statement, [(each,) for each in write.session_ids]
        case ActionsRemoved():
            yield statements.REMOVE_ACTION, [(row,) for row in write.rows]


def counters_of(write: UpkeepWrite) -> Mapping[str, int]:
    """Return the counters that a write raises, with their values."""
    match write:
        case FilesMarked():
            return {"marked_seq": write.finish_seq}
        case ResultsFiled():
            return {"filed_seq": write.finish_seq, "marked_seq": write.finish_seq}
        case _:
            return {}


# --- what reads return --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Filing:
    """How far the response files are: see `FilesMarked`. `pending` counts results not in one."""

    filed_seq: int
    marked_seq: int
    lengths: Mapping[str, int]
    pending: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfiled:
    """Results for the response files: (session id, envelope as JSON), by rising finish_seq.

    There are no others up to `upto`.
    """

    results: Sequence[tuple[str, str]]
    upto: int


class Upkeep(Protocol):
    """The part of the store that housekeeping uses. Reads answer from an index."""

    async def filing(self) -> Filing:
        """Return how far the response files are."""
        ...

    async def unfiled(
        self, after: int, *, upto: int | None = None, limit: int, max_chars: int
    ) -> Unfiled:
        """Return results above the finish_seq `after`, about `max_chars` characters at most.

        With `upto` those up to it, without a limit.
        """
        ...

    async def expired(
        self, before: float, filed_seq: int, limit: int, *, now: float
    ) -> Sequence[Expired]:
        """Return the oldest of the requests that finished before a time, `limit` at most.

        A completed one above `filed_seq` is left out: its result is in no response file yet.
        Those that finished after `now`, when a clock was ahead, keep nobody who came later.
        """
        ...

    async def session_ids(self, after: str, limit: int) -> Sequence[str]:
        """Return session ids above `after`, in their order."""
        ...

    async def deserted(self, session_ids: Sequence[str], before: float) -> Mapping[str, int]:
        """Return which of these sessions hold nothing and are idle since `before`: their turns."""
        ...

    async def old_actions(
        self, after: int, before: float, limit: int
    ) -> tuple[Sequence[int], int | None]:
        """Return actions before a time that are of no request, and the row to go on after.

        None to go on after: there are no more.
        """
        ...

    async def prunable(self, before: float, limit: int) -> int | None:
        """Return the seq up to which entries of the journal go, `limit` of them at most, or None.

        Those before a time go, and the oldest over `journal.KEPT_ROWS`.
        """
        ...

    async def shrink_log(self, over_bytes: int) -> None:
        """Empty the write-ahead log where it is over a size; waits for nobody."""
        ...
