"""One configured provider with all that is known of it: slots, cooldowns, circuit, health."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ksi_tui.config import ProviderSettings
from ksi_tui.engine.circuit import Circuit, CircuitState
from ksi_tui.engine.errors import POLICY, ErrorKind, ProviderFault
from ksi_tui.engine.provider_health import ProviderHealth
from ksi_tui.engine.providers.base import Provider
from ksi_tui.engine.ticket import Route

NOT_WAITED_FOR = (ErrorKind.AUTH_ERROR, ErrorKind.QUOTA_EXCEEDED)
"""A circuit that one of these opened does not heal by waiting (contract section 5)."""


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """One configured provider with all that is known of it."""

    settings: ProviderSettings
    provider: Provider
    circuit: Circuit
    max_cooldown_s: float
    health: ProviderHealth = field(default_factory=ProviderHealth)
    in_flight: int = 0
    cooldowns: dict[str, float] = field(default_factory=dict)
    dirty: bool = False

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.settings.name

    @property
    def full(self) -> bool:
        """Whether every slot is taken."""
        limit = self.settings.max_concurrency
        return limit is not None and self.in_flight >= limit

    def upstream_model(self, model: str) -> str:
        """Return the provider's own name of the model, route prefix included."""
        return self.settings.model.format(model=model)

    def answering_model(self, model: str) -> str:
        """Return the name of the model that answers: the asked one, or what stands in for it."""
        if "{model}" in self.settings.model:
            return model
        name = self.settings.model
        return name.partition("/")[2] or name if self.settings.kind == "litellm" else name

    def wait_s(self, fault: ProviderFault) -> float | None:
        """Return the Retry-After to be obeyed, in seconds: a cooldown's alone has a limit."""
        if fault.retry_after_s is None or not POLICY[fault.kind].cools_down:
            return fault.retry_after_s
        return min(fault.retry_after_s, self.max_cooldown_s)

    def cooling_until(self, model: str, now: float) -> float | None:
        """Return until when the provider wants no calls for this model, or None."""
        until = self.cooldowns.get(model)
        return until if until is not None and until > now else None

    def serves(self, model: str) -> bool:
        """Return whether one of its patterns matches the model."""
        return any(fnmatchcase(model, pattern) for pattern in self.settings.models)

    def lacks(self, route: Route) -> str:
        """Return what it cannot do that the route needs, in words; empty when it can."""
        if route.stream and not self.settings.supports_streaming:
            return "cannot stream"
        if route.mcp and not self.settings.supports_mcp:
            return "cannot run MCP servers"
        return ""

    def hopeless(self, now: float) -> bool:
        """Return whether its circuit is open for a reason that waiting does not heal."""
        look = self.circuit.look(now)
        return look.state is CircuitState.OPEN and look.opened_by in NOT_WAITED_FOR
