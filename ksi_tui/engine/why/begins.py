"""Whether a request would begin at once if somebody changed something: asked, never done.

The same questions in the same order as the dispatch asks them, with one change thought in.
Who could make which change is `remedies`'.
"""

from __future__ import annotations

from dataclasses import dataclass

from ksi_tui.engine.core import Core
from ksi_tui.engine.models import CauseKind, Lock, OnConflict
from ksi_tui.engine.pauses import paused
from ksi_tui.engine.ticket import Route, Ticket
from ksi_tui.engine.why.causes import Causes, seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is thought to have been done.

    `gone`: this request was cancelled; `unlocked`: this session's lock was taken away;
    `resumed`: this pause was ended, by its target; `let_through`: this provider's circuit
    was closed; `hurried`: the request's backoff was ended; `route`: it was sent elsewhere.
    """

    gone: Ticket | None = None
    unlocked: str | None = None
    resumed: str | None = None
    let_through: str | None = None
    hurried: bool = False
    route: Route | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Still:
    """Why a request would not begin, or not for certain; `soon`: it may well."""

    text: str
    soon: bool = False


class Beginnings:
    """Answers for one core."""

    def __init__(self, core: Core, causes: Causes) -> None:
        self._core = core
        self._causes = causes

    def still(self, ticket: Ticket, change: Change, now: float) -> Still | None:
        """Return what would still hold a request that does not run; None: it begins at once."""
        return (
            self._engine(change)
            or self._ahead(ticket, change)
            or self._own(ticket, change, now)
            or self._providers(change.route or ticket.route, change, now)
            or self._slots(ticket, change)
        )

    def taker(self, route: Route, now: float) -> str | None:
        """Return the provider that would be called for a route at once, or None."""
        for candidate in self._core.providers.ordered(route):
            if self._core.providers.obstacle(candidate.entry, candidate.model, now) is None:
                return candidate.entry.name
        return None

    def _engine(self, change: Change) -> Still | None:
        core = self._core
        if core.store.fault is not None:
            return Still(text="the database cannot be written")
        if core.draining:
            return Still(text="the engine is ending")
        pause = core.pauses.engine
        if pause is not None and change.resumed != pause.target:
            return Still(text=f"the engine is {paused(pause)}")
        return None

    def _ahead(self, ticket: Ticket, change: Change) -> Still | None:
        ahead = self._core.queue.ahead(ticket)
        if ahead is not None and ahead is change.gone:
            ahead = None if ahead.run is not None else self._core.queue.ahead(ahead)
        return None if ahead is None else Still(text=f"it is behind {ahead.request_id}")

    def _own(self, ticket: Ticket, change: Change, now: float) -> Still | None:
        core = self._core
        pause = core.pauses.session(ticket.session_id)
        if pause is not None and change.resumed != pause.target:
            return Still(text=f"its session is {paused(pause)}")
        lock = core.locks.blocks(ticket.session_id, ticket.agent_id, now)
        if lock is not None and not _freed(lock, change):
            if ticket.lock is not None and ticket.lock.on_conflict is OnConflict.FAIL:
                return Still(text=f"it fails while {lock.holder} holds the lock")
            return Still(text=f"it needs the lock of {lock.holder} too")
        at = ticket.retry_at
        if at is not None and at > now and not change.hurried and change.route is None:
            return Still(text=f"its backoff has {seconds(at - now)} left")
        return None

    def _providers(self, route: Route, change: Change, now: float) -> Still | None:
        """Return what keeps every candidate from being called, the nearest of it."""
        first: Still | None = None
        providers = self._core.providers
        for candidate in providers.candidates(route).usable:
            entry = candidate.entry
            lifted = set()
            if change.resumed == f"provider:{entry.name}":
                lifted.add(CauseKind.PAUSE)
            if change.let_through == entry.name:
                lifted.add(CauseKind.CIRCUIT)
            cause = providers.obstacle(entry, candidate.model, now, lifted=lifted)
            if cause is None:
                if entry.limit is not None:  # how much it needs is known at the call only
                    return Still(text=f"if {entry.name}'s limits allow it", soon=True)
                return None
            if cause.kind is CauseKind.WORKER and providers.workers.patient:
                return Still(text=cause.text)
            call = change.gone.run.call if change.gone is not None and change.gone.run else None
            closing = call is not None and call.entry is entry and cause.kind is CauseKind.SLOT
            if closing:
                return Still(text=f"once its call at {entry.name} is closed", soon=True)
            first = first or Still(text=cause.text)
        return first or Still(text=f"nobody serves {route.model}")

    def _slots(self, ticket: Ticket, change: Change) -> Still | None:
        """Return whether it has to share what becomes free with others that stand in line."""
        core = self._core
        running, limit = core.queue.running_count, core.config.engine.max_concurrency
        if running >= limit:
            freed = change.gone is not None and change.gone.run is not None
            text = "as its turn comes: the engine is full"
            return Still(text=text, soon=freed or ticket.run is not None)
        if (
            change.resumed == "engine"
            or change.let_through
            or (change.resumed or "").startswith("provider:")
        ):
            return self._many(limit - running)
        return None

    def _many(self, free: int) -> Still | None:
        """Return whether all that would be let go together finds room."""
        sessions = 0
        for line in self._core.queue.lines(free + 1):
            sessions += line.sessions
            usable = self._core.providers.candidates(line.route).usable
            bounded = any(
                each.entry.limit is not None or each.entry.settings.max_concurrency is not None
                for each in usable
            )
            if bounded and sessions > 1:
                return Still(text="as slots become free", soon=True)
        if sessions > free:
            return Still(text="as slots become free", soon=True)
        return None


def _freed(lock: Lock, change: Change) -> bool:
    if change.unlocked == lock.session_id:
        return True
    return change.gone is not None and lock.request_id == change.gone.request_id
