"""Runs requests: takes them from the queue when limits allow, and stops them at the end.

What an attempt means for its request is drawn in `conclusions` and `endings`; who goes next is
decided by `queue_manager`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from ksi_tui.engine.attempt import Walker
from ksi_tui.engine.clock import iso
from ksi_tui.engine.conclusions import Conclusions
from ksi_tui.engine.continuity import history_for
from ksi_tui.engine.core import Core
from ksi_tui.engine.endings import Endings
from ksi_tui.engine.entrance import UNHURRIED_S
from ksi_tui.engine.errors import ErrorKind, StoreUnavailable
from ksi_tui.engine.injection.keeper import InjectionKeeper
from ksi_tui.engine.live_call import Run
from ksi_tui.engine.lock_keeper import LockKeeper
from ksi_tui.engine.models import (
    Cause,
    CauseKind,
    Message,
    OnConflict,
    Outcome,
    RequestSpec,
    State,
)
from ksi_tui.engine.pauses import pause_cause
from ksi_tui.engine.queue_manager import Service
from ksi_tui.engine.store.base import ProviderSaved, Write
from ksi_tui.engine.ticket import Route, Ticket

log = logging.getLogger(__name__)

WRITTEN_WITHIN_S = 5.0
"""How long the end of the engine waits at least for a disk that takes no final states."""

LATE_S = 10.0
"""How late what is due in a sleep of the machine may be noticed: the loop's timers sleep too."""


class Dispatcher:
    """Keeps as many requests running as limits allow."""

    def __init__(
        self,
        core: Core,
        walker: Walker,
        conclusions: Conclusions,
        endings: Endings,
        locks: LockKeeper,
        injections: InjectionKeeper,
    ) -> None:
        self.core = core
        self.walker = walker
        self.conclusions = conclusions
        self.endings = endings
        self._locks = locks
        self._injections = injections
        self._tasks: set[asyncio.Task[None]] = set()
        self._poked = False
        self._saving: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._grace: asyncio.Timeout | None = None
        self._alarm_handlers: dict[str, Callable[[str, float], None]] = {
            "backoff": self._backoff_over,
            "deadline": self._deadline_over,
            "lock": locks.expire,
            "injection": injections.expire,
            "providers": self._providers_over,
        }

    # --- what holds a head back ------------------------------------------------------------

    def hold(self, ticket: Ticket, now: float) -> Cause | None:
        """Return what keeps a session's head from running: a pause, a lock, then a backoff."""
        engine = self.core.pauses.engine
        return pause_cause(engine) if engine is not None else self._hold_alone(ticket, now)

    def _hold_alone(self, ticket: Ticket, now: float) -> Cause | None:
        """Return what holds this one back, whatever holds everybody."""
        paused = self.core.pauses.session(ticket.session_id)
        if paused is not None:
            return pause_cause(paused)
        lock = self.core.locks.blocks(ticket.session_id, ticket.agent_id, now)
        if lock is not None and not _fails_on_conflict(ticket):
            return Cause(
                kind=CauseKind.LOCK,
                target=lock.holder,
                until=lock.expires_at,
                text=f"lock held by {lock.holder}",
            )
        if ticket.retry_at is not None and ticket.retry_at > now:
            return Cause(
                kind=CauseKind.BACKOFF,
                until=ticket.retry_at,
                text=f"backoff ({ticket.error_kind})",
            )
        return None

    def gate(self, ticket: Ticket, now: float) -> Cause | None:
        """As `hold`, for the queue: an engine pause takes nobody out of line.

        The deadline stands still while a lock or a pause is waited for.
        """
        cause = self._hold_alone(ticket, now)
        if cause is not None:
            self.core.providers.give_up_room(ticket)
        alarms = self.core.alarms
        if cause is not None and cause.kind is CauseKind.BACKOFF:
            alarms.set(("backoff", ticket.request_id), cause.until or now)
        if self._stands_still(ticket, cause, now):
            if ticket.clock_from is not None:
                ticket.stop_clock(now)
                alarms.clear(("deadline", ticket.request_id))
        elif ticket.started_at is not None:
            ticket.run_clock(now)
            alarms.set(("deadline", ticket.request_id), ticket.deadline_at() or now)
        return cause

    def _stands_still(self, ticket: Ticket, cause: Cause | None, now: float) -> bool:
        """Whether what holds a head back is nothing that its deadline should pay for."""
        pauses = self.core.pauses
        if pauses.engine is not None:
            return True
        if cause is not None:
            return cause.kind in (CauseKind.LOCK, CauseKind.PAUSE)
        if ticket.started_at is None or not pauses.any_provider:
            return False
        obstacle = self.core.providers.check(ticket.route, now)
        return isinstance(obstacle, Cause) and obstacle.kind is CauseKind.PAUSE

    def reset_clocks(self) -> None:
        """Let the deadlines of waiting requests run or stand as the pauses now want it."""
        now = self.core.clock()
        for ticket in self.core.queue.begun():
            self.gate(ticket, now)

    # --- the pump --------------------------------------------------------------------------

    def poke(self) -> None:
        """Look soon at what may run; many pokes in one turn of the loop are one look."""
        if not self._poked and not self._stopped:
            self._poked = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._poked = False
        if self._stopped:
            return
        core = self.core
        now = core.clock()
        for kind, key in core.alarms.due(now):
            self._alarm_handlers[kind](key, now)
        limit = core.config.engine.max_concurrency
        held = core.draining or core.pauses.engine is not None
        serves = partial(self._serves, now)
        while not held and core.queue.running_count < limit:
            ticket = core.queue.take(now, serves)
            if ticket is None:
                break
            self._begin(ticket, now)
        self._arm(now)

    def _serves(self, now: float, route: Route) -> Service:
        providers = self.core.providers
        if not isinstance(providers.check(route, now), Cause):
            return Service.SERVED
        changes_at = providers.changes_at(route, now)
        if changes_at is not None:
            # A route that was denied is not asked again soon: each has its own alarm.
            key = str(route)
            self.core.alarms.set(("providers", key), max(changes_at, now + 0.001))
        return Service.DENIED if providers.cools(route, now) else Service.PEERS_DENIED

    def _arm(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self.core.alarms.next_at()
        if at is not None:
            delay_s = min(max(0.0, at - now), LATE_S) + 0.001
            self._timer = asyncio.get_running_loop().call_later(delay_s, self.poke)

    def _backoff_over(self, request_id: str, now: float) -> None:
        ticket = self.core.tickets.get(request_id)
        if ticket is not None:
            self.core.queue.refresh(ticket.session_id, now)

    def _deadline_over(self, request_id: str, _: float) -> None:
        ticket = self.core.tickets.get(request_id)
        if ticket is None or ticket.state.final or ticket.run is not None:
            return
        text = f"not answered within timeout_s = {ticket.timeout_s:g} s, over all attempts"
        if ticket.error_message:
            text += f"; last: {ticket.error_message}"
        self.endings.fail(ticket, ErrorKind.DEADLINE_EXCEEDED, text)

    def _providers_over(self, _: str, __: float) -> None:
        self.core.queue.provider_freed()

    # --- one run ---------------------------------------------------------------------------

    def _begin(self, ticket: Ticket, now: float) -> None:
        core = self.core
        core.alarms.clear(("backoff", ticket.request_id))
        core.alarms.clear(("deadline", ticket.request_id))
        blocking = core.locks.blocks(ticket.session_id, ticket.agent_id, now)
        if blocking is not None:
            text = f"lock held by {blocking.holder} until {iso(blocking.expires_at)}"
            self.endings.fail(ticket, ErrorKind.LOCK_DENIED, text)
            return
        writes: list[Write] = self._locks.take_for(ticket, now)
        if ticket.started_at is None:
            ticket.started_at = now
            core.usual.waited(ticket.route.model, now - ticket.queued_at)
        ticket.retry_at = None
        ticket.run_clock(now)
        writes.append(self.conclusions.moved(ticket, State.PROCESSING, now))
        if ticket.request_id in core.entering:
            core.store.write_within(UNHURRIED_S, *writes)
        else:
            core.store.write(*writes)
        run = ticket.laid_by or Run(ticket=ticket, attempt=ticket.walks + 1, started_at=now)
        ticket.run, ticket.laid_by = run, None
        self.walker.admit(run)
        run.task = asyncio.get_running_loop().create_task(
            self._run(run), name=f"run {ticket.request_id}"
        )
        self._tasks.add(run.task)
        run.task.add_done_callback(partial(self._run_ended, run))

    def _run_ended(self, run: Run, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if run.task is None or run.task is task:
            # Else it was laid by and goes on already: what is admitted is for that.
            self.walker.give_back(run)
        if task.cancelled():  # before its first step, so that nothing in it has run
            self.conclusions.stopped(run)

    async def _run(self, run: Run) -> None:
        try:
            try:
                spec, history = await self._load(run.ticket)
            except StoreUnavailable as error:
                self.conclusions.unread(run, error)
                return
            answer = await self.walker.walk(run, spec, history)
        except asyncio.CancelledError:
            self.conclusions.stopped(run)
            return
        except Exception as error:  # the task's boundary: the request must not hang for ever
            log.exception("run failed", extra={"request_id": run.ticket.request_id})
            if not run.ticket.state.final:
                run.note_walk()
                self.endings.fail(
                    run.ticket, ErrorKind.TEMPORARY_FAILURE, f"engine fault: {error!r}"
                )
            return
        if run.ticket.state.final:
            self.conclusions.stopped(run)
        elif answer is not None:
            self.endings.complete(run, spec, answer)
        elif run.stopped is not None:
            self.conclusions.stopped(run)
        else:
            self.conclusions.unanswered(run)

    async def _load(self, ticket: Ticket) -> tuple[RequestSpec, list[Message]]:
        """Return a request's payload and the earlier turns that are sent along."""
        core = self.core
        spec = await core.payloads.load(ticket)
        if spec.prompt is not None:
            spec = await self._injections.attach(ticket, spec)
        return spec, await history_for(spec, core.sessions, core.store)

    def save_providers(self, *, anew: bool = False) -> None:
        """Write down what changed of circuits, cooldowns and statistics.

        `anew` writes all of it: a disk that failed is found well again by a write only.
        """
        if anew and (self._saving is None or self._saving.done()):
            self.core.providers.touch()
        changed = self.core.providers.dirty()
        if changed:
            self._saving = self.core.store.write(
                *(ProviderSaved(provider=name, state=state) for name, state in changed)
            )

    # --- the end ---------------------------------------------------------------------------

    async def drain(self, grace_s: float) -> int:
        """Take no more work, give what runs `grace_s`, interrupt the rest; returns how many."""
        core = self.core
        core.draining = True
        self._grace = asyncio.timeout(grace_s)
        try:
            with suppress(TimeoutError):
                async with self._grace:
                    if self._tasks:
                        await asyncio.wait(set(self._tasks))
        finally:
            self._grace = None
        interrupted = 0
        for lane in list(core.queue.lanes()):
            ticket = lane.running
            if ticket is None or ticket.run is None or ticket.state.final:
                continue
            ticket.run.stopped = Outcome.INTERRUPTED
            if ticket.run.task is not None:
                ticket.run.task.cancel()
                interrupted += 1
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        if core.finishing and not core.store.damaged:
            await asyncio.wait(set(core.finishing.values()), timeout=max(grace_s, WRITTEN_WITHIN_S))
        self._keep_deadlines()
        # An end that is not on disk has not happened: its request goes again.
        return interrupted + len(core.finishing)

    def _keep_deadlines(self) -> None:
        """Write down how much of their deadlines those have spent that wait in mid-course."""
        core = self.core
        now = core.clock()
        begun = core.queue.begun_heads(core.queue.session_count)
        running = [ticket for ticket in begun if ticket.clock_from is not None]
        core.store.write(*(self.conclusions.moved(each, each.state, now) for each in running))

    def hurry(self, grace_s: float) -> None:
        """Give what still runs at most `grace_s` more: somebody asked for the end again."""
        if self._grace is not None and not self._grace.expired():
            end = asyncio.get_running_loop().time() + grace_s
            self._grace.reschedule(min(end, self._grace.when() or end))

    def stop(self) -> None:
        """Look no more at what may run, whoever still pokes."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _fails_on_conflict(ticket: Ticket) -> bool:
    return ticket.lock is not None and ticket.lock.on_conflict is OnConflict.FAIL
