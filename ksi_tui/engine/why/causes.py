"""Why a request is where it is.

Computed when somebody asks, from the parts as they are: so it is true at that moment
and costs nothing while nobody looks. Only the nearest cause of one request: where that
leads is `chain`'s, what comes of it `outlook`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ksi_tui.engine.core import Core
from ksi_tui.engine.lanes import Waiting
from ksi_tui.engine.live_call import LiveCall
from ksi_tui.engine.models import Cause, CauseKind, Outcome, State
from ksi_tui.engine.provider_manager import Hopeless
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.views import Phase

SILENT_S = 10.0
"""A stream without a token for this long is shown as such (contract section 11)."""

DATABASE, ENDING = "database", "ending"
NOT_A_SLOT = (DATABASE, ENDING)
"""Targets of an `engine` cause that is not about its slots."""

GateQuestion = Callable[[Ticket, float], Cause | None]


def seconds(left_s: float) -> str:
    """Return a remaining time in words of the screen: `8 s`, `3 min`, `2 h`."""
    left_s = max(0.0, left_s)
    if left_s < 120:
        return f"{left_s:.0f} s"
    if left_s < 7200:
        return f"{left_s / 60:.0f} min"
    return f"{left_s / 3600:.0f} h"


def behind(request_id: str) -> str:
    """Return the why of a request that has another one ahead of it in its session."""
    return f"behind {request_id} in its session"


class Causes:
    """Answers `why`. `gate` says what holds a session's head back, without changing anything."""

    def __init__(self, core: Core, gate: GateQuestion) -> None:
        self._core = core
        self._gate = gate

    def cause(self, ticket: Ticket, now: float) -> Cause:
        """Return the nearest cause of an unfinished request's state."""
        if ticket.state.final:
            return self._stopped() or Cause(
                kind=CauseKind.NEXT, text="its end is being written to disk"
            )
        if ticket.run is not None:
            return self._running(ticket, now)
        ahead = self._core.queue.ahead(ticket) if self._core.queue.lane(ticket.session_id) else None
        if ahead is not None:
            text = behind(ahead.request_id)
            return Cause(kind=CauseKind.BEHIND, target=ahead.request_id, text=text)
        return self.holds(ticket, now) or self._stopped() or self._head(ticket, now)

    def of_line(self, line: Waiting, now: float) -> Cause:
        """Return what all that waits for one route waits for, as its longest head has it."""
        return self.cause(line.longest.waiting[0], now)

    def holds(self, ticket: Ticket, at: float) -> Cause | None:
        """Return what keeps a session's head back at a moment, now or to come, as of now."""
        held = self._gate(ticket, at)
        return None if held is None else _dated(held, at)

    def obstructs(self, ticket: Ticket, at: float) -> Cause | Hopeless | None:
        """Return why no provider can be called at a moment, now or to come, as of now."""
        obstacle = self._core.providers.check(ticket.route, at)
        return _dated(obstacle, at) if isinstance(obstacle, Cause) else obstacle

    def _stopped(self) -> Cause | None:
        """Return what keeps the whole engine from beginning anything."""
        core = self._core
        if core.store.fault is not None:
            text = f"database: {core.store.fault}"
            return Cause(kind=CauseKind.ENGINE, target=DATABASE, text=text)
        if core.draining:
            text = "the engine is ending; goes on at its next start"
            return Cause(kind=CauseKind.ENGINE, target=ENDING, text=text)
        return None

    def _head(self, ticket: Ticket, now: float) -> Cause:
        core = self._core
        obstacle = self.obstructs(ticket, now)
        if isinstance(obstacle, Cause):
            return obstacle
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
        if run is not None and run.stopped is not None:
            elsewhere = run.stopped is Outcome.SENT_ELSEWHERE
            text = "its call is being stopped" + (", goes on elsewhere" if elsewhere else "")
            return Cause(kind=CauseKind.NEXT, text=text)
        if call is None:
            return Cause(kind=CauseKind.NEXT, text="starting")
        name, until = call.entry.name, call.idle_at
        if call.first_token_at is None:
            text = _awaited(call, now)
            return Cause(kind=CauseKind.RUNNING, target=name, until=until, text=text)
        silent_s = now - (call.last_token_at or now)
        if silent_s >= SILENT_S:
            text = f"no token for {seconds(silent_s)}"
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


def open_calls(core: Core, provider: str | None = None) -> list[LiveCall]:
    """Return the calls that run now, of one provider or of all."""
    runs = [lane.running.run for lane in core.queue.running_lanes() if lane.running is not None]
    calls = [run.call for run in runs if run is not None]
    return [
        call
        for call in calls
        if call is not None and call.pending is None and provider in (None, call.entry.name)
    ]


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
