"""One configured provider with all that is known of it: slots, cooldowns, circuit, health."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ksi_tui.config import EngineSettings, ProviderSettings
from ksi_tui.engine.circuit import Circuit
from ksi_tui.engine.circuit_memory import CircuitState
from ksi_tui.engine.errors import POLICY, ErrorKind, ProviderFault
from ksi_tui.engine.provider_health import ProviderHealth
from ksi_tui.engine.providers.base import Provider
from ksi_tui.engine.rate_limit import RateLimit
from ksi_tui.engine.ticket import Route

NOT_WAITED_FOR = (ErrorKind.AUTH_ERROR, ErrorKind.QUOTA_EXCEEDED)
"""A circuit that one of these opened does not heal by waiting (contract section 5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """How long a call may be silent, in seconds: its provider's own limits, else the engine's."""

    first_token_timeout_s: float
    idle_timeout_s: float
    reply_timeout_s: float


def clocks_of(engine: EngineSettings, own: ProviderSettings) -> Clocks:
    """Return the clocks of a provider's calls."""
    return Clocks(
        first_token_timeout_s=own.first_token_timeout_s or engine.first_token_timeout_s,
        idle_timeout_s=own.idle_timeout_s or engine.idle_timeout_s,
        reply_timeout_s=own.reply_timeout_s or engine.reply_timeout_s,
    )


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """One configured provider with all that is known of it."""

    settings: ProviderSettings
    provider: Provider
    circuit: Circuit
    max_cooldown_s: float
    clocks: Clocks
    limit: RateLimit | None = None
    health: ProviderHealth = field(default_factory=ProviderHealth)
    in_flight: int = 0
    cooldowns: dict[str, float] = field(default_factory=dict)
    dirty: bool = False
    name: str = field(init=False)

    def __post_init__(self) -> None:
        """Keep the name at hand: it is asked for nine times a completion."""
        self.name = self.settings.name

    @property
    def unused(self) -> bool:
        """Whether it has never been called, nor its circuit touched by anybody."""
        return not self.health.called and self.circuit.untouched

    @property
    def full(self) -> bool:
        """Whether every slot is taken."""
        limit = self.settings.max_concurrency
        return limit is not None and self.in_flight >= limit

    def upstream_model(self, model: str) -> str:
        """Return the provider's own name of the model, route prefix included."""
        named = self.settings.model
        match = self._match(model) if "{match}" in named else ""
        return named.format(model=model, match=match)

    def _match(self, model: str) -> str:
        """Return what the * of the pattern that matches the model stands for."""
        for pattern in self.settings.models:
            before, star, after = pattern.partition("*")
            if star and fnmatchcase(model, pattern):
                return model[len(before) : len(model) - len(after)]
        return model

    def answering_model(self, model: str) -> str:
        """Return the name of the model that answers: the asked one, or what stands in for it."""
        if "{model}" in self.settings.model:
            return model
        # A deployment has a name of its own; what it is a deployment of answers.
        name = str(self.settings.params.get("base_model") or self.upstream_model(model))
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

    def best_match(self, model: str) -> int:
        """Return the length of its longest pattern that matches the model; 0 when none does."""
        fits = (pattern for pattern in self.settings.models if fnmatchcase(model, pattern))
        return max(map(len, fits), default=0)

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
