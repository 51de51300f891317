"""Runs requests: takes them from the queue, draws the conclusions from each attempt.

The only place where a request changes state once it is accepted. Interventions from
outside (cancel, send elsewhere, shutdown) stop a run here too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from ksi_tui.engine import events
from ksi_tui.engine.attempt import Answer, Run, Walker
from ksi_tui.engine.clock import iso
from ksi_tui.engine.core import Core, Ended
from ksi_tui.engine.errors import POLICY, ErrorKind, ProviderFault
from ksi_tui.engine.models import (
    CallRecord,
    Cause,
    CauseKind,
    Lock,
    Message,
    OnConflict,
    Outcome,
    RequestSpec,
    State,
    VerdictKind,
)
from ksi_tui.engine.provider_manager import Hopeless
from ksi_tui.engine.retry_manager import Retry
from ksi_tui.engine.store.base import (
    AttemptBooked,
    CallBooked,
    Finished,
    LockGone,
    LockSaved,
    Moved,
    ProviderSaved,
    Write,
)
from ksi_tui.engine.ticket import Route, Ticket
from ksi_tui.engine.views import ActiveView, Phase

HISTORY_MAX_CHARS = 400_000
"""How much of a session's transcript is read for one request; the model's window trims further."""

_WAITED_FOR = (VerdictKind.OPEN, VerdictKind.COOLING, VerdictKind.FULL)

log = structlog.get_logger(__name__)


class Dispatcher:
    """Keeps as many requests running as limits allow, and sees each to its end."""

    def __init__(self, core: Core, walker: Walker) -> None:
        self.core = core
        self.walker = walker
        self._tasks: set[asyncio.Task[None]] = set()
        self._poked = False
        self._timer: asyncio.TimerHandle | None = None
        self._route_wake: float | None = None
        self._alarm_handlers: dict[str, Callable[[str, float], None]] = {
            "backoff": self._backoff_over,
            "deadline": self._deadline_over,
            "lock": self._lock_over,
            "providers": self._providers_over,
        }

    # --- what holds a head back ------------------------------------------------------------

    def gate(self, ticket: Ticket, now: float) -> Cause | None:
        """Return what keeps a session's head from running: a lock, then a backoff."""
        core = self.core
        lock = core.locks.blocks(ticket.session_id, ticket.agent_id, now)
        if lock is not None and not _fails_on_conflict(ticket):
            if ticket.clock_from is not None:
                ticket.stop_clock(now)
                core.alarms.clear(("deadline", ticket.request_id))
            return Cause(
                kind=CauseKind.LOCK,
                target=lock.holder,
                until=lock.expires_at,
                text=f"lock held by {lock.holder}",
            )
        if ticket.started_at is not None:
            ticket.run_clock(now)
            core.alarms.set(("deadline", ticket.request_id), ticket.deadline_at() or now)
        if ticket.retry_at is not None and ticket.retry_at > now:
            return Cause(
                kind=CauseKind.BACKOFF,
                until=ticket.retry_at,
                text=f"backoff ({ticket.error_kind})",
            )
        return None

    # --- the pump --------------------------------------------------------------------------

    def poke(self) -> None:
        """Look soon at what may run; many pokes in one turn of the loop are one look."""
        if not self._poked:
            self._poked = True
            asyncio.get_running_loop().call_soon(self._pump)

    def on_alarm(self, kind: str, handler: Callable[[str, float], None]) -> None:
        """Let `handler(id, now)` take the alarms of a kind."""
        self._alarm_handlers[kind] = handler

    def _pump(self) -> None:
        self._poked = False
        core = self.core
        now = core.clock()
        for kind, key in core.alarms.due(now):
            self._alarm_handlers[kind](key, now)
        self._route_wake = None
        limit = core.config.engine.max_concurrency
        while not core.draining and core.queue.running_count < limit:
            ticket = core.queue.take(now, partial(self._serves, now))
            if ticket is None:
                break
            self._begin(ticket, now)
        if self._route_wake is not None:
            core.alarms.set(("providers", ""), self._route_wake)
        self._arm(now)

    def _serves(self, now: float, route: Route) -> bool:
        obstacle = self.core.providers.check(route, now)
        if not isinstance(obstacle, Cause):
            return True
        if obstacle.until is not None:
            wake = max(obstacle.until, now + 0.001)
            self._route_wake = min(wake, self._route_wake or wake)
        return False

    def _arm(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self.core.alarms.next_at()
        if at is not None:
            delay_s = max(0.0, at - now) + 0.001
            self._timer = asyncio.get_running_loop().call_later(delay_s, self.poke)

    def _backoff_over(self, request_id: str, now: float) -> None:
        ticket = self.core.tickets.get(request_id)
        if ticket is not None:
            self.core.queue.refresh(ticket.session_id, now)

    def _deadline_over(self, request_id: str, now: float) -> None:
        ticket = self.core.tickets.get(request_id)
        if ticket is None or ticket.state.final or ticket.run is not None:
            return
        text = f"not answered within timeout_s = {ticket.timeout_s:g} s, over all attempts"
        if ticket.error_message:
            text += f"; last: {ticket.error_message}"
        self.fail(ticket, ErrorKind.DEADLINE_EXCEEDED, text)

    def _providers_over(self, _: str, __: float) -> None:
        self.core.queue.provider_freed()

    # --- locks -----------------------------------------------------------------------------

    def grant(self, lock: Lock) -> LockSaved:
        """Announce a granted, extended or renewed lock; returns the write that keeps it."""
        self.core.alarms.set(("lock", lock.session_id), lock.expires_at)
        self.core.publish(
            events.LOCKED,
            {
                "session_id": lock.session_id,
                "agent_id": lock.holder,
                "expires_at": iso(lock.expires_at),
                "extended": lock.extended,
            },
        )
        return LockSaved(lock=lock)

    def free(self, session_id: str, reason: str) -> list[Write]:
        """Take a session's lock away and let whoever waits go on; returns the writes."""
        core = self.core
        lock = core.locks.release(session_id)
        if lock is None:
            return []
        core.alarms.clear(("lock", session_id))
        core.publish(
            events.UNLOCKED,
            {"session_id": session_id, "agent_id": lock.holder, "reason": reason},
        )
        core.queue.refresh(session_id, core.clock())
        self.poke()
        return [LockGone(session_id=session_id)]

    def _lock_over(self, session_id: str, now: float) -> None:
        core = self.core
        lock = core.locks.get(session_id)
        if lock is None:
            return
        holder = core.tickets.get(lock.request_id) if lock.request_id else None
        if holder is not None and holder.run is not None and not holder.state.final:
            renewed = core.locks.renew(session_id, now)
            if renewed is not None:
                core.alarms.set(("lock", session_id), renewed.expires_at)
                core.store.write(LockSaved(lock=renewed))
            return
        core.store.write(*self.free(session_id, "expired"))

    # --- one run ---------------------------------------------------------------------------

    def _begin(self, ticket: Ticket, now: float) -> None:
        core = self.core
        core.alarms.clear(("backoff", ticket.request_id))
        core.alarms.clear(("deadline", ticket.request_id))
        blocking = core.locks.blocks(ticket.session_id, ticket.agent_id, now)
        if blocking is not None:
            text = f"lock held by {blocking.holder} until {iso(blocking.expires_at)}"
            self.fail(ticket, ErrorKind.LOCK_DENIED, text)
            return
        writes: list[Write] = []
        lock = core.locks.get(ticket.session_id)
        held = lock is not None and lock.expires_at > now
        if ticket.lock is not None and ticket.agent_id is not None and not held:
            granted = core.locks.acquire(
                ticket.session_id,
                ticket.agent_id,
                ticket.lock.timeout_s,
                now,
                ticket.request_id,
            )
            if granted is not None:
                writes.append(self.grant(granted))
        if ticket.started_at is None:
            ticket.started_at = now
        ticket.retry_at = None
        ticket.run_clock(now)
        writes.append(self.moved(ticket, State.PROCESSING, now))
        core.store.write(*writes)
        run = Run(ticket=ticket, attempt=ticket.walks + 1, started_at=now)
        ticket.run = run
        run.task = asyncio.get_running_loop().create_task(
            self._run(run), name=f"run {ticket.request_id}"
        )
        self._tasks.add(run.task)
        run.task.add_done_callback(self._tasks.discard)

    async def _run(self, run: Run) -> None:
        try:
            spec, history = await self._load(run.ticket)
            answer = await self.walker.walk(run, spec, history)
        except asyncio.CancelledError:
            self._stopped(run)
            return
        except Exception as error:  # the task's boundary: the request must not hang for ever
            log.exception("run failed", request_id=run.ticket.request_id)
            if not run.ticket.state.final:
                self._note_walk(run)
                self.fail(run.ticket, ErrorKind.TEMPORARY_FAILURE, f"engine fault: {error!r}")
            return
        if run.ticket.state.final or run.stopped is not None:
            self._stopped(run)
        elif answer is not None:
            self._complete(run, spec, answer)
        else:
            self._unanswered(run)

    async def _load(self, ticket: Ticket) -> tuple[RequestSpec, list[Message]]:
        """Return a request's payload and the earlier turns that are sent along."""
        core = self.core
        spec = ticket.spec
        if spec is None:
            spec = (await core.store.specs([ticket.request_id]))[ticket.request_id]
            ticket.spec = spec
        if spec.prompt is None or not spec.history:
            return spec, []
        session = core.sessions.get(ticket.session_id)
        if session is not None and session.turn_count == 0:
            return spec, []
        return spec, list(await core.store.turns(ticket.session_id, HISTORY_MAX_CHARS))

    def _note_walk(self, run: Run) -> None:
        if run.calls:
            run.ticket.walks = run.attempt

    def _stopped(self, run: Run) -> None:
        """A run was ended from outside: book what it did; decide only if it is not final."""
        ticket = run.ticket
        self._note_walk(run)
        now = self.core.clock()
        spent = run.stopped not in (Outcome.SENT_ELSEWHERE, Outcome.INTERRUPTED, None)
        writes: list[Write] = [AttemptBooked(attempt=run.record(now, spent=spent))]
        writes += [CallBooked(call=record) for record in run.records]
        if ticket.state.final:
            self.core.store.write(*writes)
            return
        if run.stopped is not Outcome.SENT_ELSEWHERE:
            ticket.interruptions += 1
            ticket.error_kind = ErrorKind.DAEMON_RESTART
            ticket.error_message = "interrupted: the engine ended"
        self._wait_again(run, State.QUEUED, writes)

    def _wait_again(self, run: Run, state: State, writes: list[Write]) -> None:
        """Put a request that ran back to the head of its session."""
        ticket, core = run.ticket, self.core
        now = core.clock()
        ticket.run = None
        writes.append(self.moved(ticket, state, now))
        core.store.write(*writes)
        if ticket.retry_at is not None:
            core.alarms.set(("backoff", ticket.request_id), ticket.retry_at)
        core.queue.put_back(ticket, now)
        self.poke()

    def moved(self, ticket: Ticket, state: State, now: float, **changes: Any) -> Moved:
        """Change a ticket's state; returns the write that keeps it."""
        was = self.core.move(ticket, state)
        return Moved(
            request_id=ticket.request_id,
            was=was,
            state=state,
            at=now,
            attempts=ticket.attempts,
            walks=ticket.walks,
            interruptions=ticket.interruptions,
            spent_s=ticket.deadline_spent(now),
            started_at=ticket.started_at,
            retry_at=ticket.retry_at,
            error_kind=ticket.error_kind,
            error_message=ticket.error_message,
            **changes,
        )

    # --- conclusions -------------------------------------------------------------------------

    def _unanswered(self, run: Run) -> None:
        """Nobody answered: retry, wait for somebody, or fail."""
        ticket, core = run.ticket, self.core
        now = core.clock()
        self._note_walk(run)
        if not run.faults:
            self._called_nobody(run, now)
            return
        last = run.faults[-1]
        interrupted = POLICY[last.kind].interruption
        if interrupted:
            ticket.interruptions += 1
        else:
            ticket.attempts += 1
        ticket.error_kind, ticket.error_message = last.kind, last.message
        decision = core.retry.decide(
            kinds=[(fault.kind, fault.retry_after_s) for fault in run.faults],
            spent=ticket.attempts,
            max_attempts=ticket.max_attempts,
            interruptions=ticket.interruptions,
            deadline_left_s=ticket.timeout_s - ticket.deadline_spent(now),
        )
        if run.broken_stream:
            self.fail(ticket, last.kind, f"{last.message} (on_broken_stream: fail)", run)
        elif isinstance(decision, Retry):
            self._retry(run, decision, now)
        elif self._somebody_left(run):
            self._leave_out_failed(run)
            attempt = AttemptBooked(attempt=run.record(now, spent=True))
            calls = [CallBooked(call=record) for record in run.records]
            self._wait_again(run, State.RETRYING, [attempt, *calls])
        else:
            message = last.message if decision.kind is last.kind else decision.message
            self.fail(ticket, decision.kind, message or decision.message, run)

    def _called_nobody(self, run: Run, now: float) -> None:
        obstacle = self.core.providers.check(run.ticket.route, now)
        if isinstance(obstacle, Hopeless):
            self.fail(run.ticket, obstacle.kind, obstacle.message, run)
            return
        state = State.RETRYING if run.ticket.walks else State.QUEUED
        self._wait_again(run, state, [])

    def _somebody_left(self, run: Run) -> bool:
        """Whether a candidate that was only busy or sick may still answer this request."""
        return all(POLICY[f.kind].fails_over and not POLICY[f.kind].retried for f in run.faults) and any(
            verdict.kind in _WAITED_FOR for verdict in run.verdicts
        )

    def _leave_out_failed(self, run: Run) -> None:
        failed = {live.entry.name for live in run.calls}
        run.ticket.route = run.ticket.route._replace(avoid=run.ticket.route.avoid | failed)

    def _retry(self, run: Run, decision: Retry, now: float) -> None:
        ticket = run.ticket
        fault = next(f for f in run.faults if f.kind is decision.kind)
        ticket.error_kind, ticket.error_message = fault.kind, fault.message
        interruption = POLICY[decision.kind].interruption
        ticket.retry_at = None if interruption else now + decision.delay_s
        attempt = run.record(now, retry_at=ticket.retry_at, spent=not interruption)
        writes: list[Write] = [AttemptBooked(attempt=attempt)]
        writes += [CallBooked(call=record) for record in run.records]
        self.core.publish(
            events.RETRYING,
            {
                "request_id": ticket.request_id,
                "session_id": ticket.session_id,
                "kind": decision.kind,
                "attempt": ticket.attempts,
                "max_attempts": ticket.max_attempts,
                "delay_s": round(decision.delay_s, 3),
                "error": fault.message,
            },
        )
        self._wait_again(run, State.RETRYING, writes)

    def _complete(self, run: Run, spec: RequestSpec, answer: Answer) -> None:
        ticket, live, result = run.ticket, answer.live, answer.result
        self._note_walk(run)
        ticket.attempts += 1
        now = self.core.clock()
        envelope = {
            "ksi": {
                "provider": live.entry.name,
                "request_id": ticket.request_id,
                "client_id": spec.client_id,
                "timestamp": iso(now),
                "duration_ms": round((now - live.started_at) * 1000, 1),
                "session_id": ticket.session_id,
                "agent_id": ticket.agent_id,
                "model": live.model,
                "attempt": ticket.attempts,
                "ttft_ms": _rounded(live.ttft_ms),
            },
            "response": result.response,
        }
        self._finish(
            run,
            ticket,
            State.COMPLETED,
            {
                "provider": live.entry.name,
                "answered_model": live.model,
                "result": envelope,
                "text": result.text,
                "ttft_ms": _rounded(live.ttft_ms),
                "turn": _turn(spec, result.text),
            },
            (events.RESULT, {"result": envelope}),
        )
        usage = result.usage
        if usage.total > self.core.config.engine.high_usage_tokens:
            self.core.publish(
                events.HIGH_USAGE,
                {
                    "request_id": ticket.request_id,
                    "session_id": ticket.session_id,
                    "agent_id": ticket.agent_id,
                    "model": live.model,
                    "total_tokens": usage.total,
                    "threshold": self.core.config.engine.high_usage_tokens,
                },
            )

    def fail(self, ticket: Ticket, kind: ErrorKind, message: str, run: Run | None = None) -> None:
        """Give a request its final state `failed`."""
        self.core.failed_new += 1
        ticket.error_kind, ticket.error_message = kind, message
        call = run.call if run is not None else None
        self._finish(
            run,
            ticket,
            State.FAILED,
            {
                "error_kind": kind,
                "error_message": message,
                "provider": call.entry.name if call else None,
                "text": (call.text or None) if call else None,
            },
            (events.ERROR, {"error": message, "kind": kind, "attempts": ticket.attempts}),
        )

    def cancel(self, ticket: Ticket, by: str | None, reason: str | None) -> asyncio.Future[None]:
        """Give a request its final state `cancelled`, and stop its call. Done when on disk."""
        run, was = ticket.run, ticket.state
        text = run.call.text if run is not None and run.call is not None else ""
        if run is not None:
            run.stopped = Outcome.CANCELLED
            self._note_walk(run)
        future = self._finish(
            None,
            ticket,
            State.CANCELLED,
            {
                "error_kind": ErrorKind.CANCELLED,
                "error_message": reason or "cancelled",
                "by": by,
                "reason": reason,
                "text": text or None,
                "provider": run.call.entry.name if run and run.call else None,
            },
            (events.CANCELLED, {"reason": reason, "by": by, "was": was, "partial_text": text}),
        )
        if run is not None and run.task is not None:
            run.task.cancel()
        return future

    def _finish(
        self,
        run: Run | None,
        ticket: Ticket,
        state: State,
        details: dict[str, Any],
        event: tuple[str, dict[str, Any]],
    ) -> asyncio.Future[None]:
        """Write a final state; what follows from it happens once it is on disk."""
        core = self.core
        now = core.clock()
        was = core.move(ticket, state)
        core.alarms.clear(("deadline", ticket.request_id))
        core.alarms.clear(("backoff", ticket.request_id))
        writes: list[Write] = [
            Finished(
                request_id=ticket.request_id,
                session_id=ticket.session_id,
                was=was,
                state=state,
                at=now,
                finish_seq=core.take_finish_seq(),
                attempts=ticket.attempts,
                walks=ticket.walks,
                interruptions=ticket.interruptions,
                spent_s=ticket.deadline_spent(now),
                started_at=ticket.started_at,
                **details,
            )
        ]
        if run is not None:
            writes.append(AttemptBooked(attempt=run.record(now, spent=True)))
            writes += [CallBooked(call=record) for record in run.records]
        session = core.sessions.get(ticket.session_id)
        if session is not None and details.get("turn") is not None:
            session.turn_count += 1
        future = core.store.write(*writes)
        core.finishing[ticket.request_id] = future
        core.recent.append(Ended(view=_ended(ticket, now, details), at=now))
        future.add_done_callback(partial(self._on_disk, ticket, event))
        return future

    def _on_disk(
        self, ticket: Ticket, event: tuple[str, dict[str, Any]], future: asyncio.Future[None]
    ) -> None:
        """A final state is on disk: let the session go on and tell the world."""
        core = self.core
        if core.tickets.get(ticket.request_id) is ticket:
            del core.tickets[ticket.request_id]
        core.finishing.pop(ticket.request_id, None)
        ticket.spec = ticket.run = None
        lock = core.locks.get(ticket.session_id)
        if lock is not None and lock.request_id == ticket.request_id:
            core.store.write(*self.free(ticket.session_id, "request ended"))
        core.queue.finish(ticket, core.clock())
        if ticket.session_id == ticket.request_id and core.queue.lane(ticket.session_id) is None:
            core.sessions.end(ticket.session_id)
        if not future.cancelled() and future.exception() is None:
            name, data = event
            core.publish(
                name, {"request_id": ticket.request_id, "session_id": ticket.session_id, **data}
            )
        self.poke()

    def late(self, record: CallRecord) -> None:
        """Book a call whose upstream closed after its run had ended."""
        self.core.store.write(CallBooked(call=record))

    def save_providers(self) -> None:
        """Write down what changed of circuits, cooldowns and statistics."""
        changed = self.core.providers.dirty()
        if changed:
            self.core.store.write(
                *(ProviderSaved(provider=name, state=state) for name, state in changed)
            )

    # --- the end ---------------------------------------------------------------------------

    async def drain(self, grace_s: float) -> int:
        """Take no more work, give what runs `grace_s`, interrupt the rest; returns how many."""
        core = self.core
        core.draining = True
        if self._tasks and grace_s > 0:
            await asyncio.wait(set(self._tasks), timeout=grace_s)
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
        if core.finishing:
            await asyncio.wait(set(core.finishing.values()), timeout=max(grace_s, 5.0))
        return interrupted

    def stop(self) -> None:
        """Drop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _fails_on_conflict(ticket: Ticket) -> bool:
    return ticket.lock is not None and ticket.lock.on_conflict is OnConflict.FAIL


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _turn(spec: RequestSpec, reply: str) -> tuple[Message, Message] | None:
    """Return the pair that continuity keeps: the last user message and the reply."""
    asked: Any = spec.prompt
    if spec.messages is not None:
        users = [m for m in spec.messages if m.get("role") == "user"]
        asked = users[-1].get("content") if users else None
    if not asked or not reply:
        return None
    return {"role": "user", "content": asked}, {"role": "assistant", "content": reply}


def _ended(ticket: Ticket, now: float, details: dict[str, Any]) -> ActiveView:
    call = ticket.run.call if ticket.run is not None else None
    why = details.get("error_message") or ""
    if ticket.error_kind is not None and ticket.state is State.FAILED:
        why = f"{ticket.error_kind}: {why}"
    return ActiveView(
        request_id=ticket.request_id,
        session_id=ticket.session_id,
        agent_id=ticket.agent_id,
        asked_model=ticket.route.model,
        model=call.model if call else ticket.route.model,
        provider=details.get("provider"),
        phase=Phase(ticket.state.value),
        age_s=now - ticket.queued_at,
        ttft_s=(call.ttft_ms or 0) / 1000 if call and call.ttft_ms is not None else None,
        tokens=call.tokens if call else 0,
        tokens_per_s=None,
        attempt=ticket.attempts,
        max_attempts=ticket.max_attempts,
        why=why,
    )


__all__ = ["Dispatcher", "ProviderFault"]
