"""Keeps injections where they belong: waiting, part of one prompt, used, expired.

The rules are those of `policy` and `pending`; here they meet the store, the
alarms and the requests' lives. What goes where, and whether it may, is `injector`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from ksi_tui.engine.core import Core
from ksi_tui.engine.injection.pending import Held
from ksi_tui.engine.injection.policy import (
    ChainBounds,
    Injection,
    InjectionState,
    QueuedTerms,
    Source,
    compose,
)
from ksi_tui.engine.models import RequestSpec, State
from ksi_tui.engine.store.base import Write
from ksi_tui.engine.store.injection_records import InjectionMoved, InjectionSaved, TermsSaved
from ksi_tui.engine.store.records import Recovery
from ksi_tui.engine.ticket import Ticket

Deliver = Callable[[Source, "asyncio.Future[None]"], None]


def _nobody(_: Source, arrived: asyncio.Future[None]) -> None:
    """Stand for the injector until it is there."""
    arrived.set_result(None)


class InjectionKeeper:
    """Changes where injections are. `deliver` takes results whose requests have completed."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.deliver: Deliver = _nobody

    def restore(self, recovery: Recovery) -> None:
        """Take back what an earlier life left."""
        table, unfinished = self.core.injections, {f.request_id for f in recovery.unfinished}
        table.terms.update(recovery.injection_terms)
        for found in recovery.injections:
            expires_at = found.expires_at
            if expires_at is not None:
                expires_at -= self.core.set_back_s
            held = self._wait(found.injection_id, found.session_id, found.chars, expires_at)
            if found.request_id is not None and found.request_id in unfinished:
                self.take_out(held.injection_id)
                table.bind_again(found.request_id, [held])

    # --- waiting --------------------------------------------------------------------------

    def keep(self, injection: Injection) -> InjectionSaved:
        """Let an injection wait for its session's next prompt; returns the write that keeps it."""
        self._wait(
            injection.injection_id, injection.session_id, injection.chars, injection.expires_at
        )
        return InjectionSaved(injection=injection)

    def _wait(
        self, injection_id: str, session_id: str, chars: int, expires_at: float | None
    ) -> Held:
        held = self.core.injections.add(injection_id, session_id, chars, expires_at)
        self._arm(held)
        return held

    def _arm(self, held: Held) -> None:
        if held.expires_at is not None:
            self.core.alarms.set(("injection", held.injection_id), held.expires_at)
            self.core.poke()

    def take_out(self, injection_id: str) -> Held | None:
        """Let an injection wait no more; returns it, None when it does not wait."""
        self.core.alarms.clear(("injection", injection_id))
        return self.core.injections.drop(injection_id)

    def put_back(self, held: Held) -> None:
        """Let one wait again that was taken out, at its old place."""
        self.core.injections.put_back(held)
        self._arm(held)

    def expire(self, injection_id: str, now: float) -> None:
        """Drop an injection whose time is over."""
        if self.take_out(injection_id) is not None:
            self.core.injections.counts.expired += 1
            self.core.store.write(
                InjectionMoved(injection_id=injection_id, state=InjectionState.EXPIRED, at=now)
            )

    # --- the life of a prompt ---------------------------------------------------------------

    async def attach(self, ticket: Ticket, spec: RequestSpec) -> RequestSpec:
        """Return a prompt's spec with what waits for its session in it.

        The first attempt decides what that is. It is bound to the request on disk before
        anything is sent, so that every later attempt sends the same, also after a crash.
        """
        core = self.core
        table = core.injections
        if not table.concerns(ticket.session_id, ticket.request_id):
            return spec
        await table.all_arrived(ticket.session_id)
        held = table.bound_to(ticket.request_id)
        sent = ticket.called or ticket.attempts or ticket.interruptions
        if not held and not sent:
            held = table.bind(ticket.session_id, ticket.request_id)
            for each in held:
                core.alarms.clear(("injection", each.injection_id))
        if not held:
            return spec
        await asyncio.shield(core.store.write(*self._moves(held, ticket.request_id)))
        found = await core.store.injections([each.injection_id for each in held])
        return replace(spec, prompt=compose(spec.prompt, found))

    def _moves(self, held: Sequence[Held], request_id: str) -> list[Write]:
        now = self.core.clock()
        return [
            InjectionMoved(
                injection_id=each.injection_id,
                state=InjectionState.BOUND,
                at=now,
                request_id=request_id,
            )
            for each in held
        ]

    def ended(self, ticket: Ticket, state: State, now: float) -> list[Write]:
        """A request gets its final state: return what keeps where its injections are then.

        Completed, it has used them (`used` forgets them once that is on disk); else they
        wait for the next prompt.
        """
        table = self.core.injections
        if not table.bound_to(ticket.request_id):
            return []
        if state is State.COMPLETED:
            return [
                InjectionMoved(
                    injection_id=held.injection_id,
                    state=InjectionState.USED,
                    at=now,
                    request_id=ticket.request_id,
                )
                for held in table.bound_to(ticket.request_id)
            ]
        released = table.unbind(ticket.request_id, wait_again=True)
        for held in released:
            self._arm(held)
        return [
            InjectionMoved(injection_id=held.injection_id, state=InjectionState.PENDING, at=now)
            for held in released
        ]

    def used(self, request_id: str) -> None:
        """A request has completed, on disk: forget what was in its prompt."""
        self.core.injections.unbind(request_id, wait_again=False)

    # --- the life of a result -----------------------------------------------------------------

    def owed(self, spec: RequestSpec, text: str) -> Source | None:
        """Return what shall be injected of a request that completes with `text`, or None.

        Its own `injection_config` is meant, else the terms that were queued for it.
        """
        queued = self.core.injections.terms.get(spec.request_id)
        if spec.injection is not None:
            queued = QueuedTerms(terms=spec.injection)
        return None if queued is None else source_of(spec, text, queued)

    def owe(self, source: Source) -> TermsSaved:
        """Return the write by which a result is still injected after a crash."""
        queued = QueuedTerms(terms=source.terms, bounds=source.bounds, owed=True)
        return TermsSaved(request_id=source.request_id, queued=queued)

    def follow(self, source: Source, written: asyncio.Future[None]) -> None:
        """Inject a result once it is on disk; the next prompts of its targets wait for it."""
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.core.injections.expect(source.targets, arrived)

        def on_disk(future: asyncio.Future[None]) -> None:
            if future.cancelled() or future.exception() is not None:
                arrived.set_result(None)
            else:
                self.core.injections.terms[source.request_id] = self.owe(source).queued
                self.deliver(source, arrived)

        written.add_done_callback(on_disk)


def source_of(spec: RequestSpec, text: str, queued: QueuedTerms) -> Source:
    """Return what is injected of a request's result."""
    return Source(
        request_id=spec.request_id,
        session_id=spec.session_id,
        content=text,
        terms=queued.terms,
        bounds=queued.bounds or spec.chain or ChainBounds(),
        model=spec.model,
        agent_id=spec.agent_id,
        client_id=spec.client_id,
        injected=spec.injected,
    )
