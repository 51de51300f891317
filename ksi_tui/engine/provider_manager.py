"""Which provider may be called now, for what, and how it is.

Admission and health only: slots, limits, cooldowns and circuits; who is a candidate at all
is worked out in `candidates`. It performs no call and waits for nothing; the walk over
candidates is `attempt`'s, and who waits is the queue's.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ksi_tui.config import Config, ProviderSettings
from ksi_tui.engine.candidates import Candidate, Candidates, Selection
from ksi_tui.engine.circuit import Circuit, Permit, Settled
from ksi_tui.engine.circuit_memory import CircuitState
from ksi_tui.engine.errors import (
    POLICY,
    CircuitEffect,
    Conflict,
    ErrorKind,
    NotFound,
    ProviderFault,
    circuit_effect,
)
from ksi_tui.engine.models import Cause, CauseKind, Verdict, VerdictKind
from ksi_tui.engine.pauses import PauseTable, pause_cause
from ksi_tui.engine.provider_entry import Entry, clocks_of
from ksi_tui.engine.provider_memory import dump, restore
from ksi_tui.engine.providers.base import Provider
from ksi_tui.engine.rate_limit import RateLimit
from ksi_tui.engine.substitutes import Substitutes
from ksi_tui.engine.ticket import Route, Ticket
from ksi_tui.engine.worker_health import WorkerHealth

_Kinds = Container[CauseKind]


@dataclass(frozen=True, slots=True)
class Hopeless:
    """No candidate will serve the route by itself: the request fails with this kind."""

    kind: ErrorKind
    message: str


class ProviderManager:
    """All providers. `on_change` is told when something that made requests wait may have ended."""

    def __init__(
        self,
        config: Config,
        build: Callable[[ProviderSettings], Provider],
        workers: WorkerHealth,
        *,
        on_circuit: Callable[[str, str, str, str], None],
        on_freed: Callable[[], None],
        pauses: PauseTable | None = None,
    ) -> None:
        self._config = config
        self._build = build
        self._on_circuit = on_circuit
        self._pauses = PauseTable() if pauses is None else pauses
        self._entries: dict[str, Entry] = {}
        self._selection = Selection(self._entries, Substitutes(config.routing))
        self._on_freed = on_freed
        self.workers = workers
        for settings in config.providers:
            self._add(settings, build(settings))

    def add(self, settings: ProviderSettings) -> None:
        """Take in one more provider, for requests that wait already too.

        Raises Conflict when its name is taken.
        """
        if settings.name in self._entries:
            raise Conflict(
                f"the name {settings.name!r} is taken; in use are: {', '.join(self._entries)}"
            )
        self._add(settings, self._build(settings))
        self._selection.forget()
        self._on_freed()

    def _add(self, settings: ProviderSettings, provider: Provider) -> None:
        circuit_settings = self._config.circuit_of(settings)

        def changed(before: str, after: str, reason: str) -> None:
            self._entries[settings.name].dirty = True
            self._on_circuit(settings.name, before, after, reason)

        limited = settings.rpm is not None or settings.tpm is not None
        self._entries[settings.name] = Entry(
            settings=settings,
            provider=provider,
            circuit=Circuit(circuit_settings, on_change=changed),
            max_cooldown_s=circuit_settings.max_cooldown_s,
            clocks=clocks_of(self._config.engine, settings),
            limit=RateLimit(settings.rpm, settings.tpm) if limited else None,
        )

    # --- questions -----------------------------------------------------------------------

    def entries(self) -> Sequence[Entry]:
        """Return all providers in the order of the settings."""
        return tuple(self._entries.values())

    def get(self, name: str) -> Entry | None:
        """Return a provider by name, or None."""
        return self._entries.get(name)

    def known(self, name: str) -> Entry:
        """Return a provider by name; raises NotFound where there is none."""
        entry = self._entries.get(name)
        if entry is None:
            raise NotFound(f"no provider {name!r}; configured: {', '.join(self._entries)}")
        return entry

    @property
    def names(self) -> list[str]:
        """The providers' names in the order of the settings."""
        return list(self._entries)

    @property
    def simulated_only(self) -> bool:
        """Whether no provider reaches a network."""
        return all(entry.settings.kind == "simulated" for entry in self._entries.values())

    def serves(self, model: str) -> bool:
        """Whether some provider's patterns match the model, or one that is named in its place."""
        return self._selection.serves(model)

    def model_patterns(self) -> list[str]:
        """Return every configured model pattern, for messages that say what is allowed."""
        return self._selection.model_patterns()

    def candidates(self, route: Route) -> Candidates:
        """Return who could serve a route, by priority, and who matches but cannot."""
        return self._selection.candidates(route)

    def ordered(self, route: Route) -> list[Candidate]:
        """Return the candidates as they are tried now: of equals the least loaded goes first."""
        return self._selection.ordered(route)

    def after(self, candidate: Candidate, route: Route, kind: ErrorKind) -> list[Candidate]:
        """Return who may take a request that a model refused as too long or as not allowed."""
        return self._selection.after(candidate, route, kind)

    def check(self, route: Route, now: float) -> Cause | Hopeless | None:
        """Return None when somebody may be called now, else what has to be waited for.

        The cause is that of the candidate that is expected back first; a starting worker
        of a better candidate is waited for. Hopeless when nobody will serve the route by
        waiting.
        """
        usable = self.candidates(route).usable
        causes: list[Cause] = []
        for candidate in usable:
            cause = self.obstacle(candidate.entry, candidate.model, now)
            if cause is None:
                return None
            if cause.kind is CauseKind.WORKER and self.workers.patient:
                return cause
            if cause.kind is CauseKind.PAUSE or not candidate.entry.hopeless(now):
                causes.append(cause)
        if causes:
            # A pause ends when somebody says so: whoever comes back by itself goes before it.
            return min(
                causes,
                key=lambda c: (c.kind is CauseKind.PAUSE, c.until is None, c.until or 0.0),
            )
        return self._why_hopeless(route, now)

    def changes_at(self, route: Route, now: float) -> float | None:
        """Return when the first candidate may be called again, also one that is not waited for."""
        usable = self.candidates(route).usable
        causes = [self.obstacle(each.entry, each.model, now) for each in usable]
        return min((c.until for c in causes if c is not None and c.until is not None), default=None)

    def cools(self, route: Route, now: float) -> bool:
        """Whether a candidate wants no calls for this route's model, whatever of others."""
        usable = self.candidates(route).usable
        return any(each.entry.cooling_until(each.model, now) is not None for each in usable)

    def _why_hopeless(self, route: Route, now: float) -> Hopeless:
        usable = self.candidates(route).usable
        if not usable:
            passed_over = self.candidates(route).passed_over
            reasons = ", ".join(f"{v.provider} {v.detail}" for v in passed_over)
            text = f"no provider serves {route.model}{f': {reasons}' if reasons else ''}"
            return Hopeless(ErrorKind.MODEL_NOT_FOUND, text)
        first = usable[0].entry
        look = first.circuit.look(now)
        kind = look.opened_by or ErrorKind.PROVIDER_ERROR
        return Hopeless(kind, f"{first.name} is open and not waited for: {look.reason}")

    def obstacle(
        self, entry: Entry, model: str, now: float, tokens: int = 0, lifted: _Kinds = ()
    ) -> Cause | None:
        """Return what keeps a provider from being called for a model now, or None.

        `tokens` is what the call needs, where known; `lifted` is looked through: pause or circuit.
        """
        paused = self._pauses.provider(entry.name)
        if paused is not None and CauseKind.PAUSE not in lifted:
            return pause_cause(paused)
        if entry.settings.kind == "litellm" and self.workers.starting:
            return Cause(kind=CauseKind.WORKER, target=entry.name, text=self.workers.text)
        cooling = entry.cooling_until(model, now)
        if cooling is not None:
            return Cause(
                kind=CauseKind.COOLDOWN,
                target=entry.name,
                until=cooling,
                text=f"{entry.name} cooling (429)",
            )
        if not entry.circuit.admits(now) and CauseKind.CIRCUIT not in lifted:
            look = entry.circuit.look(now)
            probing = look.state is CircuitState.HALF_OPEN
            return Cause(
                kind=CauseKind.CIRCUIT,
                target=entry.name,
                until=None if probing else look.open_until,
                text=f"{entry.name} {look.forced_text or ('probing' if probing else 'open')}",
                forced=look.forced is not None,
            )
        if entry.full:
            limit = entry.settings.max_concurrency
            return Cause(
                kind=CauseKind.SLOT,
                target=entry.name,
                text=f"{entry.name} at {entry.in_flight} of {limit}",
            )
        limited = entry.limit.obstacle(now, tokens) if entry.limit is not None else None
        if limited is not None:
            return Cause(
                kind=CauseKind.RATE,
                target=entry.name,
                until=limited.until,
                text=f"{entry.name} {limited.text}",
            )
        return None

    # --- calls ---------------------------------------------------------------------------

    def admit(self, entry: Entry, model: str, now: float, tokens: int = 0) -> Permit | Verdict:
        """Take a slot and the circuit's permit for one call, or say why not.

        What is admitted is counted against the provider's limits by `Admissions.reserve`, in
        the same moment.
        """
        cause = self.obstacle(entry, model, now, tokens)
        if cause is not None:
            return Verdict(
                provider=entry.name,
                kind=VERDICTS[cause.kind],
                detail=cause.text,
                until=cause.until,
            )
        permit = entry.circuit.admit(now)
        if permit is None:
            return Verdict(provider=entry.name, kind=VerdictKind.OPEN, detail=f"{entry.name} open")
        entry.in_flight += 1
        return permit

    def keep_room(self, ticket: Ticket) -> None:
        """Keep room in the limits that turned a request away: it waits for that."""
        for limit, tokens in self._limits(ticket):
            limit.keep_room(tokens)

    def give_up_room(self, ticket: Ticket) -> None:
        """Keep none any longer for a request that waits no more: others may go now."""
        given_up = [limit.give_up_room(tokens) for limit, tokens in self._limits(ticket)]
        if any(given_up):
            self._on_freed()

    def _limits(self, ticket: Ticket) -> list[tuple[RateLimit, int]]:
        """Return the limits that turned a request away, with the tokens that it needs of each."""
        limits = ((self._entries[name].limit, n) for name, n in (ticket.needs or {}).items())
        return [(limit, tokens) for limit, tokens in limits if limit is not None]

    def stands(self, entry: Entry, permit: Permit, model: str, now: float) -> bool:
        """Whether a call that was admitted a moment ago may still be made."""
        return (
            entry.circuit.stands(permit)
            and entry.cooling_until(model, now) is None
            and self._pauses.provider(entry.name) is None
        )

    def give_back(self, entry: Entry, permit: Permit, now: float) -> None:
        """Return slot and permit of a call that was not made."""
        entry.circuit.settle(permit, Settled.NEUTRAL, now)
        self.slot_freed(entry)

    def succeeded(
        self,
        entry: Entry,
        permit: Permit,
        now: float,
        *,
        latency_ms: float,
        ttft_ms: float | None,
        tokens: int,
        streamed: int,
    ) -> None:
        """Note an answer."""
        entry.circuit.settle(permit, Settled.SUCCESS, now)
        entry.health.record(
            now=now,
            ok=True,
            latency_ms=latency_ms,
            ttft_ms=ttft_ms,
            kind=None,
            message=None,
            tokens=tokens,
            streamed=streamed,
        )
        entry.dirty = True

    def failed(
        self,
        entry: Entry,
        permit: Permit,
        route: Route,
        fault: ProviderFault,
        now: float,
        *,
        model: str,
        latency_ms: float,
    ) -> None:
        """Note a failure: to the circuit, as a cooldown of the model that was asked for, in the
        statistics.
        """
        effect = circuit_effect(fault.kind, fault.status)
        entry.circuit.settle(
            permit,
            _SETTLED[effect],
            now,
            reason=f"{fault.kind}: {fault.message}"[:200],
            kind=fault.kind,
            last_candidate=self._last_candidate(entry, route, now),
        )
        wait_s = entry.wait_s(fault)
        if POLICY[fault.kind].cools_down and wait_s:
            until = max(entry.cooldowns.get(model, 0.0), now + wait_s)
            entry.cooldowns[model] = until
        entry.health.record(
            now=now,
            ok=None if POLICY[fault.kind].interruption else False,
            latency_ms=latency_ms,
            ttft_ms=None,
            kind=fault.kind,
            message=fault.message,
            tokens=0,
        )
        entry.dirty = True

    def _last_candidate(self, entry: Entry, route: Route, now: float) -> bool:
        """Whether nobody else serves the route: a failure rate must not shut this one then."""
        usable = self.candidates(route).usable
        others = (each.entry for each in usable if each.entry is not entry)
        return not any(
            each.circuit.admits(now) and self._pauses.provider(each.name) is None for each in others
        )

    def gave_up(self, entry: Entry, permit: Permit, now: float) -> None:
        """Note a call that was cancelled: neither failure nor success."""
        entry.circuit.settle(permit, Settled.NEUTRAL, now)
        entry.health.record(
            now=now, ok=None, latency_ms=None, ttft_ms=None, kind=None, message=None, tokens=0
        )
        entry.dirty = True
        self._on_freed()

    def slot_freed(self, entry: Entry) -> None:
        """Give a call's slot back; its upstream connection is closed."""
        entry.in_flight -= 1
        self._on_freed()

    # --- memory --------------------------------------------------------------------------

    def touch(self) -> None:
        """Let `dirty` return everything once."""
        for entry in self._entries.values():
            entry.dirty = True

    def dirty(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what changed since last asked, as plain JSON by provider."""
        changed = [entry for entry in self._entries.values() if entry.dirty]
        for entry in changed:
            entry.dirty = False
        return [(entry.name, dump(entry)) for entry in changed]

    def states(self) -> dict[str, dict[str, Any]]:
        """Return what is known of those that were ever used, as plain JSON by provider."""
        return {entry.name: dump(entry) for entry in self._entries.values() if not entry.unused}

    def restore(self, states: Mapping[str, Mapping[str, Any]], now: float) -> None:
        """Bring back what `dirty` once returned; providers that are gone are ignored."""
        for name, state in states.items():
            entry = self._entries.get(name)
            if entry is not None:
                restore(entry, state, now)


_SETTLED = {
    CircuitEffect.NEUTRAL: Settled.NEUTRAL,
    CircuitEffect.COUNTS: Settled.COUNTS,
    CircuitEffect.OPENS: Settled.OPENS,
}

VERDICTS = {
    CauseKind.PAUSE: VerdictKind.PAUSED,
    CauseKind.COOLDOWN: VerdictKind.COOLING,
    CauseKind.CIRCUIT: VerdictKind.OPEN,
    CauseKind.SLOT: VerdictKind.FULL,
    CauseKind.WORKER: VerdictKind.WORKER,
    CauseKind.RATE: VerdictKind.LIMITED,
}
