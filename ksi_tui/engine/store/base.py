"""The seam between the engine and its durable memory.

Writes are values, handed over in order; what is handed over in one moment shares one
transaction (group commit). `Store.write` returns at once with a future that is done
when the write is on disk, and the order of writes is the order on disk. Reads are
for what is not kept in memory: payloads, history, reports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import (
    Action,
    AttemptRecord,
    CallRecord,
    Lock,
    Message,
    Pause,
    PauseScope,
    RequestSpec,
    State,
    Usage,
)
from ksi_tui.engine.store.found import Find, Found, FoundRequest, NamesOf
from ksi_tui.engine.store.injection_records import InjectionReader, InjectionWrite
from ksi_tui.engine.store.journal import JournalEntry, JournalQuery, JournalWrite
from ksi_tui.engine.store.moment import Memory, SessionReader
from ksi_tui.engine.store.numbering import NumbersGiven
from ksi_tui.engine.store.records import (
    StoredRequest,
    Unfinished,
    UsageQuery,
    UsageTotals,
)
from ksi_tui.engine.store.series import SeriesPoint, SeriesQuery
from ksi_tui.engine.store.upkeep import Upkeep, UpkeepWrite

# --- writes -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A new request. `place` is its position in the order of arrival, unique and rising.

    Refused when the disk cannot take it: its future then raises StoreUnavailable and the request
    is as if never sent. `next_number`: what the next generated request id will carry.
    """

    spec: RequestSpec
    place: int
    at: float
    next_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A change of state that is not final, of a request that was `was`.

    `attempts` counts the attempts spent, `walks` every walk that called somebody,
    `spent_s` is the part of its deadline that has run, `retry_at` the end of a backoff.
    A changed `place`, `model`, `max_attempts` or `avoid` comes with a retry by hand;
    `queued_at` too, which also forgets started_at, finished_at, error and result.
    """

    request_id: str
    was: State
    state: State
    at: float
    attempts: int
    walks: int
    interruptions: int
    spent_s: float
    started_at: float | None = None
    retry_at: float | None = None
    error_kind: ErrorKind | None = None
    error_message: str | None = None
    place: int | None = None
    model: str | None = None
    max_attempts: int | None = None
    avoid: tuple[str, ...] | None = None
    queued_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A final state. `finish_seq` rises with every final state of the database.

    `result` is the standard envelope of a completed request; `text` what arrived
    (all of it, or the part before a failure or cancel). `turn` adds the pair of the
    last user message and the reply to the session's transcript (completed only).
    """

    request_id: str
    session_id: str
    was: State
    state: State
    at: float
    finish_seq: int
    attempts: int
    walks: int
    interruptions: int
    spent_s: float
    started_at: float | None = None
    ttft_ms: float | None = None
    provider: str | None = None
    answered_model: str | None = None
    result: Mapping[str, Any] | None = None
    text: str | None = None
    error_kind: ErrorKind | None = None
    error_message: str | None = None
    by: str | None = None
    reason: str | None = None
    turn: tuple[Message, Message] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnsAdded:
    """Pairs of turns that a session's transcript had elsewhere, oldest first."""

    session_id: str
    at: float
    pairs: tuple[tuple[Message, Message], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptBooked:
    """A walk ended (or, for one that an interruption cut short, what is known of it)."""

    attempt: AttemptRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class CallBooked:
    """A call ended. Also feeds the usage rollups and the session's running totals."""

    call: CallRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFolded:
    """The clean-up's turn at `at`: rollups by minute become hours and days, old fine ones go.

    May be handed over at any moment and as often as one likes; the more often, the fewer rows
    a question reads. Minutes are kept for `usage.MINUTES_KEPT_S`, hours for
    `usage.HOURS_KEPT_S`; sums never change by it.
    """

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LockSaved:
    """A conversation lock was granted, extended or taken over."""

    lock: Lock


@dataclass(frozen=True, slots=True, kw_only=True)
class LockGone:
    """A conversation lock was released, forced or expired."""

    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSaved:
    """A provider's circuit, cooldowns and statistics, as plain JSON the provider manager wrote."""

    provider: str
    state: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A call counts against its provider's limits; the same `number` again replaces it."""

    provider: str
    number: int
    at: float
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionTaken:
    """Somebody acted; kept for the timeline and, where it is `told`, in the journal.

    `session_id`: that of the request which it was done to.
    """

    action: Action
    session_id: str | None = None
    told: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSeen:
    """A session was created or used, or idled out (`ended_at`). Agents are only ever added."""

    session_id: str
    created_at: float
    last_activity: float
    agent_id: str | None = None
    ended_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseSaved:
    """Something was paused."""

    pause: Pause


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseGone:
    """Something was resumed."""

    scope: PauseScope
    id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnsForgotten:
    """A session's transcript begins anew; turns of writes handed over later are kept."""

    session_id: str


Write = (
    Accepted
    | NumbersGiven
    | Moved
    | Finished
    | TurnsAdded
    | AttemptBooked
    | CallBooked
    | UsageFolded
    | LockSaved
    | LockGone
    | ProviderSaved
    | Admitted
    | ActionTaken
    | SessionSeen
    | PauseSaved
    | PauseGone
    | TurnsForgotten
    | InjectionWrite
    | UpkeepWrite
    | JournalWrite
)

# --- the seam -------------------------------------------------------------------------------


class Reader(InjectionReader, SessionReader, Protocol):
    """Questions to the store. Each answers from an index, never by a scan of the history.

    But for `find` and `names`: those look through all of it, and no other question waits for
    them.
    """

    async def request(self, request_id: str) -> StoredRequest | None:
        """Return everything known of one request, or None."""
        ...

    async def states(self, request_ids: Sequence[str]) -> Mapping[str, State]:
        """Return the states of those of the given requests that exist."""
        ...

    async def in_order(self, request_ids: Sequence[str]) -> Sequence[str]:
        """Return those of the given requests that exist, in the order of their places."""
        ...

    async def sessions_of(self, request_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the sessions of those of the given requests that exist."""
        ...

    async def session_requests(self, session_id: str, limit: int) -> Sequence[StoredRequest]:
        """Return a session's newest requests, oldest first, without replies, attempts, calls."""
        ...

    async def results(
        self,
        *,
        after: int = 0,
        session_id: str | None = None,
        state: State | None = None,
        limit: int = 500,
    ) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Return final requests by rising finish_seq above `after`, each as `run` prints it."""
        ...

    async def results_of(
        self, request_ids: Sequence[str]
    ) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Return those of the given requests that are final, as `results` does."""
        ...

    async def spent_of(
        self, request_ids: Sequence[str]
    ) -> Mapping[str, tuple[Usage | None, float | None]]:
        """Return what those of the given requests that called somebody have used and cost."""
        ...

    async def requests_named(self, request_ids: Sequence[str]) -> Sequence[StoredRequest]:
        """Return those of the given requests that exist, in the order of their places.

        Without replies, attempts and calls. Of more than a thousand each thousand has its order.
        """
        ...

    async def find(self, find: Find) -> Found:
        """Return a page of the requests that a filter matches, and how many there are."""
        ...

    async def find_ids(self, request_ids: Sequence[str]) -> Sequence[FoundRequest]:
        """Return those of the given requests that exist, as `find` does, in any order."""
        ...

    async def names(
        self, of: NamesOf, prefix: str, limit: int, key: str | None = None
    ) -> Sequence[str]:
        """Return names that begin with `prefix`; of META with a `key`: the values under it."""
        ...

    async def counts(self) -> Mapping[State, int]:
        """Return how many requests the store holds, by state."""
        ...

    async def pauses(self) -> Sequence[Pause]:
        """Return what is paused, the longest first."""
        ...

    async def usage(self, query: UsageQuery) -> Sequence[tuple[str, UsageTotals]]:
        """Return sums keyed by the group of `by`, the bucket's epoch second as text, or ""."""
        ...

    async def journal(self, query: JournalQuery) -> Sequence[JournalEntry]:
        """Return the newest entries of the journal that are asked for, the newest first."""
        ...

    async def series(self, query: SeriesQuery) -> tuple[int | None, Sequence[SeriesPoint]]:
        """Return since when there are sums (epoch seconds, None: never), and the steps' sums."""
        ...

    async def usage_records(
        self, query: UsageQuery, after: int, limit: int
    ) -> Sequence[tuple[int, CallRecord]]:
        """Return single calls with their row number, by rising number above `after`."""
        ...

    async def aclose(self) -> None:
        """Release the connection."""
        ...


class Store(Reader, Upkeep, Memory, Protocol):
    """The engine's durable memory; one engine owns it at a time."""

    @property
    def fault(self) -> str | None:
        """Why writes are failing now, in words; None when they are not."""

    @property
    def damaged(self) -> bool:
        """Whether they fail because the file is broken, so that waiting does not help."""

    def write(self, *writes: Write) -> asyncio.Future[None]:
        """Hand over writes that belong together; the future is done when they are on disk.

        It may be dropped. While the disk fails, everything but `Accepted` and `NumbersGiven` is
        kept and tried again, so the future of such writes only waits longer.
        """

    def write_within(self, within_s: float, *writes: Write) -> asyncio.Future[None]:
        """As `write`, of what may wait so long for a transaction that somebody else needs."""

    async def unfinished(self, request_ids: Sequence[str]) -> Sequence[Unfinished]:
        """Return those of the given requests that are unfinished, as `load` would."""

    async def sessions_named(self, names: Sequence[str]) -> frozenset[str]:
        """Return those of the given names that are sessions', live or ended."""
