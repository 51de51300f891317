"""A ticket: what the engine keeps in memory of one unfinished request.

Small on purpose (payloads stay on disk), mutable, and changed by the service only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import LockTerms, OnConflict, RequestSpec, State
from ksi_tui.engine.store.records import Unfinished

if TYPE_CHECKING:
    from ksi_tui.engine.live_call import Run


class Route(NamedTuple):
    """What a request needs of a provider. Requests with equal routes wait for the same thing."""

    model: str
    stream: bool
    mcp: bool
    avoid: frozenset[str]


_NOBODY: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True, eq=False)
class Ticket:
    """One unfinished request. Times in epoch seconds.

    `attempts` counts those spent, `walks` all that called somebody. `spent_s` is the
    part of the deadline that has run up to `clock_from`, since when it runs (None: it
    stands still). `used_tokens` is the sum over all of its calls. `spec` is there only
    while its payload happens to be in memory, `laid_by` while an attempt waits for a
    candidate that was busy. `needs` is the tokens for which limits turned it away, by
    provider, since it was last called; `called`: somebody was, since it was opened.
    """

    request_id: str
    session_id: str
    agent_id: str | None
    route: Route
    rank: int
    level: int
    place: int
    queued_at: float
    timeout_s: float
    max_attempts: int
    lock: LockTerms | None
    state: State = State.QUEUED
    attempts: int = 0
    walks: int = 0
    interruptions: int = 0
    spent_s: float = 0.0
    clock_from: float | None = None
    started_at: float | None = None
    retry_at: float | None = None
    error_kind: ErrorKind | None = None
    error_message: str | None = None
    used_tokens: int = 0
    needs: dict[str, int] | None = None
    called: bool = False
    spec: RequestSpec | None = None
    run: Run | None = None
    laid_by: Run | None = None

    @property
    def order(self) -> tuple[bool, int, int]:
        """Sort key inside the session: what has begun goes first, then priority, then arrival."""
        return (self.started_at is None, self.rank, self.place)

    def deadline_spent(self, now: float) -> float:
        """Return how many seconds of the deadline have run."""
        return self.spent_s + (now - self.clock_from if self.clock_from is not None else 0.0)

    def deadline_at(self) -> float | None:
        """Return when the deadline ends if its clock goes on running; None while it stands."""
        if self.clock_from is None:
            return None
        return self.clock_from + self.timeout_s - self.spent_s

    def run_clock(self, now: float) -> None:
        """Let the deadline run from now on."""
        if self.clock_from is None:
            self.clock_from = now

    def unbegin(self) -> None:
        """Be as before the first dispatch: nobody was called for it."""
        self.started_at = self.clock_from = None
        self.spent_s = 0.0

    def stop_clock(self, now: float) -> None:
        """Let the deadline stand still from now on."""
        self.spent_s = self.deadline_spent(now)
        self.clock_from = None


def ticket_of(spec: RequestSpec, *, place: int, now: float) -> Ticket:
    """Return the ticket of a request that was just accepted."""
    return Ticket(
        request_id=spec.request_id,
        session_id=spec.session_id,
        agent_id=spec.agent_id,
        route=Route(spec.model, spec.stream is True, spec.needs_mcp, _NOBODY),
        rank=spec.priority.rank,
        level=spec.priority.level,
        place=place,
        queued_at=now,
        timeout_s=spec.timeout_s,
        max_attempts=spec.max_attempts,
        lock=spec.lock,
    )


def ticket_found(found: Unfinished) -> Ticket:
    """Return the ticket of a request that an earlier life of the engine left unfinished."""
    lock = None
    if found.lock_timeout_s is not None:
        lock = LockTerms(
            timeout_s=found.lock_timeout_s,
            on_conflict=OnConflict.FAIL if found.lock_fails else OnConflict.WAIT,
        )
    return Ticket(
        request_id=found.request_id,
        session_id=found.session_id,
        agent_id=found.agent_id,
        route=Route(found.model, found.stream is True, found.needs_mcp, frozenset(found.avoid)),
        rank=found.rank,
        level=found.level,
        place=found.place,
        queued_at=found.queued_at,
        timeout_s=found.timeout_s,
        max_attempts=found.max_attempts,
        lock=lock,
        state=found.state,
        attempts=found.attempts,
        walks=found.walks,
        interruptions=found.interruptions,
        spent_s=found.spent_s,
        started_at=found.started_at,
        retry_at=found.retry_at,
        error_kind=found.error_kind,
        error_message=found.error_message,
        used_tokens=found.used_tokens,
    )
