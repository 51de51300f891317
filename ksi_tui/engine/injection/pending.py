"""Which injections wait for which session, are part of which prompt, or are on their way.

Pure state, without the texts: those are on disk and read by id when a prompt takes them.
It spares the hot path any question: a session that nothing waits for is told by one look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from ksi_tui.engine.injection.policy import (
    MAX_PENDING,
    MAX_PENDING_CHARS,
    MAX_PENDING_PER_SESSION,
    Blocked,
    QueuedTerms,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is kept in memory of one injection. `serial` is its place in order of arrival."""

    injection_id: str
    session_id: str
    chars: int
    serial: int
    expires_at: float | None = None


@dataclass(slots=True, kw_only=True)
class InjectionCounts:
    """What became of injections since the engine started."""

    stored: int = 0
    queued: int = 0
    used: int = 0
    blocked: int = 0
    expired: int = 0
    cleared: int = 0


class PendingInjections:
    """Pending and bound injections, queued terms, and deliveries on their way."""

    def __init__(self) -> None:
        self.counts = InjectionCounts()
        self.terms: dict[str, QueuedTerms] = {}
        self._waiting: dict[str, dict[str, Held]] = {}
        self._session_of: dict[str, str] = {}
        self._bound: dict[str, tuple[Held, ...]] = {}
        self._bound_count = 0
        self._coming: dict[str, list[asyncio.Future[None]]] = {}
        self._serial = 0

    def concerns(self, session_id: str, request_id: str) -> bool:
        """Whether a prompt of this session may have something to take."""
        return (
            session_id in self._waiting or request_id in self._bound or session_id in self._coming
        )

    # --- counts ---------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many wait for a prompt."""
        return len(self._session_of)

    @property
    def bound(self) -> int:
        """How many are part of a prompt that is not final."""
        return self._bound_count

    @property
    def session_count(self) -> int:
        """How many sessions something waits for."""
        return len(self._waiting)

    def ids(self, session_id: str | None = None) -> list[str]:
        """Return the ids of those that wait, of one session or all, in order of arrival."""
        if session_id is not None:
            return [held.injection_id for held in self._of(session_id)]
        return list(self._session_of)

    def bound_ids(self, session_id: str | None = None) -> list[str]:
        """Return the ids of those that are part of a prompt, of one session or all."""
        return [
            held.injection_id
            for taken in self._bound.values()
            for held in taken
            if session_id in (None, held.session_id)
        ]

    def room(self, session_id: str, chars: int) -> Blocked | None:
        """Return the bound that one more of `chars` characters would be over, or None."""
        waiting = self._waiting.get(session_id, {})
        after = sum(held.chars for held in waiting.values()) + chars
        if len(waiting) >= MAX_PENDING_PER_SESSION:
            limit, found = MAX_PENDING_PER_SESSION, len(waiting) + 1
            return Blocked(bound="max_pending_per_session", limit=limit, found=found)
        if after > MAX_PENDING_CHARS:
            return Blocked(bound="max_pending_chars", limit=MAX_PENDING_CHARS, found=after)
        if self.pending >= MAX_PENDING:
            return Blocked(bound="max_pending", limit=MAX_PENDING, found=self.pending + 1)
        return None

    # --- a life: add, bind, release or use, drop --------------------------------------------

    def add(self, injection_id: str, session_id: str, chars: int, expires_at: float | None) -> Held:
        """Let an injection wait for its session's next prompt, behind all that wait."""
        self._serial += 1
        held = Held(
            injection_id=injection_id,
            session_id=session_id,
            chars=chars,
            serial=self._serial,
            expires_at=expires_at,
        )
        self._wait(held)
        return held

    def bind(self, session_id: str, request_id: str) -> tuple[Held, ...]:
        """Give a request all that waits for its session, in order of arrival; () for nothing."""
        taken = tuple(self._of(session_id))
        for held in taken:
            self.drop(held.injection_id)
        self.bind_again(request_id, taken)
        return taken

    def bind_again(self, request_id: str, taken: Iterable[Held]) -> None:
        """Bind what an earlier life of the engine had bound."""
        both = (*self._bound.get(request_id, ()), *taken)
        if both:
            self._bound_count += len(both) - len(self._bound.get(request_id, ()))
            self._bound[request_id] = both

    def bound_to(self, request_id: str) -> tuple[Held, ...]:
        """Return what is part of a request's prompt, in order of arrival."""
        return self._bound.get(request_id, ())

    def unbind(self, request_id: str, *, wait_again: bool) -> tuple[Held, ...]:
        """Take a request's injections from it: they wait again at their old place, or are used."""
        taken = self._bound.pop(request_id, ())
        self._bound_count -= len(taken)
        if wait_again:
            for held in taken:
                self._wait(held)
        else:
            self.counts.used += len(taken)
        return taken

    def waiting(self, injection_id: str) -> Held | None:
        """Return one that waits, or None."""
        session_id = self._session_of.get(injection_id)
        return None if session_id is None else self._waiting[session_id][injection_id]

    def drop(self, injection_id: str) -> Held | None:
        """Forget one that waits; returns it, or None when none such waits."""
        session_id = self._session_of.pop(injection_id, None)
        if session_id is None:
            return None
        waiting = self._waiting[session_id]
        held = waiting.pop(injection_id)
        if not waiting:
            del self._waiting[session_id]
        return held

    def put_back(self, held: Held) -> None:
        """Let one wait again that was dropped, at its old place."""
        self._wait(held)

    def _wait(self, held: Held) -> None:
        self._waiting.setdefault(held.session_id, {})[held.injection_id] = held
        self._session_of[held.injection_id] = held.session_id

    def _of(self, session_id: str) -> list[Held]:
        return sorted(self._waiting.get(session_id, {}).values(), key=lambda held: held.serial)

    # --- on their way ---------------------------------------------------------------------

    def expect(self, sessions: Iterable[str], arrived: asyncio.Future[None]) -> None:
        """Let the next prompts of these sessions wait until `arrived` is done."""
        named = tuple(sessions)
        for session_id in named:
            self._coming.setdefault(session_id, []).append(arrived)
        arrived.add_done_callback(lambda _: self._no_more(named, arrived))

    def _no_more(self, sessions: tuple[str, ...], arrived: asyncio.Future[None]) -> None:
        for session_id in sessions:
            coming = self._coming[session_id]
            coming.remove(arrived)
            if not coming:
                del self._coming[session_id]

    async def all_arrived(self, session_id: str) -> None:
        """Wait until what is on its way into a session now is there, or will not come."""
        coming = self._coming.get(session_id)
        if coming:
            await asyncio.wait(list(coming))
