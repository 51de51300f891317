"""Which models may answer a request for a model: itself, and what the settings put in its place.

Pure: names only. Who serves a model is the provider manager's to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ksi_tui.config import RoutingSettings
from ksi_tui.engine.errors import ErrorKind

ANY_MODEL = "*"
"""The entry of `routing.fallbacks` for every model that has none of its own."""


class Substitutes:
    """The `[routing]` settings as questions."""

    def __init__(self, settings: RoutingSettings) -> None:
        self._settings = settings
        self._for_fault: Mapping[ErrorKind, Mapping[str, Sequence[str]]] = {
            ErrorKind.CONTEXT_WINDOW: settings.context_window_fallbacks,
            ErrorKind.CONTENT_POLICY: settings.content_policy_fallbacks,
        }

    @property
    def aliases(self) -> list[str]:
        """The other names that models have."""
        return list(self._settings.aliases)

    def resolve(self, model: str) -> str:
        """Return the model that a name stands for: itself, or what it is an alias of."""
        return self._settings.aliases.get(model, model)

    def named(self, model: str) -> list[str]:
        """Return the model itself, then those that the settings name for it, then for those."""
        return list(dict.fromkeys(self._walk(self.resolve(model), set())))

    def _walk(self, model: str, seen: set[str]) -> Iterator[str]:
        if model in seen:
            return
        seen.add(model)
        yield model
        for other in self._settings.fallbacks.get(model, ()):
            yield from self._walk(self.resolve(other), seen)

    def all_of(self, model: str) -> list[str]:
        """As `named`, and for a model that has no fallbacks of its own, those of any model."""
        first, *rest = self.named(model)
        if not rest:
            for other in self._settings.fallbacks.get(ANY_MODEL, ()):
                rest += self.named(other)
        return list(dict.fromkeys([first, *rest]))

    def after(self, model: str, kind: ErrorKind) -> list[str]:
        """Return the models that may take what a model refused as too long or as not allowed."""
        table = self._for_fault.get(kind, {})
        others = table.get(model) or table.get(ANY_MODEL, ())
        return [self.resolve(other) for other in others]
