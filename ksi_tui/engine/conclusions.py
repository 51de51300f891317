"""Draws the conclusions from each attempt: completed, again, wait, failed, cancelled.

The only place where a request that has run changes its state. A final state is handed
to the store first; what follows from it (the session goes on, the world is told)
happens once it is on disk.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from ksi_tui.engine import events
from ksi_tui.engine.attempt import Answer
from ksi_tui.engine.clock import iso
from ksi_tui.engine.continuity import turn_of
from ksi_tui.engine.core import Core
from ksi_tui.engine.errors import POLICY, ErrorKind, StoreError, StoreUnavailable
from ksi_tui.engine.live_call import Run
from ksi_tui.engine.lock_keeper import LockKeeper
from ksi_tui.engine.models import Outcome, RequestSpec, State, VerdictKind
from ksi_tui.engine.provider_manager import Hopeless
from ksi_tui.engine.recently_ended import ended
from ksi_tui.engine.retry_manager import MAX_INTERRUPTIONS, Retry
from ksi_tui.engine.store.base import AttemptBooked, CallBooked, Finished, Moved, Write
from ksi_tui.engine.ticket import Ticket

_WAITED_FOR = (VerdictKind.OPEN, VerdictKind.COOLING, VerdictKind.FULL, VerdictKind.WORKER)


class Conclusions:
    """Sees each request from the end of a run to what follows from it."""

    def __init__(self, core: Core, locks: LockKeeper) -> None:
        self.core = core
        self._locks = locks

    def note_walk(self, run: Run) -> None:
        """Count an attempt that called somebody."""
        if run.calls:
            run.ticket.walks = run.attempt

    def stopped(self, run: Run) -> None:
        """A run was ended from outside: book what it did; decide only if it is not final."""
        ticket = run.ticket
        self.note_walk(run)
        now = self.core.clock()
        spent = bool(run.calls) and run.stopped is Outcome.CANCELLED
        writes: list[Write] = []
        if run.calls:  # else nothing has happened, and the next attempt takes its number
            writes.append(AttemptBooked(attempt=run.record(now, spent=spent)))
            writes += [CallBooked(call=record) for record in run.records]
        if ticket.state.final:
            self.core.store.write(*writes)
            return
        if run.stopped is not Outcome.SENT_ELSEWHERE and not self._survives(ticket):
            self.core.store.write(*writes)
            self.fail(ticket, ErrorKind.DAEMON_RESTART, _interrupted_text(ticket))
            return
        self._wait_again(run, State.QUEUED, writes)

    def resumed(self, ticket: Ticket) -> None:
        """A request ran when the engine died: it goes again, first in its session, or fails."""
        if self._survives(ticket):
            self.core.store.write(self.moved(ticket, State.QUEUED, self.core.clock()))
        else:
            self.fail(ticket, ErrorKind.DAEMON_RESTART, _interrupted_text(ticket))

    def _survives(self, ticket: Ticket) -> bool:
        """Count an end of the engine under a running request; False when it was one too many."""
        ticket.interruptions += 1
        ticket.error_kind = ErrorKind.DAEMON_RESTART
        ticket.error_message = "interrupted: the engine had ended"
        return ticket.interruptions <= MAX_INTERRUPTIONS

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
        self.core.poke()

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

    def unanswered(self, run: Run) -> None:
        """Nobody answered: retry, wait for somebody, or fail."""
        ticket, core = run.ticket, self.core
        now = core.clock()
        self.note_walk(run)
        if not run.faults:
            self._called_nobody(run, now)
            return
        if self._left_to_others(run, now):
            return
        last = run.faults[-1]
        interrupted = POLICY[last.kind].interruption
        if interrupted:
            ticket.interruptions += 1
        else:
            ticket.attempts += 1
        ticket.error_kind, ticket.error_message = last.kind, last.message
        decision = core.retry.decide(
            kinds=[
                (fault.kind, live.entry.wait_s(fault))
                for live, fault in zip(run.calls, run.faults, strict=True)
            ],
            spent=ticket.attempts,
            max_attempts=ticket.max_attempts,
            interruptions=ticket.interruptions,
            deadline_left_s=ticket.timeout_s - ticket.deadline_spent(now),
            max_wait_s=core.config.circuit.max_cooldown_s,
        )
        if run.broken_stream:
            self.fail(ticket, last.kind, f"{last.message} (on_broken_stream: fail)", run)
        elif isinstance(decision, Retry):
            self._retry(run, decision, now)
        else:
            blamed = next((f for f in reversed(run.faults) if f.kind is decision.kind), last)
            message = blamed.message
            if POLICY[blamed.kind].retried:
                message = f"{message} ({decision.message})"
            self.fail(ticket, decision.kind, message, run)

    def _called_nobody(self, run: Run, now: float) -> None:
        obstacle = self.core.providers.check(run.ticket.route, now)
        if isinstance(obstacle, Hopeless):
            run.ticket.walks = run.attempt  # its record says why nobody was called
            self.fail(run.ticket, obstacle.kind, obstacle.message, run)
            return
        state = State.RETRYING if run.ticket.walks else State.QUEUED
        self._wait_again(run, state, [])

    def _left_to_others(self, run: Run, now: float) -> bool:
        """Wait for candidates that were only busy or sick, if those called are out for good.

        That is no attempt spent: the walk goes on when one of them can be called.
        """
        ticket, last = run.ticket, run.faults[-1]
        out = all(POLICY[f.kind].fails_over and not POLICY[f.kind].retried for f in run.faults)
        waited_for = any(verdict.kind in _WAITED_FOR for verdict in run.verdicts)
        if run.broken_stream or not out or not waited_for:
            return False
        failed = {live.entry.name for live in run.calls}
        route = ticket.route._replace(avoid=ticket.route.avoid | failed)
        if isinstance(self.core.providers.check(route, now), Hopeless):
            return False
        ticket.route, ticket.error_kind, ticket.error_message = route, last.kind, last.message
        attempt = AttemptBooked(attempt=run.record(now, spent=False))
        calls = [CallBooked(call=record) for record in run.records]
        self._wait_again(run, State.RETRYING, [attempt, *calls])
        return True

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

    def complete(self, run: Run, spec: RequestSpec, answer: Answer) -> None:
        ticket, live, result = run.ticket, answer.live, answer.result
        self.note_walk(run)
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
                "turn": turn_of(spec, result.text),
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
            self.note_walk(run)
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
            writes.append(AttemptBooked(attempt=run.record(now, spent=_spent(run))))
            writes += [CallBooked(call=record) for record in run.records]
        session = core.sessions.get(ticket.session_id)
        if session is not None and session.turn_count is not None and details.get("turn"):
            session.turn_count += 1
        if ticket.run is None:
            core.queue.finish(ticket, now)
        future = core.store.write(*writes)
        core.finishing[ticket.request_id] = future
        core.ended(ended(ticket, now, details.get("provider"), details.get("error_message")))
        future.add_done_callback(partial(self._on_disk, ticket, event))
        return future

    def _unstorable(self, ticket: Ticket, refused: BaseException | None) -> None:
        """The answer holds what no database can: the request fails and says so."""
        self.core.move(ticket, State.PROCESSING)
        self.core.recent_without(ticket.request_id)
        self.fail(ticket, ErrorKind.PROVIDER_ERROR, f"the answer cannot be stored: {refused}")

    def _on_disk(
        self, ticket: Ticket, event: tuple[str, dict[str, Any]], future: asyncio.Future[None]
    ) -> None:
        """A final state is on disk: let the session go on and tell the world."""
        core = self.core
        refused = None if future.cancelled() else future.exception()
        if ticket.state is State.COMPLETED and _of_the_value(refused):
            self._unstorable(ticket, refused)
            return
        if core.tickets.get(ticket.request_id) is ticket:
            del core.tickets[ticket.request_id]
        core.finishing.pop(ticket.request_id, None)
        core.payloads.forget(ticket)
        ticket.run = None
        self._locks.give_back(ticket)
        core.queue.finish(ticket, core.clock())
        if ticket.session_id == ticket.request_id and core.queue.lane(ticket.session_id) is None:
            core.sessions.end(ticket.session_id)
        if not future.cancelled() and refused is None:
            name, data = event
            core.publish(
                name, {"request_id": ticket.request_id, "session_id": ticket.session_id, **data}
            )
        self.core.poke()


def _of_the_value(error: BaseException | None) -> bool:
    """Whether a write failed for what it holds, and not for the disk."""
    return isinstance(error, StoreError) and not isinstance(error, StoreUnavailable)


def _spent(run: Run) -> bool:
    """Whether an attempt counts: it called somebody, and was not merely interrupted."""
    interrupted = bool(run.faults) and POLICY[run.faults[-1].kind].interruption
    return bool(run.calls) and not interrupted


def _interrupted_text(ticket: Ticket) -> str:
    return f"interrupted {ticket.interruptions} times"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
