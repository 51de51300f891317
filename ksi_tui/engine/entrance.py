"""Puts accepted requests on disk and lets them queue: the last step of taking them in.

A request that somebody follows already queues at once, and its call no longer waits for the
disk: its end is written after it, so that neither is told before both are there; who does not
follow it hears of it once it is on disk. Where nothing of its answer is told before the end, it
may share the end's transaction. All others queue once they are on disk, so that who submits one
and then subscribes misses nothing of it. What is accepted is decided before, in `intake`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from ksi_tui.engine.core import Core
from ksi_tui.engine.endings import Endings
from ksi_tui.engine.errors import (
    InvalidRequest,
    KsiError,
    NotReady,
    StoreError,
    StoreUnavailable,
)
from ksi_tui.engine.models import RequestSpec, State
from ksi_tui.engine.store.base import Write
from ksi_tui.engine.ticket import Ticket

UNHURRIED_S: Final = 0.02
"""So long the beginning of a request that has begun may wait for somebody's transaction."""
_NOT_WRITTEN: Final = "it could not be written down"

Replies = list[dict[str, Any] | KsiError | None]


@dataclass(slots=True, eq=False)
class Entering:
    """A request on its way to disk. `reply` is there once it queues."""

    ticket: Ticket
    spec: RequestSpec
    writes: tuple[Write, ...]
    new_session: bool
    reply: dict[str, Any] | None = None


class Entrance:
    """Where requests enter. Those that do and do not queue yet are counted here."""

    def __init__(self, core: Core, endings: Endings) -> None:
        self._core = core
        self._endings = endings
        self._of: Counter[str] = Counter()
        self._early = 0
        self._watches: list[set[str]] = []

    @property
    def waiting(self) -> int:
        """How many requests enter that do not queue yet."""
        return len(self._core.entering) - self._early

    def waiting_of(self, session_id: str) -> int:
        """Return how many of a session do."""
        return self._of[session_id]

    def add(self, ticket: Ticket) -> None:
        """Count a request that is about to be written down."""
        self._core.entering[ticket.request_id] = asyncio.get_running_loop().create_future()
        self._of[ticket.session_id] += 1
        for ids in self._watches:
            ids.add(ticket.request_id)

    @contextmanager
    def watched(self) -> Iterator[Collection[str]]:
        """Yield the ids that enter meanwhile: one that the store does not know at first may have
        been written down, have run and have ended before all is looked up.
        """
        ids: set[str] = set()
        self._watches.append(ids)
        try:
            yield ids
        finally:
            self._watches = [each for each in self._watches if each is not ids]

    async def commit(self, entering: Mapping[int, Entering], replies: Replies) -> None:
        """Write down what enters, in one transaction, let it queue, and answer in its places."""
        answered = asyncio.get_running_loop().create_future()
        each, *others = entering.values()
        early = not others and self._may_queue(each)

        def written(future: asyncio.Future[None]) -> None:
            # Here and not below: whoever waits for the answer may be gone by then.
            error = future.exception()
            try:
                for index, each in entering.items():
                    replies[index] = self._written(each, error)
            finally:
                if not answered.done():
                    answered.set_result(None)

        writes = [write for each in entering.values() for write in each.writes]
        store = self._core.store
        unhurried = early and each.spec.stream is False
        future = store.write_within(UNHURRIED_S, *writes) if unhurried else store.write(*writes)
        future.add_done_callback(written)
        if early:
            self._early += 1
            self._core.router.hold(each.ticket.request_id)
            self._queue(each)
        await answered

    def _may_queue(self, each: Entering) -> bool:
        """Whether a request may queue at once: it is followed, and alone in its session.

        What has terms of its own (a lock, an injection) waits until they are on disk, and
        everybody does while the disk fails.
        """
        core, spec = self._core, each.spec
        return (
            each.new_session
            and spec.lock is None
            and spec.injection is None
            and spec.chain is None
            and core.store.fault is None
            and core.payloads.has_room(spec)
            and core.router.follows(spec.request_id)
        )

    def _written(self, each: Entering, error: BaseException | None) -> dict[str, Any] | KsiError:
        """Let a request queue that is on disk, unless it does already; returns the answer."""
        waiter = self._core.entering.pop(each.ticket.request_id)
        if not waiter.done():
            waiter.set_result(None)
        if each.reply is not None:
            self._early -= 1
        if error is None:
            if each.reply is None:
                return self._queue(each)
            self._core.router.release(each.ticket.request_id)
            return each.reply
        if each.reply is None:
            self._count_out(each.ticket)
        else:
            self._take_back(each.ticket)
        return _not_written(error)

    def _queue(self, each: Entering) -> dict[str, Any]:
        """Let a request queue; returns the answer that says so."""
        core, ticket = self._core, each.ticket
        core.payloads.keep(ticket, each.spec)
        self._count_out(ticket)
        now = core.clock()
        core.tickets[ticket.request_id] = ticket
        core.counts[State.QUEUED] += 1
        session = core.sessions.seen(ticket.session_id, ticket.agent_id, now)
        session.request_count += 1
        if each.new_session:
            session.turn_count = 0
        core.queue.add(ticket, now)
        core.tell_queued(ticket)
        core.poke()
        each.reply = self._reply(ticket)
        return each.reply

    def _take_back(self, ticket: Ticket) -> None:
        """End a request that queued and is not on disk: nothing of it is kept or told."""
        core = self._core
        core.router.forget(ticket.request_id)
        if not ticket.state.final:
            self._endings.cancel(ticket, None, _NOT_WRITTEN)
        core.counts[ticket.state] -= 1
        core.recent_without(ticket.request_id)

    def _count_out(self, ticket: Ticket) -> None:
        self._of[ticket.session_id] -= 1
        if not self._of[ticket.session_id]:
            del self._of[ticket.session_id]

    def _reply(self, ticket: Ticket) -> dict[str, Any]:
        queue = self._core.queue
        position = queue.position(ticket)
        return {
            "request_id": ticket.request_id,
            "session_id": ticket.session_id,
            "status": "queued",
            "message": f"on disk, position {position} in its session",
            "queued": True,
            "queue_depth": queue.depth(ticket.session_id),
            "position": position,
            "session_active": queue.active(ticket.session_id),
        }


def _not_written(error: BaseException) -> KsiError:
    if isinstance(error, StoreError) and not isinstance(error, StoreUnavailable):
        return InvalidRequest(f"nothing was accepted: {error}")
    return NotReady(f"nothing was accepted: {error}")
