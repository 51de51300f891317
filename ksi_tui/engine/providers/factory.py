"""Makes providers from their settings. Importing it imports no provider SDK."""

from __future__ import annotations

from ksi_tui.config import ProviderSettings
from ksi_tui.engine.errors import ConfigError
from ksi_tui.engine.providers.base import Provider
from ksi_tui.engine.providers.litellm import LitellmProvider
from ksi_tui.engine.providers.pool import WorkerPool
from ksi_tui.engine.providers.simulated import SimulatedProvider


def build_provider(settings: ProviderSettings, pool: WorkerPool | None) -> Provider:
    """Return the provider that the settings describe.

    `pool` may be None where no provider of kind litellm is configured; ConfigError else.
    """
    if settings.kind == "simulated":
        return SimulatedProvider(settings)
    if pool is None:
        raise ConfigError(f"provider {settings.name}: kind litellm needs provider workers")
    return LitellmProvider(settings, pool)


def needs_pool(providers: tuple[ProviderSettings, ...]) -> bool:
    """Whether any of these providers runs in workers."""
    return any(settings.kind == "litellm" for settings in providers)
