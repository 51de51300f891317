"""Names the providers that are no candidates for a model, since they serve others.

Routing does not look at them, so no attempt records them; whoever reads a request's report
asks about them all the same. They are told from how providers are configured now.
"""

from __future__ import annotations

from typing import Any, Final

from ksi_tui.engine.provider_manager import ProviderManager
from ksi_tui.engine.ticket import Route

MOST_NAMED: Final = 8
"""A configuration may have hundreds of providers."""


def not_serving(model: str, providers: ProviderManager) -> dict[str, Any]:
    """Return `{model, providers}`: at most `MOST_NAMED` of those that don't serve it."""
    candidates = providers.candidates(Route(model, False, False, frozenset()))
    known = {each.entry.name for each in candidates.usable}
    others = [e.name for e in providers.entries() if e.name not in known and not e.serves(model)]
    return {"model": model, "providers": others[:MOST_NAMED]}
