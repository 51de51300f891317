"""Why a request is where it is, and what happens if nobody acts.

Computed when somebody asks, from the parts as they are: so it is true at that moment
and costs nothing while nobody looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ksi_tui.engine.core import Core
from ksi_tui.engine.live_call import LiveCall
from ksi_tui.engine.models import Cause, CauseKind, State
from ksi_tui.engine.provider_manager import Hopeless
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.views import Phase

SILENT_S = 10.0
"""A stream without a token for this long is shown as such (contract section 11)."""

GateQuestion = Callable[[Ticket, float], Cause | None]


def seconds(left_s: float) -> str:
    """Return a remaining time in words of the screen: `8 s`, `3 min`, `2 h`."""
    left_s = max(0.0, left_s)
    if left_s < 120:
        return f"{left_s:.0f} s"
    if left_s < 7200:
        return f"{left_s / 60:.0f} min"
    return f"{left_s / 3600:.0f} h"


class Causes:
    """Answers `why`. `gate` says what holds a session's head back, without changing anything."""

    def __init__(self, core: Core, gate: GateQuestion) -> None:
        self._core = core
        self._gate = gate

    def cause(self, ticket: Ticket, now: float) -> Cause:
        """Return the nearest cause of an unfinished request's state."""
        if ticket.run is not None:
            return self._running(ticket, now)
        ahead = self._core.queue.ahead(ticket) if self._core.queue.lane(ticket.session_id) else None
        if ahead is not None:
            return Cause(
                kind=CauseKind.BEHIND,
                target=ahead.request_id,
                text=f"behind {ahead.request_id} in its session",
            )
        held = self._gate(ticket, now)
        if held is not None:
            return _dated(held, now)
        return self._head(ticket, now)

    def _head(self, ticket: Ticket, now: float) -> Cause:
        core = self._core
        if core.store.fault is not None:
            return Cause(kind=CauseKind.ENGINE, text=f"database: {core.store.fault}")
        if core.draining:
            return Cause(
                kind=CauseKind.ENGINE, text="the engine is ending; goes on at its next start"
            )
        obstacle = core.providers.check(ticket.route, now)
        if isinstance(obstacle, Cause):
            return _dated(obstacle, now)
        if isinstance(obstacle, Hopeless):
            return Cause(kind=CauseKind.NEXT, text=obstacle.message)
        limit = core.config.engine.max_concurrency
        if core.queue.running_count >= limit:
            text = f"engine at {core.queue.running_count} of {limit}"
            return Cause(kind=CauseKind.ENGINE, text=text)
        return Cause(kind=CauseKind.NEXT, text="next in turn")

    def _running(self, ticket: Ticket, now: float) -> Cause:
        run = ticket.run
        call = run.call if run is not None else None
        if call is None:
            return Cause(kind=CauseKind.NEXT, text="starting")
        name, until = call.entry.name, call.idle_at
        if call.first_token_at is None:
            text = _awaited(call, now)
            return Cause(kind=CauseKind.RUNNING, target=name, until=until, text=text)
        silent_s = now - (call.last_token_at or now)
        if silent_s >= SILENT_S:
            text = f"no token for {silent_s:.0f} s"
            return Cause(kind=CauseKind.NO_TOKEN, target=name, until=until, text=text)
        text = f"{name} answers"
        if call.model != call.asked_model:
            text = f"{name} answers as {call.model}"
        return Cause(kind=CauseKind.RUNNING, target=name, until=until, text=text)

    def phase(self, ticket: Ticket, now: float) -> Phase:
        """Return a request's state in the words of the screen."""
        if ticket.state.final:
            return Phase(ticket.state.value)
        run = ticket.run
        if run is None:
            if ticket.state is State.RETRYING:
                return Phase.RETRYING
            kind = self.cause(ticket, now).kind
            plain = kind in (CauseKind.NEXT, CauseKind.BEHIND, CauseKind.ENGINE, CauseKind.SLOT)
            return Phase.QUEUED if plain else Phase.WAITING
        call = run.call
        if call is None:
            return Phase.CONNECTING
        if call.first_token_at is None:
            return Phase.CONNECTING if now - call.started_at < 1 else Phase.FIRST_TOKEN
        silent_s = now - (call.last_token_at or now)
        return Phase.NO_TOKEN if silent_s >= SILENT_S else Phase.STREAMING

    def if_nobody_acts(self, ticket: Ticket, now: float) -> str:
        """Return what the nearest of the request's clocks will do, and when."""
        run = ticket.run
        if run is not None and run.call is not None and run.call.idle_at is not None:
            call = run.call
            left = seconds((call.idle_at or now) - now)
            if call.clock_name == "deadline":
                return f"in {left} the deadline ends it as failed"
            spent = ticket.attempts + 1
            then = (
                f"attempt {spent + 1} of {ticket.max_attempts} may follow, from the beginning"
                if spent < ticket.max_attempts
                else "no attempt is left after this one"
            )
            waste = f"; {call.tokens} tokens become waste" if call.tokens else ""
            clock = f"the {call.clock_name} clock ends this call in {left} unless text comes"
            return f"{clock}; {then}{waste}"
        return self._if_nobody_acts_waiting(ticket, now)

    def _if_nobody_acts_waiting(self, ticket: Ticket, now: float) -> str:
        cause = self.cause(ticket, now)
        match cause.kind:
            case CauseKind.BEHIND:
                return f"it goes on when {cause.target} has ended"
            case CauseKind.ENGINE | CauseKind.SLOT:
                return "it goes on when a running request ends"
            case CauseKind.NEXT:
                return "it goes on at once"
            case CauseKind.PAUSE:
                return f"it waits until {cause.target} is resumed"
            case CauseKind.WORKER:
                return "it goes on when a provider worker is ready"
        deadline = ticket.deadline_at()
        if deadline is not None and (cause.until is None or deadline < cause.until):
            return f"in {seconds(deadline - now)} its deadline ends it as failed"
        if cause.until is None:
            return "it goes on when that changes"
        what = {
            CauseKind.LOCK: f"the lock of {cause.target} expires and it goes on",
            CauseKind.BACKOFF: f"attempt {ticket.attempts + 1} of {ticket.max_attempts} begins",
            CauseKind.CIRCUIT: f"a probe may go to {cause.target}",
            CauseKind.COOLDOWN: f"{cause.target} may be called again",
            CauseKind.RATE: f"{cause.target} may be called again",
        }.get(cause.kind, "it goes on")
        return f"in {seconds(cause.until - now)} {what}"


def _awaited(call: LiveCall, now: float) -> str:
    """Return what is usual for the first token that a call waits for, and its limit."""
    if now - call.started_at < 1:
        return f"calling {call.entry.name}"
    usual_ms = call.entry.health.stats(now).ttft_ms.p50
    usual = f"usual {usual_ms / 1000:.1f} s, " if usual_ms is not None and call.stream else ""
    limit_s = (call.idle_at or now) - call.started_at
    return f"{usual}limit {seconds(limit_s)}"


def _dated(cause: Cause, now: float) -> Cause:
    """Return the cause with its remaining time in words."""
    left_s = None if cause.until is None else max(0.0, cause.until - now)
    if left_s is None:
        return cause
    match cause.kind:
        case CauseKind.LOCK:
            text = f"{cause.text}, {seconds(left_s)} left"
        case CauseKind.BACKOFF:
            reason = cause.text.removeprefix("backoff ")
            text = f"backoff {seconds(left_s)} {reason}"
        case CauseKind.CIRCUIT if not cause.forced:
            text = f"{cause.text}, probe in {seconds(left_s)}"
        case CauseKind.COOLDOWN | CauseKind.CIRCUIT | CauseKind.RATE:
            text = f"{cause.text}, {seconds(left_s)} left"
        case _:
            text = cause.text
    return replace(cause, text=text)
