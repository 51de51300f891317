"""Injects results into sessions: for the next prompt there, or as a completion of its own.

A result that is to be injected is owed from the transaction on that holds it, and until
the one that holds its injections: whatever dies in between, the next engine goes on, and
neither is lost and neither comes twice. What the prompts do with it is `keeper`'s.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ksi_tui.engine import events
from ksi_tui.engine.clock import iso
from ksi_tui.engine.core import Core
from ksi_tui.engine.errors import Conflict, EventError, NotReady, QueueFull, StoreError
from ksi_tui.engine.injection.keeper import InjectionKeeper, source_of
from ksi_tui.engine.injection.policy import (
    Blocked,
    Chain,
    ChainBounds,
    Injection,
    InjectionState,
    InjectMode,
    Source,
    compose,
    content_fault,
    over_bound,
)
from ksi_tui.engine.intake import Intake
from ksi_tui.engine.models import Priority, RequestSpec, State
from ksi_tui.engine.store.base import Write
from ksi_tui.engine.store.injection_records import InjectionMoved, InjectionSaved, TermsGone
from ksi_tui.engine.store.records import Recovery

RETRY_S = 1.0
"""How long until a result is injected again when the disk refused it."""
CLOSE_WAIT_S = 5.0
"""How long the end of the engine waits for results on their way; the rest goes next time."""

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Delivery:
    """What became of one result, or of what was given by hand."""

    stored: list[Injection] = field(default_factory=list)
    queued: list[Injection] = field(default_factory=list)
    blocked: list[Injection] = field(default_factory=list)
    duplicates: int = 0


class Injector:
    """Delivers what is injected. Owns one task for each result on its way."""

    def __init__(self, core: Core, intake: Intake, keeper: InjectionKeeper) -> None:
        self._core = core
        self._intake = intake
        self._keeper = keeper
        self._tasks: set[asyncio.Task[None]] = set()
        self._injecting: dict[str, asyncio.Future[None]] = {}

    # --- life -------------------------------------------------------------------------------

    async def take_back(self, recovery: Recovery, *, resume: bool) -> None:
        """Take back what an earlier life left, and inject what it owed if it is resumed."""
        self._keeper.restore(recovery)
        if not resume:
            return
        for request_id, queued in recovery.injection_terms.items():
            if not queued.owed:
                continue
            stored = await self._core.store.request(request_id)
            if stored is None or stored.state is not State.COMPLETED:
                self.forget_terms(request_id)
                continue
            source = source_of(stored.spec, stored.text or "", queued)
            arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._core.injections.expect(source.targets, arrived)
            self.deliver(source, arrived)

    async def aclose(self) -> None:
        """Let what is on its way arrive, or leave it to the next engine."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=CLOSE_WAIT_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def deliver(self, source: Source, arrived: asyncio.Future[None]) -> None:
        """Inject a result that is owed; `arrived` is done when nobody need wait for it longer."""
        task = asyncio.get_running_loop().create_task(
            self._deliver(source, arrived), name=f"inject {source.request_id}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, source: Source, arrived: asyncio.Future[None]) -> None:
        try:
            while not await self._delivered(source):
                if not arrived.done():
                    arrived.set_result(None)
                await asyncio.sleep(RETRY_S)
        finally:
            if not arrived.done():
                arrived.set_result(None)

    async def _delivered(self, source: Source) -> bool:
        """Try to inject a result; False when it is to be tried again."""
        try:
            await self.inject(source)
        except (NotReady, StoreError) as error:
            log.warning("injection waits", extra={"of": source.request_id, "why": str(error)})
            return self._core.draining  # what is still owed then is the next engine's
        except Exception:  # the task's boundary: it stays owed, and the next engine tries again
            log.exception("injection failed", extra={"request_id": source.request_id})
        return True

    # --- one result -------------------------------------------------------------------------

    async def inject(self, source: Source) -> Delivery:
        """Inject a result wherever it may go; durable when this returns.

        Raises StoreError or EventError when that cannot be now; then nothing was injected.
        One result goes once at a time: the second finds what the first has written.
        """
        name = source.request_id
        while (other := self._injecting.get(name)) is not None:
            await asyncio.wait([other])
        mine = self._injecting[name] = asyncio.get_running_loop().create_future()
        try:
            return await self._inject(source)
        finally:
            del self._injecting[name]
            mine.set_result(None)

    async def _inject(self, source: Source) -> Delivery:
        core = self._core
        now = core.clock()
        delivery = Delivery()
        wanted = [source.injection(session_id, now) for session_id in source.targets]
        refused = await self._refused(source, now)
        known = await self._known([each.injection_id for each in wanted])
        chosen: list[Injection] = []
        for injection in wanted:
            obstacle = refused or self.full(injection, chosen)
            if injection.injection_id in known:
                delivery.duplicates += 1
            elif obstacle is not None:
                delivery.blocked.append(_blocked(injection, obstacle))
            else:
                chosen.append(injection)
        records: list[Write] = [InjectionSaved(injection=each) for each in delivery.blocked]
        writes = records if source.stored else []
        await self._put(chosen, source, [*writes, TermsGone(request_id=source.request_id)])
        core.injections.terms.pop(source.request_id, None)
        self._tell(delivery, chosen, source.request_id)
        return delivery

    async def _known(self, ids: Sequence[str]) -> set[str]:
        """Return which ids were given to an injection, or its completion, before."""
        store = self._core.store
        found = {injection.injection_id for injection in await store.injections(ids)}
        return found | set(await store.states(ids))

    async def _refused(self, source: Source, now: float) -> Blocked | None:
        """Return why a result may go nowhere, or None."""
        if source.injected:
            return Blocked(bound="born_of_injection", limit=0, found=1)
        fault = content_fault(source.content, source.terms.follow_up_guidance)
        if fault is not None:
            return fault
        return over_bound(source.bounds, await self._chain(source, now), now)

    async def _chain(self, source: Source, now: float) -> Chain:
        store, parent = self._core.store, source.bounds.parent_request_id
        chain = await store.chain(source.request_id) if source.stored else None
        if chain is None and parent is not None:
            above = await store.chain(parent)
            chain = None if above is None else replace(above, depth=above.depth + 1)
        return chain or Chain(depth=1, tokens=0, root_at=now)

    def full(self, injection: Injection, before: Sequence[Injection] = ()) -> Blocked | None:
        """Return the limit that one more injection would be over after those, or None."""
        if injection.mode is InjectMode.NEXT:
            return self._core.injections.room(injection.session_id, injection.chars)
        full = self._intake.full(injection.session_id, [each.session_id for each in before])
        if full is None:
            return None
        bound, limit, found = full
        return Blocked(bound=bound, limit=limit, found=found)

    # --- writing ------------------------------------------------------------------------------

    async def by_hand(self, injections: Sequence[Injection], model: str | None) -> Delivery:
        """Inject what somebody gave; durable when this returns. Raises as `inject` does."""
        delivery = Delivery()
        await self._put(injections, None, [], model)
        self._tell(delivery, injections, None)
        return delivery

    async def at_once(
        self, injection: Injection, like: RequestSpec | None, model: str | None
    ) -> None:
        """Let an injection that waits go as a completion of its own now.

        `like` is the request whose result it is, if known. Raises as `inject` does, QueueFull
        over a limit of the queue, or Conflict when it waits no more; what waited goes on then.
        """
        spec = self._completion(injection, like, model)
        direct = replace(injection, mode=InjectMode.DIRECT)
        full = self.full(direct)
        if full is not None and self._core.injections.waiting(injection.injection_id) is not None:
            raise QueueFull(f"session {direct.session_id}: {full.text()}; it goes on waiting")
        held = self._keeper.take_out(injection.injection_id)
        if held is None:
            raise Conflict(f"{injection.injection_id} waits no more")
        moved = InjectionMoved(
            injection_id=injection.injection_id,
            state=InjectionState.QUEUED,
            at=self._core.clock(),
            request_id=injection.injection_id,
        )
        try:
            await self._intake.own([spec], [moved])
        except EventError:
            self._keeper.put_back(held)
            raise
        self._tell(Delivery(), [direct], injection.source_id)

    async def _put(
        self,
        chosen: Sequence[Injection],
        source: Source | None,
        writes: Sequence[Write],
        model: str | None = None,
    ) -> None:
        """Write down injections of one mode, and `writes` with them in one transaction."""
        direct = [each for each in chosen if each.mode is InjectMode.DIRECT]
        if direct:
            records = [
                InjectionSaved(
                    injection=replace(
                        each,
                        state=InjectionState.QUEUED,
                        request_id=each.injection_id,
                        bound_at=each.created_at,
                        expires_at=None,
                    )
                )
                for each in direct
            ]
            specs = [self._completion(each, source, model) for each in direct]
            await self._intake.own(specs, [*records, *writes])
            return
        kept = [self._keeper.keep(each) for each in chosen]
        try:
            await asyncio.shield(self._core.store.write(*kept, *writes))
        except StoreError:
            for each in chosen:
                self._keeper.take_out(each.injection_id)
            raise

    def _completion(
        self, injection: Injection, like: Source | RequestSpec | None, model: str | None
    ) -> RequestSpec:
        """Return the completion that a direct injection becomes.

        It is the agent's and asks for the model of its source (`like`), one deeper in the chain.
        """
        settings = self._core.config
        parent = injection.source_id
        return RequestSpec(
            request_id=injection.injection_id,
            session_id=injection.session_id,
            model=self._intake.model(model or (like.model if like else None)),
            prompt=compose(None, [injection]),
            agent_id=like.agent_id if like else None,
            client_id=like.client_id if like else None,
            priority=Priority.INJECT,
            timeout_s=settings.engine.timeout_s,
            max_attempts=settings.retry.max_attempts,
            chain=None if parent is None else ChainBounds(parent_request_id=parent),
            injected=True,
        )

    def forget_terms(self, request_id: str) -> asyncio.Future[None]:
        """Take back what was queued or owed for a request."""
        self._core.injections.terms.pop(request_id, None)
        return self._core.store.write(TermsGone(request_id=request_id))

    # --- telling ------------------------------------------------------------------------------

    def _tell(
        self, delivery: Delivery, chosen: Sequence[Injection], request_id: str | None
    ) -> None:
        """Count and publish what became of injections, now that it is on disk."""
        core, counts = self._core, self._core.injections.counts
        for injection in chosen:
            direct = injection.mode is InjectMode.DIRECT
            (delivery.queued if direct else delivery.stored).append(injection)
            data = {
                "request_id": request_id,
                "session_id": injection.session_id,
                "injection_id": injection.injection_id,
                "mode": str(injection.mode),
                "position": str(injection.position),
                "trigger_type": injection.trigger_type,
            }
            if direct:
                counts.queued += 1
                data["queued_request_id"] = injection.injection_id
                core.publish(events.INJECTION_QUEUED, data)
            else:
                counts.stored += 1
                data["expires_at"] = iso(injection.expires_at)
                core.publish(events.INJECTION_STORED, data)
        for injection in delivery.blocked:
            counts.blocked += 1
            core.publish(events.INJECTION_BLOCKED, blocked_event(injection, request_id))


def blocked_event(injection: Injection, request_id: str | None) -> dict[str, object]:
    """Return what is told of an injection that a bound has stopped."""
    blocked = injection.blocked
    assert blocked is not None
    return {
        "request_id": request_id,
        "session_id": injection.session_id,
        "mode": str(injection.mode),
        "bound": blocked.bound,
        "limit": blocked.limit,
        "found": blocked.found,
        "reason": blocked.text(),
    }


def _blocked(injection: Injection, obstacle: Blocked) -> Injection:
    """Return the record of an injection that a bound has stopped; its text is not kept twice."""
    return replace(
        injection,
        injection_id=f"blocked-{uuid.uuid4().hex[:24]}",
        content="",
        state=InjectionState.BLOCKED,
        blocked=obstacle,
        expires_at=None,
    )
