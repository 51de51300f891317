"""Gives requests their final states: completed, failed, cancelled.

A final state is handed to the store first; what follows from it (the session goes on, the
world is told) happens once it is on disk. Whether a request ends is not decided here.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

from ksi_tui.engine import events
from ksi_tui.engine.attempt import Answer
from ksi_tui.engine.clock import iso
from ksi_tui.engine.continuity import turn_of
from ksi_tui.engine.core import Core
from ksi_tui.engine.errors import POLICY, ErrorKind, StoreError, StoreUnavailable
from ksi_tui.engine.injection.keeper import InjectionKeeper
from ksi_tui.engine.injection.policy import Source
from ksi_tui.engine.live_call import Run
from ksi_tui.engine.lock_keeper import LockKeeper
from ksi_tui.engine.models import Outcome, RequestSpec, State
from ksi_tui.engine.recently_ended import ended
from ksi_tui.engine.store.base import AttemptBooked, CallBooked, Finished, Write
from ksi_tui.engine.ticket import Ticket


class Endings:
    """Ends requests."""

    def __init__(self, core: Core, locks: LockKeeper, injections: InjectionKeeper) -> None:
        self._core = core
        self._locks = locks
        self._injections = injections

    def complete(self, run: Run, spec: RequestSpec, answer: Answer) -> None:
        """Give a request its final state `completed`."""
        ticket, live, result = run.ticket, answer.live, answer.result
        run.note_walk()
        ticket.attempts += 1
        now = self._core.clock()
        self._core.usual.answered(ticket.route.model, now - (ticket.started_at or now))
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
            self._injections.owed(spec, result.text),
        )

    def fail(self, ticket: Ticket, kind: ErrorKind, message: str, run: Run | None = None) -> None:
        """Give a request its final state `failed`."""
        self._core.failed_new += 1
        ticket.attempts += ticket.laid_by is not None
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
            (
                events.ERROR,
                {
                    "error": message,
                    "kind": kind,
                    "attempts": ticket.attempts,
                    "retry_after_s": _retry_after_s(run, kind),
                },
            ),
        )

    def cancel(self, ticket: Ticket, by: str | None, reason: str | None) -> asyncio.Future[None]:
        """Give a request its final state `cancelled`, and stop its call. Done when on disk."""
        run, was = ticket.run, ticket.state
        text = run.call.text if run is not None and run.call is not None else ""
        if run is not None:
            run.stopped = Outcome.CANCELLED
            if run.call is not None:
                run.call.close_ahead()
            run.note_walk()
        ticket.attempts += ticket.laid_by is not None
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

    def outlived(self, run: Run) -> None:
        """A request got its final state while it ran: book what its run has done."""
        if not run.calls:
            return
        run.note_walk()
        self._not_the_answer(run, run.stopped or Outcome.CANCELLED)
        spent = run.stopped is Outcome.CANCELLED
        attempt = AttemptBooked(attempt=run.record(self._core.clock(), spent=spent))
        self._core.store.write(attempt, *_answer_of(run))

    def _finish(
        self,
        run: Run | None,
        ticket: Ticket,
        state: State,
        details: dict[str, Any],
        event: tuple[str, dict[str, Any]],
        owed: Source | None = None,
    ) -> asyncio.Future[None]:
        """Write a final state; what follows from it happens once it is on disk."""
        core = self._core
        now = core.clock()
        was = core.move(ticket, state)
        core.alarms.clear(("deadline", ticket.request_id))
        core.alarms.clear(("backoff", ticket.request_id))
        core.providers.give_up_room(ticket)
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
            kind = details.get("error_kind")
            writes.append(AttemptBooked(attempt=run.record(now, kind=kind, spent=_spent(run))))
            writes += _answer_of(run)
        elif ticket.laid_by is not None:
            writes.append(AttemptBooked(attempt=ticket.laid_by.record(now, spent=True)))
        writes += self._injections.ended(ticket, state, now)
        if owed is not None:
            writes.append(self._injections.owe(owed))
        session = core.sessions.get(ticket.session_id)
        if session is not None and session.turn_count is not None and details.get("turn"):
            session.turn_count += 1
        if ticket.run is None:
            core.queue.finish(ticket, now)
        future = core.store.write(*writes)
        core.finishing[ticket.request_id] = future
        core.ended(ended(ticket, now, details.get("provider"), details.get("error_message")))
        future.add_done_callback(partial(self._on_disk, ticket, event))
        if owed is not None:
            self._injections.follow(owed, future)
        return future

    def _unstorable(self, ticket: Ticket, refused: BaseException | None) -> None:
        """The answer holds what no database can: the request fails and says so.

        What its calls have used is booked all the same; the refused answer is waste.
        """
        message = f"the answer cannot be stored: {refused}"
        if (run := ticket.run) is not None:
            kind = ErrorKind.PROVIDER_ERROR
            self._not_the_answer(run, Outcome.FAILED, error_kind=kind, error_message=message)
        self._core.move(ticket, State.PROCESSING)
        self._core.recent_without(ticket.request_id)
        self.fail(ticket, ErrorKind.PROVIDER_ERROR, message, run)

    def _not_the_answer(self, run: Run, outcome: Outcome, **details: Any) -> None:
        """Let no call of a run count as the answer, which its request did not get."""
        if run.answer is not None and not run.answer.waste:
            self._core.tokens.wasted(run.answer)
            run.answer = replace(run.answer, outcome=outcome, **details)

    def _on_disk(
        self, ticket: Ticket, event: tuple[str, dict[str, Any]], future: asyncio.Future[None]
    ) -> None:
        """A final state is on disk: let the session go on and tell the world."""
        core = self._core
        refused = None if future.cancelled() else future.exception()
        if ticket.state is State.COMPLETED and _of_the_value(refused):
            self._unstorable(ticket, refused)
            return
        if core.tickets.get(ticket.request_id) is ticket:
            del core.tickets[ticket.request_id]
        core.finishing.pop(ticket.request_id, None)
        core.payloads.forget(ticket)
        if ticket.run is not None:
            ticket.run.let_go()
            ticket.run = None
        self._locks.give_back(ticket)
        core.queue.finish(ticket, core.clock())
        if ticket.session_id == ticket.request_id and core.queue.lane(ticket.session_id) is None:
            core.sessions.end(ticket.session_id)
        if not future.cancelled() and refused is None:
            if ticket.state is State.COMPLETED:
                self._injections.used(ticket.request_id)
            name, data = event
            core.publish(
                name, {"request_id": ticket.request_id, "session_id": ticket.session_id, **data}
            )
        self._core.poke()


def _answer_of(run: Run) -> list[Write]:
    """Return the write of the call that answered; all others are on their way to disk."""
    return [] if run.answer is None else [CallBooked(call=run.answer)]


def _retry_after_s(run: Run | None, kind: ErrorKind) -> float | None:
    """Return after how long the providers that failed so want to be asked again, where told."""
    waits = [wait for found, wait in (run.waits_s() if run is not None else ()) if found is kind]
    return min((wait for wait in waits if wait is not None), default=None)


def _of_the_value(error: BaseException | None) -> bool:
    """Whether a write failed for what it holds, and not for the disk."""
    return isinstance(error, StoreError) and not isinstance(error, StoreUnavailable)


def _spent(run: Run) -> bool:
    """Whether an attempt counts: it called somebody, and was not merely interrupted."""
    interrupted = bool(run.faults) and POLICY[run.faults[-1].kind].interruption
    return bool(run.calls) and not interrupted


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
