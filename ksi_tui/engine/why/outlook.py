"""What happens to an unfinished request if nobody acts.

Foretold from its clocks, expiries and probes by the same policies that will decide then,
never guessed: the nearest of them, and what follows from it. Reads only.
"""

from __future__ import annotations

import random
from dataclasses import replace

from ksi_tui.engine.circuit_memory import CircuitState
from ksi_tui.engine.core import Core
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.live_call import LiveCall, Run
from ksi_tui.engine.models import Cause, CauseKind, OnConflict, Outcome
from ksi_tui.engine.provider_manager import Hopeless
from ksi_tui.engine.retry_manager import Fail, RetryPolicy
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.token_tracker import estimate
from ksi_tui.engine.views import Chain, Next, Outlook
from ksi_tui.engine.why.causes import DATABASE, ENDING, Causes, open_calls, seconds
from ksi_tui.engine.why.lock_holder import work_of

FOLLOWED = 20
"""Over how many requests a wait is followed to the clock that moves first."""

_CLOCKS = {
    "first token": Next.FIRST_TOKEN_CLOCK,
    "idle": Next.IDLE_CLOCK,
    "reply": Next.REPLY_CLOCK,
    "deadline": Next.DEADLINE,
}
_UNDATED = {
    CauseKind.PAUSE: (Next.PAUSE_LIFTED, "it goes on when somebody lifts the pause"),
    CauseKind.WORKER: (Next.WORKER_READY, "it goes on when a provider worker is ready"),
}
_DATED = {
    CauseKind.PAUSE: (Next.PAUSE_LIFTED, "the pause ends and it goes on"),
    CauseKind.BACKOFF: (Next.BACKOFF_ENDS, "attempt {attempt} of {attempts} begins"),
    CauseKind.CIRCUIT: (Next.PROBE, "a probe may go to {target}"),
    CauseKind.COOLDOWN: (Next.COOLDOWN_ENDS, "{target} may be called again"),
    CauseKind.RATE: (Next.RATE_ALLOWS, "{target} may be called again"),
}


class Outlooks:
    """Foretells. Its retry policy draws no jitter, so that asking changes nothing."""

    def __init__(self, core: Core, causes: Causes) -> None:
        self._core = core
        self._causes = causes
        settings = core.config.retry.model_copy(update={"jitter": 0})
        self._retry = RetryPolicy(settings, random.Random(0))  # noqa: S311 - never drawn from

    def outlook(self, ticket: Ticket, now: float) -> Outlook:
        """Return what moves an unfinished request first, when, and what follows."""
        return self._of(ticket, now, frozenset())

    def moves(self, chain: Chain, now: float) -> tuple[Outlook, ...]:
        """Return what moves by itself along a chain, soonest first, and whose that is.

        One for each link that waits for more than the link after it; undated ones last.
        """
        seen = frozenset(link.request_id for link in chain.links)
        found = [
            (ticket, self._of(ticket, now, seen))
            for link in chain.links
            if link.cause.kind is not CauseKind.BEHIND
            and (ticket := self._core.tickets.get(link.request_id)) is not None
        ]
        named = [
            replace(outlook, request_id=outlook.request_id or ticket.request_id)
            for ticket, outlook in found
        ]
        return tuple(sorted(named, key=lambda each: (each.at is None, each.at or 0.0)))

    def _of(self, ticket: Ticket, now: float, seen: frozenset[str]) -> Outlook:
        run = ticket.run
        if ticket.state.final:
            return self._stopped(ticket, self._causes.cause(ticket, now), now)
        if run is not None:
            return self._running(ticket, run, now)
        own = self._waiting(ticket, now, seen | {ticket.request_id})
        deadline = ticket.deadline_at()
        if deadline is not None and (own.at is None or deadline <= own.at):
            # Of two alarms of one moment both are heard before anything begins.
            text = f"in {seconds(deadline - now)} its deadline ends it as failed"
            text += f" ({ErrorKind.DEADLINE_EXCEEDED})"
            return Outlook(what=Next.DEADLINE, at=deadline, text=text)
        return own

    # --- a call that runs ----------------------------------------------------------------------

    def _running(self, ticket: Ticket, run: Run, now: float) -> Outlook:
        call = run.call
        if run.stopped is Outcome.INTERRUPTED:
            text = "the engine is ending; it goes again at its next start"
            return Outlook(what=Next.NEXT_START, at=None, text=text)
        if call is None or call.idle_at is None or run.stopped is not None:
            then = "elsewhere" if run.stopped is not None else "a provider"
            text = f"its next call, of {then}, begins at once"
            return Outlook(what=Next.DISPATCHED, at=now, text=text)
        at, left = call.idle_at, seconds(call.idle_at - now)
        waste = self._waste(call)
        if call.clock_name == "deadline":
            text = f"in {left} the deadline ends it as failed ({ErrorKind.DEADLINE_EXCEEDED})"
            return Outlook(what=Next.DEADLINE, at=at, text=text + waste)
        clock = f"the {call.clock_name} clock ends this call in {left} unless text comes"
        text = f"{clock}; {self._after_timeout(ticket, run, at)}{waste}"
        return Outlook(what=_CLOCKS[call.clock_name], at=at, text=text)

    def _after_timeout(self, ticket: Ticket, run: Run, at: float) -> str:
        """Return what a timed-out call leads to, decided as it will be decided then."""
        call, engine = run.call, self._core.config.engine
        if call is not None and call.first_token_at and engine.on_broken_stream == "fail":
            return f"then it fails ({ErrorKind.TIMEOUT}): on_broken_stream is fail"
        heir = self._next_candidate(ticket, run, at)
        if heir is not None:
            return f"{heir} is called next, in the same attempt, from the beginning"
        spent = ticket.attempts + 1
        decision = self._retry.decide(
            kinds=[*run.waits_s(), (ErrorKind.TIMEOUT, None)],
            spent=spent,
            max_attempts=ticket.max_attempts,
            interruptions=ticket.interruptions,
            deadline_left_s=ticket.timeout_s - ticket.deadline_spent(at),
        )
        if not isinstance(decision, Fail):
            attempt = f"attempt {spent + 1} of {ticket.max_attempts}"
            pause = f" about {seconds(decision.delay_s)} later" if decision.delay_s >= 0.5 else ""
            return f"{attempt} may follow{pause}, from the beginning"
        if spent >= ticket.max_attempts:
            return f"no attempt is left after this one, it fails ({decision.kind})"
        return f"then it fails ({decision.kind}): {decision.message}"

    def _next_candidate(self, ticket: Ticket, run: Run, at: float) -> str | None:
        """Return who is called after this call in the same walk, as far as one can see now."""
        passed = {verdict.provider for verdict in run.verdicts}
        providers = self._core.providers
        for candidate in providers.ordered(ticket.route):
            if candidate.entry.name in passed:
                continue
            if providers.obstacle(candidate.entry, candidate.model, at) is None:
                return candidate.entry.name
        return None

    def _waste(self, call: LiveCall) -> str:
        """Return what this call's end without an answer throws away; dollars where priced."""
        if not call.tokens:
            return ""
        usage = estimate(messages=call.messages, text=call.text)
        cost, _ = self._core.tokens.price(call.model, usage, None, None)
        dollars = "" if cost is None else f" (~${cost:.4f})"
        return f"; {call.tokens} tokens{dollars} become waste"

    # --- one that waits ------------------------------------------------------------------------

    def _waiting(self, ticket: Ticket, now: float, seen: frozenset[str]) -> Outlook:
        cause = self._causes.cause(ticket, now)
        match cause.kind:
            case CauseKind.BEHIND:
                return self._behind(ticket, cause, now, seen)
            case CauseKind.LOCK:
                return self._locked(ticket, cause, now, seen)
            case CauseKind.SLOT | CauseKind.ENGINE | CauseKind.NEXT:
                return self._stopped(ticket, cause, now)
            case CauseKind.CIRCUIT if cause.until is None:
                return self._probing(cause, now)
        if cause.until is None:
            what, text = _UNDATED.get(
                cause.kind, (Next.WAIT_ENDS, f"it goes on when this has ended: {cause.text}")
            )
            return Outlook(what=what, at=None, text=text)
        what, form = _DATED.get(cause.kind, (Next.WAIT_ENDS, "it goes on"))
        text = form.format(
            target=cause.target, attempt=ticket.attempts + 1, attempts=ticket.max_attempts
        )
        then = self._then(ticket, cause.until)
        return Outlook(
            what=what, at=cause.until, text=f"in {seconds(cause.until - now)} {text}{then}"
        )

    def _then(self, ticket: Ticket, at: float) -> str:
        """Return what a request will wait for next, at a moment when its present wait ends."""
        if self._core.draining:
            return "; but the engine is ending: it goes on at its next start"
        held = self._causes.holds(ticket, at)
        if held is not None:
            return f"; then it waits: {held.text}"
        obstacle = self._causes.obstructs(ticket, at)
        if isinstance(obstacle, Hopeless):
            return f"; then it fails ({obstacle.kind}): {obstacle.message}"
        if obstacle is not None:
            return f"; then it may have to wait: {obstacle.text}"
        return self._denied(ticket, at)

    def _denied(self, ticket: Ticket, at: float) -> str:
        """Return what becomes at its dispatch of one that would rather fail than wait."""
        lock = self._core.locks.blocks(ticket.session_id, ticket.agent_id, at)
        if lock is None or ticket.lock is None or ticket.lock.on_conflict is not OnConflict.FAIL:
            return ""
        return f"; there it fails ({ErrorKind.LOCK_DENIED}) while {lock.holder} holds the lock"

    def _behind(self, ticket: Ticket, cause: Cause, now: float, seen: frozenset[str]) -> Outlook:
        lane = self._core.queue.lane(ticket.session_id)
        front = (lane.running or lane.head) if lane is not None else None
        text = f"it goes on when {cause.target} has ended"
        if front is None or front.request_id in seen or len(seen) > FOLLOWED:
            return Outlook(what=Next.WAIT_ENDS, at=None, text=text)
        return _through(self._of(front, now, seen), front, text)

    def _locked(self, ticket: Ticket, cause: Cause, now: float, seen: frozenset[str]) -> Outlook:
        at = cause.until or now
        text = f"in {seconds(at - now)} the lock of {cause.target} expires and it goes on"
        own = Outlook(what=Next.LOCK_EXPIRES, at=at, text=text + self._then(ticket, at))
        lock = self._core.locks.get(ticket.session_id)
        work = None if lock is None else work_of(self._core, lock)
        if work is None or work.ticket.request_id in seen or len(seen) > FOLLOWED:
            return own
        busy = work.ticket
        if busy.run is not None:
            return own
        sooner = self._of(busy, now, seen)
        if sooner.at is None or sooner.at >= at:
            return own
        return _through(sooner, busy, f"{own.text}; {cause.target} is probably busy till then")

    def _probing(self, cause: Cause, now: float) -> Outlook:
        """A circuit that admits nobody: its probe is under way, or somebody forced it open."""
        entry = self._core.providers.get(cause.target or "")
        look = None if entry is None else entry.circuit.look(now)
        if look is not None and look.forced is CircuitState.OPEN:
            text = f"nothing: {cause.target} stays open until somebody closes or resets it"
            return Outlook(what=Next.CIRCUIT_CLOSED, at=None, text=text)
        text = f"it goes on when {cause.target} has answered its probe"
        probes = [call for call in open_calls(self._core, cause.target) if call.permit.probe]
        if not probes:
            return Outlook(what=Next.PROBE, at=None, text=text)
        probe = probes[0]
        name, at = probe.run.ticket.request_id, probe.idle_at
        if at is not None:
            text += f"; {name} is the probe, and ends in {seconds(at - now)} unless text comes"
        return Outlook(what=Next.PROBE, at=at, text=text, request_id=name)

    def _stopped(self, ticket: Ticket, cause: Cause, now: float) -> Outlook:
        """Nothing of its own holds it: a slot, the disk, the engine's end, or nothing at all."""
        if cause.kind is CauseKind.NEXT:
            text = "its end is told once it is on disk"
            if not ticket.state.final:
                then = self._then(ticket, now)
                text = f"it goes on at once{then}"
            return Outlook(what=Next.DISPATCHED, at=now, text=text)
        if cause.target == DATABASE:
            text = "it goes on when the database can be written again"
            return Outlook(what=Next.DISK_WRITABLE, at=None, text=text)
        if cause.target == ENDING:
            return Outlook(what=Next.NEXT_START, at=None, text="it goes on at the next start")
        whose = f"call of {cause.target}" if cause.target else "running request"
        text = f"it goes on when a {whose} ends" + self._denied(ticket, now)
        dated = [call for call in open_calls(self._core, cause.target) if call.idle_at is not None]
        first = min(dated, key=lambda call: call.idle_at or 0.0, default=None)
        if first is None or first.idle_at is None:
            return Outlook(what=Next.SLOT_FREES, at=None, text=text)
        name = first.run.ticket.request_id
        limit = f"{name} in {seconds(first.idle_at - now)} at its {first.clock_name} clock"
        return Outlook(
            what=Next.SLOT_FREES,
            at=first.idle_at,
            text=f"{text}, the nearest {limit} unless text comes",
            request_id=name,
        )


def _through(inner: Outlook, whose: Ticket, text: str) -> Outlook:
    """Return another request's outlook as that of one that waits for it."""
    name = inner.request_id or whose.request_id
    return replace(inner, text=f"{text}; {whose.request_id}: {inner.text}", request_id=name)
