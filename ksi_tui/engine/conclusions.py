"""Draws the conclusions from each attempt that brought no answer: again, wait, or the end.

The only place where a request that has run changes its state but for the final ones,
which are `endings`'.
"""

from __future__ import annotations

from typing import Any

from ksi_tui.engine import events
from ksi_tui.engine.core import Core
from ksi_tui.engine.endings import Endings
from ksi_tui.engine.errors import (
    POLICY,
    ErrorKind,
    ProviderFault,
    StoreUnavailable,
)
from ksi_tui.engine.live_call import Run
from ksi_tui.engine.models import Outcome, State
from ksi_tui.engine.provider_manager import Hopeless
from ksi_tui.engine.retry_manager import MAX_INTERRUPTIONS, Retry
from ksi_tui.engine.store.base import AttemptBooked, Moved, Write
from ksi_tui.engine.ticket import Route, Ticket
from ksi_tui.engine.unended import cut_short, route_to_the_rest

READ_AGAIN_S = 1.0
"""How long a request waits whose payload or history could not be read."""


class Conclusions:
    """Sees each request from the end of a run to what follows from it."""

    def __init__(self, core: Core, endings: Endings) -> None:
        self.core = core
        self._endings = endings

    def stopped(self, run: Run) -> None:
        """A run was ended from outside: book what it did; decide only if it is not final."""
        ticket = run.ticket
        if run.reported is not None and not ticket.state.final:
            self._reported(run, run.reported)
            return
        if ticket.state.final:
            self._endings.outlived(run)
            return
        run.note_walk()
        writes: list[Write] = []
        if run.calls:  # else nothing has happened, and the next attempt takes its number
            writes.append(AttemptBooked(attempt=run.record(self.core.clock(), spent=False)))
        if run.stopped is not Outcome.SENT_ELSEWHERE and not self._survives(ticket):
            self.core.store.write(*writes)
            self._endings.fail(ticket, ErrorKind.DAEMON_RESTART, _interrupted_text(ticket))
            return
        self._wait_again(run, State.QUEUED, writes, uncalled=run.call is None)

    def _reported(self, run: Run, fault: ProviderFault) -> None:
        """Somebody reported that this attempt failed, and its call was stopped for that."""
        run.faults.append(fault)
        if POLICY[fault.kind].retried:
            self.unanswered(run)
            return
        run.note_walk()
        run.ticket.attempts += 1
        self._endings.fail(run.ticket, fault.kind, fault.message, run)

    def unread(self, run: Run, error: StoreUnavailable) -> None:
        """What a request asked cannot be read now: it waits and is tried again, at no attempt."""
        ticket = run.ticket
        if ticket.state.final or run.stopped is not None:
            self.stopped(run)
            return
        ticket.error_kind, ticket.error_message = ErrorKind.TEMPORARY_FAILURE, str(error)
        ticket.retry_at = self.core.clock() + READ_AGAIN_S
        self._wait_again(run, State.RETRYING, [], uncalled=True)

    def resumed(self, ticket: Ticket) -> None:
        """A request ran when the engine died: it goes again, first in its session, or fails."""
        now = self.core.clock()
        ticket.walks += 1  # nobody could write down the attempt that was cut short
        self.core.store.write(AttemptBooked(attempt=cut_short(ticket, now)))
        if self._survives(ticket):
            self.core.store.write(self.moved(ticket, State.QUEUED, now))
        else:
            self._endings.fail(ticket, ErrorKind.DAEMON_RESTART, _interrupted_text(ticket))

    def _survives(self, ticket: Ticket) -> bool:
        """Count an end of the engine under a running request; False when it was one too many."""
        ticket.interruptions += 1
        ticket.error_kind = ErrorKind.DAEMON_RESTART
        ticket.error_message = "interrupted: the engine had ended"
        return ticket.interruptions < MAX_INTERRUPTIONS

    def _wait_again(
        self, run: Run, state: State, writes: list[Write], *, uncalled: bool = False
    ) -> None:
        """Put a request that ran back to the head of its session.

        One for which nobody was called keeps its place among the sessions.
        """
        ticket, core = run.ticket, self.core
        now = core.clock()
        ticket.run = None
        writes.append(self.moved(ticket, state, now))
        core.store.write(*writes)
        if ticket.retry_at is not None:
            core.alarms.set(("backoff", ticket.request_id), ticket.retry_at)
        core.queue.put_back(ticket, now, uncalled=uncalled)
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
        run.note_walk()
        if len(run.calls) == run.earlier and run.reported is None:
            self._called_nobody(run, now)
            return
        if (route := route_to_the_rest(run, core.providers, now)) is not None:
            self._lay_by(run, route, now)
            return
        last = run.faults[-1]
        interrupted = POLICY[last.kind].interruption
        if interrupted:
            ticket.interruptions += 1
        else:
            ticket.attempts += 1
        ticket.error_kind, ticket.error_message = last.kind, last.message
        decision = core.retry.decide(
            kinds=run.waits_s(),
            spent=ticket.attempts,
            max_attempts=ticket.max_attempts,
            interruptions=ticket.interruptions,
            deadline_left_s=ticket.timeout_s - ticket.deadline_spent(now),
        )
        if run.broken_stream:
            self._endings.fail(ticket, last.kind, f"{last.message} (on_broken_stream: fail)", run)
        elif isinstance(decision, Retry):
            self._retry(run, decision, now)
        else:
            blamed = next((f for f in reversed(run.faults) if f.kind is decision.kind), last)
            message = blamed.message
            if POLICY[blamed.kind].retried:
                message = f"{message} ({decision.message})"
            self._endings.fail(ticket, decision.kind, message, run)

    def _called_nobody(self, run: Run, now: float) -> None:
        ticket = run.ticket
        obstacle = self.core.providers.check(ticket.route, now)
        if not isinstance(obstacle, Hopeless):
            self._wait_on(run)
        elif run.faults:  # those whom it had waited for are of no use any more
            ticket.attempts += 1
            last = run.faults[-1]
            self._endings.fail(ticket, last.kind, f"{last.message}; {obstacle.message}", run)
        else:
            ticket.walks = run.attempt  # its record says why nobody was called
            self._endings.fail(ticket, obstacle.kind, obstacle.message, run)

    def _wait_on(self, run: Run, *writes: Write) -> None:
        """Let an attempt wait for somebody to be free; it spends nothing by that."""
        ticket, uncalled = run.ticket, run.call is None
        if run.calls:
            run.lay_by()
            ticket.laid_by = run
        self.core.providers.keep_room(ticket)
        if not ticket.called and not ticket.walks and not ticket.interruptions:
            ticket.unbegin()
        state = State.RETRYING if ticket.walks else State.QUEUED
        self._wait_again(run, state, [*writes], uncalled=uncalled)

    def _lay_by(self, run: Run, route: Route, now: float) -> None:
        ticket, last = run.ticket, run.faults[-1]
        ticket.route = route
        ticket.error_kind, ticket.error_message = last.kind, last.message
        self._wait_on(run, AttemptBooked(attempt=run.record(now, spent=False)))

    def _retry(self, run: Run, decision: Retry, now: float) -> None:
        ticket = run.ticket
        fault = next(f for f in run.faults if f.kind is decision.kind)
        ticket.error_kind, ticket.error_message = fault.kind, fault.message
        interruption = POLICY[decision.kind].interruption
        ticket.retry_at = None if interruption else now + decision.delay_s
        attempt = run.record(
            now, kind=decision.kind, retry_at=ticket.retry_at, spent=not interruption
        )
        self.core.publish(
            events.RETRYING,
            {
                "request_id": ticket.request_id,
                "session_id": ticket.session_id,
                "kind": decision.kind,
                "attempt": ticket.attempts,
                "max_attempts": ticket.max_attempts,
                "delay": round(decision.delay_s, 3),
                "delay_s": round(decision.delay_s, 3),
                "error": fault.message,
            },
        )
        self._wait_again(run, State.RETRYING, [AttemptBooked(attempt=attempt)])


def _interrupted_text(ticket: Ticket) -> str:
    return f"interrupted {ticket.interruptions} times"
