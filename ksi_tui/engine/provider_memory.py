"""What of a provider survives a restart: circuit, statistics, cooldowns, as plain JSON.

Reads back with suspicion: a database that another hand has touched must not keep the engine
from starting, so a part that cannot be read is logged and begins anew.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from ksi_tui.engine.circuit_memory import number
from ksi_tui.engine.provider_entry import Entry

log = logging.getLogger(__name__)

_UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def dump(entry: Entry) -> dict[str, Any]:
    """Return what `restore` takes."""
    return {
        "circuit": entry.circuit.dump(),
        "health": entry.health.dump(),
        "cooldowns": dict(entry.cooldowns),
    }


def restore(entry: Entry, state: Mapping[str, Any], now: float) -> None:
    """Bring back what `dump` returned; a part that it did not write begins anew."""
    for part, bring_back in (
        ("circuit", partial(_circuit, entry, now)),
        ("health", partial(_health, entry)),
        ("cooldowns", partial(_cooldowns, entry, now)),
    ):
        try:
            bring_back(state.get(part))
        except _UNREADABLE as error:
            log.warning(
                "the saved %s of provider %s cannot be read and begins anew: %r",
                part,
                entry.name,
                error,
            )


def _circuit(entry: Entry, now: float, state: Any) -> None:
    entry.circuit.restore(state, now)


def _health(entry: Entry, state: Any) -> None:
    try:
        entry.health.restore(state)
    except _UNREADABLE:
        entry.health.reset()
        raise


def _cooldowns(entry: Entry, now: float, state: Any) -> None:
    entry.cooldowns = {str(model): until for model, until in state.items() if number(until) > now}
