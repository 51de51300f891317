"""Puts the engine together and takes back what its last life left on disk."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ksi_tui.config import Config, ProviderSettings
from ksi_tui.engine import admissions, events, journal
from ksi_tui.engine.admissions import Admissions
from ksi_tui.engine.attempt import Walker
from ksi_tui.engine.bookkeeper import Bookkeeper
from ksi_tui.engine.bulk import Bulk
from ksi_tui.engine.checkpoint import Checkpoints
from ksi_tui.engine.clock import Clock
from ksi_tui.engine.conclusions import Conclusions
from ksi_tui.engine.control_replies import circuit_told
from ksi_tui.engine.controls import Controls
from ksi_tui.engine.core import Core
from ksi_tui.engine.dispatch import Dispatcher
from ksi_tui.engine.endings import Endings
from ksi_tui.engine.entrance import Entrance
from ksi_tui.engine.events import Router
from ksi_tui.engine.finding.requests import Requests
from ksi_tui.engine.injection.checkpoint import InjectionCheckpoint
from ksi_tui.engine.injection.events import InjectionEvents
from ksi_tui.engine.injection.injector import Injector
from ksi_tui.engine.injection.keeper import InjectionKeeper
from ksi_tui.engine.intake import Intake
from ksi_tui.engine.intervene import Interventions
from ksi_tui.engine.lock_keeper import LockKeeper
from ksi_tui.engine.models import CallRecord, Cause, State
from ksi_tui.engine.offers import Offers
from ksi_tui.engine.pauses import PauseTable
from ksi_tui.engine.payload_cache import PayloadCache
from ksi_tui.engine.provider_controls import ProviderControls
from ksi_tui.engine.provider_manager import ProviderManager
from ksi_tui.engine.providers.base import Provider
from ksi_tui.engine.providers.factory import build_provider, needs_pool
from ksi_tui.engine.providers.pool import WorkerPool
from ksi_tui.engine.queue_manager import QueueManager
from ksi_tui.engine.replies import Replies
from ksi_tui.engine.reported import Reports
from ksi_tui.engine.retry_manager import RetryPolicy
from ksi_tui.engine.session_manager import LockTable, Session, SessionManager
from ksi_tui.engine.set_back import earlier, set_back_s
from ksi_tui.engine.snapshots import Snapshots
from ksi_tui.engine.store.base import CallBooked, LockGone, Store
from ksi_tui.engine.store.records import Recovery, UsageQuery
from ksi_tui.engine.store.response_files import ResponseFolder
from ksi_tui.engine.store.sqlite import open_store as open_sqlite
from ksi_tui.engine.ticket import Route, Ticket, ticket_found
from ksi_tui.engine.token_tracker import SPENDING_S, TokenTracker
from ksi_tui.engine.upkeep.cleanup import CleanUp
from ksi_tui.engine.upkeep.housekeeping import Housekeeper
from ksi_tui.engine.upkeep.idle_sessions import end_idle_sessions
from ksi_tui.engine.upkeep.response_writer import ResponseWriter
from ksi_tui.engine.why.causes import Causes
from ksi_tui.engine.worker_health import WorkerHealth

log = logging.getLogger(__name__)

CLOSE_WAIT_S = 5.0
"""How long the end of the engine waits for upstream connections to be confirmed closed."""

MANY = 10_000
"""From so many requests taken back on, the garbage collector leaves them out: they end by their
references, and walking 100,000 tickets would hold the loop for 0.2 s again and again."""


@dataclass(slots=True, kw_only=True, eq=False)
class Parts:
    """A running engine's duties."""

    core: Core
    walker: Walker
    dispatcher: Dispatcher
    conclusions: Conclusions
    intake: Intake
    interventions: Interventions
    locks: LockKeeper
    bulk: Bulk
    controls: Controls
    provider_controls: ProviderControls
    reports: Reports
    injector: Injector
    injections: InjectionEvents
    replies: Replies
    offers: Offers
    requests: Requests
    snapshots: Snapshots
    checkpoints: Checkpoints
    responses: ResponseWriter
    cleanup: CleanUp
    wires: Wires

    @property
    def pool(self) -> WorkerPool | None:
        """The provider workers; None while no provider needs any."""
        return self.wires.pool

    def housekeeper(self) -> Housekeeper:
        """Return what does this engine's regular duties, not yet started."""
        idle_s = self.core.config.engine.session_idle_minutes * 60
        return Housekeeper(
            self.core.clock,
            self.cleanup,
            save_providers=lambda: self.dispatcher.save_providers(
                anew=self.core.store.fault is not None
            ),
            end_idle_sessions=lambda now: self.end_idle_sessions(now, idle_s),
        )

    def end_idle_sessions(self, now: float, idle_s: float) -> bool:
        """Let sessions end in which nothing has happened for `idle_s`; True: there are more."""
        return end_idle_sessions(self.core, now, idle_s)

    async def aclose(self) -> None:
        """Close providers, book the calls that were still closing, file what is left, close all."""
        try:
            await self.injector.aclose()
            for entry in self.core.providers.entries():
                await entry.provider.aclose()
            if self.pool is not None:
                await self.pool.aclose(CLOSE_WAIT_S)
            self.walker.books.close_unconfirmed()
            self.dispatcher.save_providers()
            self.intake.numbers.settle()
        finally:
            try:
                await self.responses.aclose()
            finally:
                await self.core.store.aclose()


async def assemble(
    config: Config,
    *,
    clock: Clock,
    rng: random.Random,
    router: Router,
    open_store: Callable[[], Awaitable[Store]] | None,
    build: Callable[[ProviderSettings], Provider] | None,
    resume: bool,
) -> Parts:
    """Open the store, build every part, take back what was left; work begins at once.

    Raises StoreError and ConfigError.
    """
    ResponseFolder(config.engine.responses_path).check()
    store = await (open_store() if open_store else open_sqlite(config.engine.database_path))
    try:
        recovery = await store.load()
        parts = _build(config, clock, rng, router, store, build)
        parts.responses.take_up(await store.filing(), recovery.counts[State.COMPLETED])
        await _take_back(parts, recovery, resume=resume)
    except BaseException:
        await store.aclose()
        raise
    if parts.pool is not None:
        parts.pool.start()
    parts.responses.start()
    parts.wires.live = True
    parts.dispatcher.poke()
    return parts


class Wires:
    """What the parts tell each other. They need each other, so what they call is made first.

    `live`: the engine has started, so workers that are needed now start now.
    """

    core: Core
    dispatcher: Dispatcher
    pool: WorkerPool | None = None
    live = False

    def __init__(self, workers: int, router: Router, store: Store) -> None:
        self._workers = workers
        self.router = router
        self.store = store
        self.workers = WorkerHealth(lambda: self.pool is not None and self.pool.starting)

    def build(self, settings: ProviderSettings) -> Provider:
        """Return the provider that the settings describe, with workers where it needs them."""
        if self.pool is None and needs_pool((settings,)):
            self.pool = WorkerPool(self._workers, on_event=self.on_worker)
            if self.live:
                self.pool.start()
        return build_provider(settings, self.pool)

    def on_worker(self, name: str, data: dict[str, Any]) -> None:
        """A worker takes calls, or is gone."""
        if name == events.WORKER_STARTED:
            self.workers.started()
            self.on_freed()
        else:
            self.workers.lost(str(data.get("reason", "")), self.core.clock())
            if not self.workers.patient:
                self.on_freed()  # who waited for it may go to the next now
        self.router.publish(name, data)

    def on_circuit(self, provider: str, before: str, after: str, reason: str) -> None:
        """A circuit changed its state."""
        look = self.core.providers.known(provider).circuit.look(self.core.clock())
        told = circuit_told(provider, before, after, look) | {"reason": reason}
        self.router.publish(events.CIRCUIT, told)
        self.dispatcher.save_providers()
        if self.core.pauses.any_provider:
            # Who waits for a paused provider may have had this one beside it.
            self.dispatcher.reset_clocks()
        self.on_freed()

    def on_freed(self) -> None:
        """Something that made requests wait may have ended."""
        self.core.queue.provider_freed()
        self.core.poke()

    def gate(self, ticket: Ticket, now: float) -> Cause | None:
        """Say what holds a session's head back."""
        return self.dispatcher.gate(ticket, now)

    def served_by(self, route: Route) -> Hashable:
        """Name the providers that serve a route; their order says for whom it waits."""
        return self.core.providers.candidates(route).names

    def write_call(self, record: CallRecord) -> asyncio.Future[None]:
        """Put a call on disk that did not become its request's answer."""
        return self.store.write(CallBooked(call=record))


def _core(
    config: Config,
    clock: Clock,
    rng: random.Random,
    wires: Wires,
    build: Callable[[ProviderSettings], Provider] | None,
) -> Core:
    pauses = PauseTable()
    return Core(
        config=config,
        clock=clock,
        store=wires.store,
        router=wires.router,
        queue=QueueManager(wires.gate, wires.served_by),
        sessions=SessionManager(),
        locks=LockTable(),
        providers=ProviderManager(
            config,
            build or wires.build,
            wires.workers,
            on_circuit=wires.on_circuit,
            on_freed=wires.on_freed,
            pauses=pauses,
        ),
        tokens=TokenTracker(config.prices),
        payloads=PayloadCache(wires.store),
        retry=RetryPolicy(config.retry, rng),
        pauses=pauses,
    )


def _books(core: Core, kept: Admissions, wires: Wires) -> Bookkeeper:
    return Bookkeeper(
        core.config,
        core.clock,
        core.providers,
        core.tokens,
        kept,
        core.diversions,
        core.router,
        wires.write_call,
    )


def _build(
    config: Config,
    clock: Clock,
    rng: random.Random,
    router: Router,
    store: Store,
    build: Callable[[ProviderSettings], Provider] | None,
) -> Parts:
    wires = Wires(config.engine.workers, router, store)
    router.keep(journal.KEPT, journal.Journal(store, clock).keep)
    core = _core(config, clock, rng, wires, build)
    locks = LockKeeper(core)
    keeper = InjectionKeeper(core)
    endings = Endings(core, locks, keeper)
    conclusions = Conclusions(core, endings)
    kept = Admissions(store.write)
    books = _books(core, kept, wires)
    walker = Walker(clock, core.providers, kept, books)
    dispatcher = Dispatcher(core, walker, conclusions, endings, locks, keeper)
    wires.core, wires.dispatcher = core, dispatcher
    core.poke = dispatcher.poke
    causes = Causes(core, dispatcher.hold)
    intake = Intake(core, conclusions, Entrance(core, endings))
    interventions = Interventions(core, conclusions, endings)
    controls = Controls(core, dispatcher)
    replies = Replies(core, causes, books.closing)
    injector = Injector(core, intake, keeper)
    keeper.deliver = injector.deliver
    return Parts(
        core=core,
        walker=walker,
        dispatcher=dispatcher,
        conclusions=conclusions,
        intake=intake,
        interventions=interventions,
        locks=locks,
        bulk=Bulk(core, interventions),
        controls=controls,
        provider_controls=ProviderControls(core, dispatcher, replies),
        reports=Reports(core, endings, intake, interventions),
        injector=injector,
        injections=InjectionEvents(core, intake, injector, keeper, endings),
        replies=replies,
        offers=Offers(core, intake),
        requests=Requests(core, causes),
        snapshots=Snapshots(core, causes),
        checkpoints=Checkpoints(core, intake, controls, InjectionCheckpoint(core, keeper)),
        wires=wires,
        responses=ResponseWriter(core, ResponseFolder(config.engine.responses_path)),
        cleanup=CleanUp(core, locks),
    )


async def _take_back(parts: Parts, recovery: Recovery, *, resume: bool) -> None:
    core = parts.core
    now = core.clock()
    core.counts.update(recovery.counts)
    core.next_place = recovery.next_place
    core.next_number = recovery.next_number
    core.next_finish_seq = recovery.next_finish_seq
    core.recovery_cursor = recovery.next_finish_seq - 1
    core.providers.restore(recovery.providers, now)
    for pause in recovery.pauses:
        core.pauses.add(pause)
    admissions.restore(core.providers.entries(), recovery.admissions, now)
    unfinished = {found.request_id for found in recovery.unfinished}
    core.set_back_s = set_back_s(recovery, now)
    for lock in earlier(recovery.locks, core.set_back_s):
        if lock.request_id is not None and lock.request_id not in unfinished:
            # Its request ended in the moment in which the engine died.
            core.store.write(LockGone(session_id=lock.session_id))
            continue
        core.locks.restore(lock)
        core.alarms.set(("lock", lock.session_id), lock.expires_at)
    for found in recovery.sessions:
        core.sessions.restore(
            Session(
                session_id=found.session_id,
                created_at=found.created_at,
                last_activity=found.last_activity,
                request_count=found.request_count,
                turn_count=found.turn_count,
                agents=set(found.agents),
            )
        )
    await _seed_tokens(core, now)
    await parts.injector.take_back(recovery, resume=resume)
    if resume:
        core.recovered = len(recovery.unfinished)
        with _collector_paused():
            tickets = [ticket_found(found) for found in recovery.unfinished]
            parts.intake.go_on(tickets)
            if len(tickets) >= MANY:
                gc.freeze()


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the garbage collector from walking a hundred thousand new tickets again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


async def _seed_tokens(core: Core, now: float) -> None:
    midnight = now - now % 86_400
    today = await core.store.usage(UsageQuery(since=midnight, by="provider"))
    hour = UsageQuery(since=now - SPENDING_S, bucket_s=60)
    recent = await core.store.usage(UsageQuery(since=now - SPENDING_S, by="provider"))
    minutes = {
        name: await core.store.usage(replace(hour, provider=name)) for name, _ in recent if name
    }
    core.tokens.seed(now, today=today, minutes=minutes)
