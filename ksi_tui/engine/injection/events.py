"""Answers `injection:*`: by hand what completions do by themselves, and what waits where.

Each reply begins with `status` and holds counts. What is changed is on disk before it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

from ksi_tui.engine.core import Core
from ksi_tui.engine.endings import Endings
from ksi_tui.engine.errors import Conflict, EventError, InvalidRequest, NotFound, QueueFull
from ksi_tui.engine.injection.injector import Delivery, Injector, blocked_event
from ksi_tui.engine.injection.keeper import InjectionKeeper, source_of
from ksi_tui.engine.injection.payloads import (
    MAX_BATCH,
    ClearInjections,
    ExecuteInjection,
    Inject,
    InjectionBatch,
    ListInjections,
    ProcessResult,
    QueueInjection,
)
from ksi_tui.engine.injection.policy import (
    MAX_CONTENT_CHARS,
    MAX_PENDING,
    MAX_PENDING_CHARS,
    MAX_PENDING_PER_SESSION,
    MAX_QUEUED_TERMS,
    MAX_TARGETS,
    Blocked,
    ChainBounds,
    Injection,
    InjectionState,
    InjectMode,
    QueuedTerms,
    Source,
    content_fault,
    plain,
)
from ksi_tui.engine.injection.report import described
from ksi_tui.engine.intake import Intake, refusal
from ksi_tui.engine.models import State
from ksi_tui.engine.payloads import Nothing, Payload, parse
from ksi_tui.engine.store.injection_records import InjectionMoved, TermsSaved
from ksi_tui.engine.store.records import StoredRequest

LIST_LIMIT = 100
"""How many injections, and how many queued terms, `injection:list` names."""


class InjectionEvents:
    """Handles the events of injection."""

    def __init__(
        self,
        core: Core,
        intake: Intake,
        injector: Injector,
        keeper: InjectionKeeper,
        endings: Endings,
    ) -> None:
        self._core = core
        self._intake = intake
        self._injector = injector
        self._keeper = keeper
        self._endings = endings

    # --- inject -------------------------------------------------------------------------------

    async def inject(self, data: Inject) -> dict[str, Any]:
        """Inject a text given by hand into its sessions: all of them, or none and why."""
        terms = data.terms()
        assert terms is not None
        now = self._core.clock()
        injections = [
            Injection(
                injection_id=f"inj-{uuid.uuid4().hex[:24]}",
                session_id=session_id,
                mode=terms.mode,
                position=terms.position,
                content=data.content,
                created_at=now,
                trigger_type=terms.trigger_type,
                follow_up_guidance=terms.follow_up_guidance,
                expires_at=None if terms.ttl_s is None else now + terms.ttl_s,
            )
            for session_id in terms.sessions(data.session_id)
        ]
        fault = content_fault(data.content, terms.follow_up_guidance)
        if fault is not None:
            raise InvalidRequest(f"injection:inject: content: {fault.text()}")
        if terms.mode is InjectMode.DIRECT:
            self._intake.model(data.model)
        elif data.model is not None:
            raise InvalidRequest("injection:inject: model goes with mode direct")
        for number, injection in enumerate(injections):
            full = self._injector.full(injection, injections[:number])
            _refuse(full, injection.session_id)
        delivery = await self._injector.by_hand(injections, data.model)
        return _injected(delivery, "queued" if terms.mode is InjectMode.DIRECT else "stored")

    async def batch(self, data: InjectionBatch) -> dict[str, Any]:
        """Inject many; refusals stand in their places."""

        async def one(item: Mapping[str, Any]) -> dict[str, Any]:
            try:
                return await self.inject(parse(Inject, item, "injection:batch"))
            except EventError as error:
                return refusal(error)

        results = await asyncio.gather(*(one(item) for item in data.injections))
        return {
            "status": "processed",
            "results": list(results),
            "stored": sum(result.get("stored", 0) for result in results),
            "queued": sum(result.get("queued", 0) for result in results),
            "refused": sum("code" in result for result in results),
        }

    # --- results ------------------------------------------------------------------------------

    async def queue(self, data: QueueInjection) -> dict[str, Any]:
        """Keep terms until the request named completes; `enabled: false` takes them back."""
        core, request_id = self._core, data.request_id
        await core.entered(request_id)
        stored = await self._settled(request_id)
        table, terms = core.injections, data.injection_config.terms()
        if stored is not None and stored.spec.injected:
            raise Conflict(f"{request_id} was born of an injection and does not inject again")
        if stored is not None and stored.spec.injection is not None:
            raise Conflict(f"{request_id} has an injection_config of its own")
        if terms is None:
            removed = request_id in table.terms
            await asyncio.shield(self._injector.forget_terms(request_id))
        elif request_id not in table.terms and len(table.terms) >= MAX_QUEUED_TERMS:
            raise QueueFull(
                f"terms are queued for {len(table.terms)} requests, {MAX_QUEUED_TERMS} is the limit"
            )
        else:
            breaker = data.circuit_breaker_config
            queued = QueuedTerms(terms=terms, bounds=breaker.bounds() if breaker else None)
            table.terms[request_id] = queued
            written = core.store.write(TermsSaved(request_id=request_id, queued=queued))
            await asyncio.shield(written)
            removed = False
        return {
            "status": "queued" if terms is not None else "removed" if removed else "not_queued",
            "request_id": request_id,
            "request_status": None if stored is None else str(self._state(stored)),
            "queued_terms": len(table.terms),
        }

    async def _settled(self, request_id: str) -> StoredRequest | None:
        """Return a request as it is in memory or, once its end is there, on disk."""
        core = self._core
        stored = await core.store.request(request_id)
        ticket = core.tickets.get(request_id)
        if stored is None or stored.state.final or (ticket and not ticket.state.final):
            return stored
        if request_id in core.finishing:
            await asyncio.wait([core.finishing[request_id]])
        return await core.store.request(request_id)

    def _state(self, stored: StoredRequest) -> State:
        ticket = self._core.tickets.get(stored.spec.request_id)
        return stored.state if ticket is None else ticket.state

    async def execute(self, data: ExecuteInjection) -> dict[str, Any]:
        """Do now what waits: an injection becomes a completion, a queued result is injected."""
        if data.injection_id is not None:
            return await self._execute_waiting(data.injection_id, data.model)
        core, request_id = self._core, data.request_id or ""
        queued = core.injections.terms.get(request_id)
        if queued is None:
            raise NotFound(f"nothing is queued for a request {request_id!r}")
        await core.entered(request_id)
        stored = await core.store.request(request_id)
        if stored is None:
            raise Conflict(f"{request_id} has not come yet; it injects when it completes")
        state = self._state(stored)
        if stored.state is not State.COMPLETED:
            when = "has no result" if state.final else "injects when it completes"
            raise Conflict(f"{request_id} is {state}; it {when}")
        source = source_of(stored.spec, stored.text or "", queued)
        return _injected(await self._injector.inject(source))

    async def _execute_waiting(self, injection_id: str, model: str | None) -> dict[str, Any]:
        core = self._core
        found = await core.store.injections([injection_id])
        if not found:
            raise NotFound(f"no injection {injection_id!r}")
        injection = found[0]
        if core.injections.waiting(injection_id) is None:
            state = "part of a prompt" if injection.state is InjectionState.BOUND else "not waiting"
            raise Conflict(f"{injection_id} is {state}; only what waits can go now")
        source = None
        if injection.source_id is not None:
            source = await core.store.request(injection.source_id)
        await self._injector.at_once(injection, None if source is None else source.spec, model)
        return {
            "status": "queued",
            "stored": 0,
            "queued": 1,
            "injection_ids": [injection_id],
            "request_ids": [injection_id],
            "sessions": [injection.session_id],
        }

    async def process_result(self, data: ProcessResult) -> dict[str, Any]:
        """Do with a result given by hand what happens with one when its request completes.

        The same result a second time is a duplicate and changes nothing.
        """
        core = self._core
        await core.entered(data.request_id)
        stored = await core.store.request(data.request_id)
        queued = self._terms_for(data, stored)
        if queued is None:
            return _injected(Delivery(), "nothing_to_inject")
        if stored is not None:
            source = source_of(stored.spec, data.result, queued)
        else:
            targets = queued.terms.sessions("")
            if data.session_id is None and "" in targets:
                raise InvalidRequest(
                    f"injection:process_result: session_id is missing: the request "
                    f"{data.request_id!r} is not known, and its own session is a target"
                )
            source = Source(
                request_id=data.request_id,
                session_id=data.session_id or "",
                content=data.result,
                terms=queued.terms,
                bounds=queued.bounds or ChainBounds(),
                model=data.model,
                stored=False,
            )
        return _injected(await self._injector.inject(source))

    def _terms_for(self, data: ProcessResult, stored: StoredRequest | None) -> QueuedTerms | None:
        breaker = data.circuit_breaker_config
        bounds = None if breaker is None else breaker.bounds()
        queued = self._core.injections.terms.get(data.request_id)
        terms = queued.terms if queued is not None else None
        if stored is not None and stored.spec.injection is not None:
            terms = stored.spec.injection
        if data.injection_config is not None:
            terms = data.injection_config.terms()
        if terms is None:
            return None
        return QueuedTerms(terms=terms, bounds=bounds or (queued.bounds if queued else None))

    # --- what waits -----------------------------------------------------------------------------

    async def listed(self, data: ListInjections) -> dict[str, Any]:
        """Name what waits, and for which requests terms are queued."""
        core = self._core
        table = core.injections
        ids = table.ids(data.session_id)
        bound = table.bound_ids(data.session_id)
        found = await core.store.injections(ids[:LIST_LIMIT])
        terms = [] if data.session_id is not None else list(table.terms.items())[:LIST_LIMIT]
        return {
            "status": "listed",
            "injections": [described(injection) for injection in found],
            "pending": len(ids),
            "bound": len(bound),
            "queued": [
                {"request_id": request_id, "injection_config": plain(queued.terms)}
                for request_id, queued in terms
            ],
            "limited_to": LIST_LIMIT,
        }

    async def clear(self, data: ClearInjections) -> dict[str, Any]:
        """Take back what waits for a session: for its prompts, and as completions of its own.

        What is part of a prompt already stays, as does a completion that runs.
        """
        core, now = self._core, self._core.clock()
        cleared: list[str] = []
        cancelled: list[str] = []
        if data.mode is not InjectMode.DIRECT:
            cleared = core.injections.ids(data.session_id)
            for injection_id in cleared:
                self._keeper.take_out(injection_id)
            moves = [
                InjectionMoved(injection_id=each, state=InjectionState.CLEARED, at=now)
                for each in cleared
            ]
            core.injections.counts.cleared += len(moves)
            await asyncio.shield(core.store.write(*moves))
        if data.mode is not InjectMode.NEXT:
            cancelled = await self._cancel_direct(data.session_id)
        return {
            "status": "cleared",
            "session_id": data.session_id,
            "cleared": len(cleared),
            "cancelled": len(cancelled),
            "request_ids": cancelled,
        }

    async def _cancel_direct(self, session_id: str) -> list[str]:
        core = self._core
        lane = core.queue.lane(session_id)
        waiting = [ticket.request_id for ticket in lane.waiting] if lane is not None else []
        cancelled: list[str] = []
        ends: list[asyncio.Future[None]] = []
        for request_id in await core.store.direct_of(waiting):
            ticket = core.tickets.get(request_id)
            if ticket is not None and ticket.run is None and not ticket.state.final:
                ends.append(self._endings.cancel(ticket, None, "injection cleared"))
                cancelled.append(request_id)
        await asyncio.gather(*(asyncio.shield(end) for end in ends))
        return cancelled

    async def status(self, _: Nothing) -> dict[str, Any]:
        """Answer `injection:status`; the counts of events are since the engine started."""
        table = self._core.injections
        return {
            "status": "active",
            "pending": table.pending,
            "bound": table.bound,
            "sessions": table.session_count,
            "queued_terms": sum(not queued.owed for queued in table.terms.values()),
            "owed": sum(queued.owed for queued in table.terms.values()),
            "since_start": asdict(table.counts),
            "limits": {
                "max_content_chars": MAX_CONTENT_CHARS,
                "max_pending_per_session": MAX_PENDING_PER_SESSION,
                "max_pending_chars": MAX_PENDING_CHARS,
                "max_pending": MAX_PENDING,
                "max_queued_terms": MAX_QUEUED_TERMS,
                "max_targets": MAX_TARGETS,
                "max_batch": MAX_BATCH,
            },
        }


Answer = Callable[[InjectionEvents, Any], Awaitable[dict[str, Any]]]

HANDLERS: Final[dict[str, tuple[type[Payload], Answer]]] = {
    "injection:inject": (Inject, InjectionEvents.inject),
    "injection:queue": (QueueInjection, InjectionEvents.queue),
    "injection:execute": (ExecuteInjection, InjectionEvents.execute),
    "injection:process_result": (ProcessResult, InjectionEvents.process_result),
    "injection:batch": (InjectionBatch, InjectionEvents.batch),
    "injection:list": (ListInjections, InjectionEvents.listed),
    "injection:clear": (ClearInjections, InjectionEvents.clear),
    "injection:status": (Nothing, InjectionEvents.status),
}
"""The events with the shape of their data and who answers them."""


def _refuse(blocked: Blocked | None, session_id: str) -> None:
    if blocked is not None:
        raise QueueFull(f"session {session_id}: {blocked.text()}; nothing was injected")


def _injected(delivery: Delivery, status: str | None = None) -> dict[str, Any]:
    """Return what became of injections as a reply."""
    done = [*delivery.stored, *delivery.queued]
    if status is None:
        status = "injected" if done else "blocked" if delivery.blocked else "duplicate"
    return {
        "status": status,
        "stored": len(delivery.stored),
        "queued": len(delivery.queued),
        "blocked": len(delivery.blocked),
        "duplicates": delivery.duplicates,
        "injection_ids": [injection.injection_id for injection in done],
        "request_ids": [injection.injection_id for injection in delivery.queued],
        "sessions": [injection.session_id for injection in done],
        "reasons": [
            {
                key: blocked_event(each, None)[key]
                for key in ("session_id", "bound", "limit", "found")
            }
            for each in delivery.blocked
        ],
    }
