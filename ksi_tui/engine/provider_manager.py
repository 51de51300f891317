"""Which provider may be called now, for what, and how it is.

Selection and health only: candidates by model pattern and need, slots, cooldowns and
circuits. It performs no call and waits for nothing; the walk over candidates is
`attempt`'s, and who waits is the queue's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ksi_tui.config import Config, ProviderSettings
from ksi_tui.engine.circuit import Circuit, CircuitState, Permit, Settled
from ksi_tui.engine.errors import POLICY, CircuitEffect, ErrorKind, ProviderFault, circuit_effect
from ksi_tui.engine.models import Cause, CauseKind, Verdict, VerdictKind
from ksi_tui.engine.provider_entry import Entry
from ksi_tui.engine.providers.base import Provider
from ksi_tui.engine.ticket import Route
from ksi_tui.engine.worker_health import WorkerHealth

CACHED_ROUTES = 10_000
"""How many routes and model names keep their selection; more are worked out anew."""


@dataclass(frozen=True, slots=True)
class Hopeless:
    """No candidate will serve the route by itself: the request fails with this kind."""

    kind: ErrorKind
    message: str


@dataclass(frozen=True, slots=True)
class Candidates:
    """The providers of a route in the order in which they are tried, and those passed over."""

    usable: tuple[Entry, ...]
    passed_over: tuple[Verdict, ...]


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
    ) -> None:
        self._entries: dict[str, Entry] = {}
        self._candidates: dict[Route, Candidates] = {}
        self._served: dict[str, bool] = {}
        self._on_freed = on_freed
        self.workers = workers
        for settings in config.providers:
            self._add(config, settings, build(settings), on_circuit)

    def _add(
        self,
        config: Config,
        settings: ProviderSettings,
        provider: Provider,
        on_circuit: Callable[[str, str, str, str], None],
    ) -> None:
        circuit_settings = config.circuit_of(settings)

        def changed(before: str, after: str, reason: str) -> None:
            self._entries[settings.name].dirty = True
            on_circuit(settings.name, before, after, reason)

        self._entries[settings.name] = Entry(
            settings=settings,
            provider=provider,
            circuit=Circuit(circuit_settings, on_change=changed),
            max_cooldown_s=circuit_settings.max_cooldown_s,
        )

    # --- questions -----------------------------------------------------------------------

    def entries(self) -> Sequence[Entry]:
        """Return all providers in the order of the settings."""
        return tuple(self._entries.values())

    def get(self, name: str) -> Entry | None:
        """Return a provider by name, or None."""
        return self._entries.get(name)

    @property
    def names(self) -> list[str]:
        """The providers' names in the order of the settings."""
        return list(self._entries)

    def serves(self, model: str) -> bool:
        """Whether some provider's patterns match the model."""
        served = self._served.get(model)
        if served is None:
            if len(self._served) > CACHED_ROUTES:
                self._served.clear()
            served = any(entry.serves(model) for entry in self._entries.values())
            self._served[model] = served
        return served

    def model_patterns(self) -> list[str]:
        """Return every configured model pattern, for messages that say what is allowed."""
        return [p for entry in self._entries.values() for p in entry.settings.models]

    def candidates(self, route: Route) -> Candidates:
        """Return who could serve a route, by priority, and who matches but cannot."""
        found = self._candidates.get(route)
        if found is None:
            if len(self._candidates) > CACHED_ROUTES:
                self._candidates.clear()
            found = self._candidates[route] = self._select(route)
        return found

    def _select(self, route: Route) -> Candidates:
        usable: list[Entry] = []
        passed_over: list[Verdict] = []
        for entry in self._entries.values():
            if not entry.serves(route.model):
                continue
            lacks = entry.lacks(route)
            if entry.name in route.avoid:
                passed_over.append(
                    Verdict(provider=entry.name, kind=VerdictKind.AVOIDED, detail="is left out")
                )
            elif lacks:
                passed_over.append(
                    Verdict(provider=entry.name, kind=VerdictKind.UNSUITED, detail=lacks)
                )
            else:
                usable.append(entry)
        usable.sort(key=lambda entry: entry.settings.priority)
        return Candidates(tuple(usable), tuple(passed_over))

    def ordered(self, route: Route) -> list[Entry]:
        """Return the candidates as they are tried now: by priority, then by who is least loaded."""
        return sorted(
            self.candidates(route).usable,
            key=lambda entry: (entry.settings.priority, entry.in_flight),
        )

    def check(self, route: Route, now: float) -> Cause | Hopeless | None:
        """Return None when somebody may be called now, else what has to be waited for.

        The cause is that of the candidate that is expected back first; a starting worker
        of a better candidate is waited for. Hopeless when nobody will serve the route by
        waiting.
        """
        usable = self.candidates(route).usable
        causes: list[Cause] = []
        for entry in usable:
            cause = self.obstacle(entry, route.model, now)
            if cause is None:
                return None
            if cause.kind is CauseKind.WORKER and self.workers.patient:
                return cause
            if not entry.hopeless(now):
                causes.append(cause)
        if causes:
            return min(causes, key=lambda c: (c.until is None, c.until or 0.0))
        return self._why_hopeless(route, now)

    def changes_at(self, route: Route, now: float) -> float | None:
        """Return when the first candidate may be called again, also one that is not waited for."""
        causes = [self.obstacle(entry, route.model, now) for entry in self.candidates(route).usable]
        return min((c.until for c in causes if c is not None and c.until is not None), default=None)

    def _why_hopeless(self, route: Route, now: float) -> Hopeless:
        usable = self.candidates(route).usable
        if not usable:
            passed_over = self.candidates(route).passed_over
            reasons = ", ".join(f"{v.provider} {v.detail}" for v in passed_over)
            text = f"no provider serves {route.model}{f': {reasons}' if reasons else ''}"
            return Hopeless(ErrorKind.MODEL_NOT_FOUND, text)
        look = usable[0].circuit.look(now)
        kind = look.opened_by or ErrorKind.PROVIDER_ERROR
        return Hopeless(kind, f"{usable[0].name} is open and not waited for: {look.reason}")

    def obstacle(self, entry: Entry, model: str, now: float) -> Cause | None:
        """Return what keeps a provider from being called for a model now, or None."""
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
        if not entry.circuit.admits(now):
            look = entry.circuit.look(now)
            probing = look.state is CircuitState.HALF_OPEN
            return Cause(
                kind=CauseKind.CIRCUIT,
                target=entry.name,
                until=None if probing else look.open_until,
                text=f"{entry.name} probing" if probing else f"{entry.name} open",
            )
        if entry.full:
            limit = entry.settings.max_concurrency
            return Cause(
                kind=CauseKind.SLOT,
                target=entry.name,
                text=f"{entry.name} at {entry.in_flight} of {limit}",
            )
        return None

    # --- calls ---------------------------------------------------------------------------

    def admit(self, entry: Entry, model: str, now: float) -> Permit | Verdict:
        """Take a slot and the circuit's permit for one call, or say why not."""
        cause = self.obstacle(entry, model, now)
        if cause is not None:
            return Verdict(
                provider=entry.name,
                kind=_VERDICTS[cause.kind],
                detail=cause.text,
                until=cause.until,
            )
        permit = entry.circuit.admit(now)
        if permit is None:
            return Verdict(provider=entry.name, kind=VerdictKind.OPEN, detail=f"{entry.name} open")
        entry.in_flight += 1
        return permit

    def stands(self, entry: Entry, permit: Permit, model: str, now: float) -> bool:
        """Whether a call that was admitted a moment ago may still be made."""
        return entry.circuit.stands(permit) and entry.cooling_until(model, now) is None

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
        latency_ms: float,
    ) -> None:
        """Note a failure: to the circuit, as a cooldown, in the statistics."""
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
            until = max(entry.cooldowns.get(route.model, 0.0), now + wait_s)
            entry.cooldowns[route.model] = until
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
        others = (each for each in self.candidates(route).usable if each is not entry)
        return not any(each.circuit.admits(now) for each in others)

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
        return [(entry.name, self._dump(entry)) for entry in changed]

    def _dump(self, entry: Entry) -> dict[str, Any]:
        return {
            "circuit": entry.circuit.dump(),
            "health": entry.health.dump(),
            "cooldowns": dict(entry.cooldowns),
        }

    def restore(self, states: Mapping[str, Mapping[str, Any]], now: float) -> None:
        """Bring back what `dirty` once returned; providers that are gone are ignored."""
        for name, state in states.items():
            entry = self._entries.get(name)
            if entry is None:
                continue
            entry.circuit.restore(state["circuit"], now)
            entry.health.restore(state["health"])
            entry.cooldowns = {
                model: until for model, until in state["cooldowns"].items() if until > now
            }


_SETTLED = {
    CircuitEffect.NEUTRAL: Settled.NEUTRAL,
    CircuitEffect.COUNTS: Settled.COUNTS,
    CircuitEffect.OPENS: Settled.OPENS,
}

_VERDICTS = {
    CauseKind.COOLDOWN: VerdictKind.COOLING,
    CauseKind.CIRCUIT: VerdictKind.OPEN,
    CauseKind.SLOT: VerdictKind.FULL,
    CauseKind.WORKER: VerdictKind.WORKER,
}
