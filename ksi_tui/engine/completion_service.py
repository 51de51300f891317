"""The orchestrator: composes the engine's parts, registers the handlers, begins and ends.

`CompletionEngine` is the in-process `EngineClient`. What the handlers do is in the
modules of their duties (intake, dispatch, intervene, replies, snapshots).
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

from ksi_tui import __version__
from ksi_tui.config import Config, ProviderSettings
from ksi_tui.engine.assembly import Parts, assemble
from ksi_tui.engine.checkpoint_payloads import Checkpoint
from ksi_tui.engine.clock import Clock, steady_clock
from ksi_tui.engine.control_payloads import (
    AddProvider,
    ForceCircuit,
    Probe,
    QueueScope,
    ReportedFailure,
    ResetCircuit,
    ResetConversation,
)
from ksi_tui.engine.errors import InvalidRequest, KsiError, NotReady
from ksi_tui.engine.events import OF_REQUEST, Router, Subscription
from ksi_tui.engine.finding.payloads import FindNames, FindRequests
from ksi_tui.engine.following import so_far
from ksi_tui.engine.injection.events import HANDLERS as INJECTION_HANDLERS
from ksi_tui.engine.injection.events import Answer
from ksi_tui.engine.intake import refusal
from ksi_tui.engine.payload_errors import shortened
from ksi_tui.engine.payloads import (
    AcquireLock,
    Batch,
    Cancel,
    MaybeProvider,
    Nothing,
    Payload,
    PayloadT,
    Preview,
    ReleaseLock,
    RequestStatus,
    Results,
    Retry,
    SessionStatus,
    Shutdown,
    TokenUsage,
    parse,
)
from ksi_tui.engine.providers.base import Provider
from ksi_tui.engine.store.base import Store
from ksi_tui.engine.upkeep.housekeeping import Housekeeper
from ksi_tui.engine.usage_payloads import JournalPage, Series
from ksi_tui.engine.views import Level, Snapshot, SnapshotQuery, Totals, Verdict

log = logging.getLogger(__name__)

OpenStore = Callable[[], Awaitable[Store]]
Build = Callable[[ProviderSettings], Provider]


class CompletionEngine:
    """The engine, as an async context manager and as the client of itself.

    Entering opens the database, takes back what an earlier life left and begins to work;
    it raises StoreError or ConfigError when it cannot. With `resume=False` what was left
    unfinished stays on disk, untouched. Leaving drains for `engine.shutdown_grace_s`.
    `open_store` and `build` replace the store and the providers, for tests.
    """

    def __init__(
        self,
        config: Config,
        *,
        resume: bool = True,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        open_store: OpenStore | None = None,
        build: Build | None = None,
    ) -> None:
        self.config = config
        self._resume = resume
        self._clock = clock or steady_clock()
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._open_store = open_store
        self._build = build
        self._router = Router(self._clock)
        self._parts: Parts | None = None
        self._starting = asyncio.Lock()
        self._housekeeper: Housekeeper | None = None
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[dict[str, Any]] | None = None
        self._ended: dict[str, Any] | None = None
        self._register()

    # --- the client --------------------------------------------------------------------------

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a named event and return its reply; a refusal is `{"error": …, "code": …}`."""
        try:
            handler = self._router.handler(name) if isinstance(name, str) else None
            if handler is None:
                raise InvalidRequest(self._unknown(name))
            if data is not None and not isinstance(data, Mapping):
                raise InvalidRequest(f"{name}: data is an object, found {type(data).__name__}")
            if self._parts is None and name not in ("system:startup", "system:shutdown"):
                raise self._not_ready()
            return await handler(data or {})
        except KsiError as error:
            return refusal(error)
        except Exception as error:  # the edge: a handler never raises at its caller
            log.exception("handler failed", extra={"event_name": name})
            return {"error": f"{name}: engine fault ({type(error).__name__})", "code": "not_ready"}

    def _not_ready(self) -> NotReady:
        return NotReady("the engine has ended" if self._ended else "the engine has not started")

    def _unknown(self, name: str) -> str:
        asked = shortened(str(name))
        near = difflib.get_close_matches(asked, self._router.names, n=3)
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else f"known: {', '.join(self._router.names)}"
        )
        return f"unknown event {asked!r}; {hint}"

    def subscribe(self, pattern: str = "*") -> Subscription:
        """Return the notifications that fit `pattern` (`*` per segment), a snapshot first.

        The pattern `request:<id>` follows one request, known or not yet: all that is told of
        it, and its answer as it comes; what has come of it so far is in the snapshot.
        """
        counts = self._parts.core.counts if self._parts is not None else {}
        state: dict[str, Any] = {
            "ready": self._parts is not None,
            "status_counts": {str(s): n for s, n in counts.items()},
        }
        if self._parts is not None and pattern.startswith(OF_REQUEST):
            ticket = self._parts.core.tickets.get(pattern.removeprefix(OF_REQUEST))
            state["request"] = so_far(ticket) if ticket is not None else None
        return self._router.subscribe(pattern, state)

    def snapshot(self, query: SnapshotQuery | None = None) -> Snapshot:
        """Return the engine as it is now; never waits."""
        if self._parts is None:
            return _no_engine(self._clock(), self.config, ended=self._ended is not None)
        return self._parts.snapshots.snapshot(query or SnapshotQuery())

    # --- life ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self._startup()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._shutdown(self.config.engine.shutdown_grace_s)

    async def _startup(self) -> dict[str, Any]:
        # Whoever comes while the engine starts waits for that start; where it fails or is
        # given up, the next one tries itself.
        async with self._starting:
            if self._ended is not None:
                raise self._not_ready()
            if self._parts is None:
                await self._start()
        return {"status": "completion_service_ready", "version": __version__}

    async def _start(self) -> None:
        self._parts = await assemble(
            self.config,
            clock=self._clock,
            rng=self._rng,
            router=self._router,
            open_store=self._open_store,
            build=self._build,
            resume=self._resume,
        )
        self._housekeeper = self._parts.housekeeper()
        self._task = self._housekeeper.start()

    async def _shutdown(self, grace_s: float) -> dict[str, Any]:
        async with self._starting:  # what is starting starts, and is then ended
            pass
        if self._parts is None:
            if self._ended is None:
                raise self._not_ready()
            return self._ended
        if self._ending is None:
            ending = self._end(self._parts, grace_s)
            self._ending = asyncio.create_task(ending, name="shutdown")
        else:
            self._parts.dispatcher.hurry(grace_s)
        # Whoever asked may be cancelled; the end goes on, and who asks again waits for it.
        return await asyncio.shield(self._ending)

    async def _end(self, parts: Parts, grace_s: float) -> dict[str, Any]:
        interrupted = 0
        try:
            interrupted = await parts.dispatcher.drain(grace_s)
            if self._housekeeper is not None:
                await self._housekeeper.aclose()
            parts.dispatcher.stop()
        finally:
            await parts.aclose()
            self._ended = {
                "status": "shutdown",
                "interrupted": interrupted,
                "status_counts": {str(state): count for state, count in parts.core.counts.items()},
            }
            self._parts = None
            self._router.close()
        return self._ended

    # --- the handlers --------------------------------------------------------------------------

    def _register(self) -> None:
        on = self._router.register
        on("system:startup", self._on_startup)
        on("system:context", self._on_context)
        on("system:ready", self._on_ready)
        on("system:shutdown", self._on_shutdown)
        on("completion:async", lambda data: self._now.intake.completion(data, inject=False))
        on("completion:inject", lambda data: self._now.intake.completion(data, inject=True))
        self._on("completion:reserve", Nothing, lambda parts, _: parts.intake.reserve())
        self._on("completion:batch", Batch, lambda parts, data: parts.intake.batch(data.requests))
        self._on("completion:cancel", Cancel, lambda p, data: p.bulk.cancel(data))
        self._on("completion:retry", Retry, lambda p, data: p.bulk.retry(data))
        self._on(
            "completion:request_status", RequestStatus, lambda p, data: p.replies.request(data)
        )
        self._on("completion:status", Nothing, lambda p, _: p.replies.status())
        self._on("completion:session_status", SessionStatus, lambda p, d: p.replies.session(d))
        self._on("completion:provider_status", MaybeProvider, _provider_status)
        self._on("completion:retry_status", Nothing, _retry_status)
        self._on("completion:token_usage", TokenUsage, lambda p, d: p.replies.token_usage(d))
        self._on("completion:series", Series, lambda p, d: p.replies.series(d))
        self._on("system:journal", JournalPage, lambda p, d: p.replies.journal(d))
        self._on("completion:models", Nothing, lambda p, _: p.offers.models())
        self._on("completion:preview", Preview, lambda p, d: p.offers.preview(d))
        self._on("completion:requests", FindRequests, lambda p, d: p.requests.requests(d))
        self._on("completion:names", FindNames, lambda p, d: p.requests.names(d))
        self._on("completion:results", Results, lambda p, d: p.replies.results(d))
        self._on("conversation:acquire_lock", AcquireLock, lambda p, d: p.locks.acquire(d))
        self._on("conversation:release_lock", ReleaseLock, lambda p, d: p.locks.release(d))
        self._on("checkpoint:collect", Nothing, lambda p, _: p.checkpoints.collect())
        self._on("checkpoint:restore", Checkpoint, lambda p, d: p.checkpoints.restore(d))
        self._register_controls()

    def _register_controls(self) -> None:
        self._on("queue:pause", QueueScope, lambda p, d: p.controls.pause(d))
        self._on("queue:resume", QueueScope, lambda p, d: p.controls.resume(d))
        self._on(
            "completion:reset_conversation",
            ResetConversation,
            lambda p, d: p.controls.reset_conversation(d),
        )
        self._on("completion:failed", ReportedFailure, lambda p, d: p.reports.failed(d))
        self._on("provider:open", ForceCircuit, lambda p, d: p.provider_controls.open(d))
        self._on("provider:close", ForceCircuit, lambda p, d: p.provider_controls.close(d))
        self._on("provider:reset", ResetCircuit, lambda p, d: p.provider_controls.reset(d))
        self._on("provider:probe", Probe, lambda p, d: p.provider_controls.probe(d))
        self._on("provider:add", AddProvider, lambda p, d: p.provider_controls.add(d))
        for name, (model, answer) in INJECTION_HANDLERS.items():
            self._on(name, model, _of_injections(answer))

    def _on(
        self,
        name: str,
        model: type[PayloadT],
        answer: Callable[[Parts, PayloadT], Awaitable[dict[str, Any]]],
    ) -> None:
        async def handle(data: Mapping[str, Any]) -> dict[str, Any]:
            return await answer(self._now, parse(model, data, name))

        self._router.register(name, handle)

    @property
    def _now(self) -> Parts:
        if self._parts is None:
            raise self._not_ready()
        return self._parts

    async def _on_startup(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return await self._startup()

    async def _on_context(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"status": "retry_manager_started"}

    async def _on_ready(self, _: Mapping[str, Any]) -> dict[str, Any]:
        tasks = [{"name": self._task.get_name()}] if self._task is not None else []
        return {"service": "completion_service", "tasks": tasks}

    async def _on_shutdown(self, data: Mapping[str, Any]) -> dict[str, Any]:
        grace_s = parse(Shutdown, data, "system:shutdown").grace_s
        return await self._shutdown(
            self.config.engine.shutdown_grace_s if grace_s is None else grace_s
        )


def _of_injections(answer: Answer) -> Callable[[Parts, Any], Awaitable[dict[str, Any]]]:
    return lambda parts, data: answer(parts.injections, data)


async def _provider_status(parts: Parts, data: MaybeProvider) -> dict[str, Any]:
    if data.provider is None:
        return parts.replies.providers()
    return parts.replies.provider(data.provider)


async def _retry_status(parts: Parts, _: Payload) -> dict[str, Any]:
    return parts.replies.retries()


def _no_engine(now: float, config: Config, *, ended: bool) -> Snapshot:
    level = Level.STOPPING if ended else Level.STARTING
    cause = "the engine has ended" if ended else "the engine is starting"
    return Snapshot(
        at=now,
        verdict=Verdict(level=level, cause=cause),
        totals=Totals(
            active=0,
            capacity=config.engine.max_concurrency,
            queued=0,
            queued_sessions=0,
            retrying=0,
            failed_new=0,
            ttft_p50_s=None,
            tokens_per_s=0.0,
            cost_today=0.0,
            unpriced_today=0,
        ),
        simulated_only=config.simulated_only,
    )
