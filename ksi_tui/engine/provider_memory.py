"""What of a provider survives a restart: circuit, statistics, cooldowns, as plain JSON.

Reads back with suspicion: a database that another hand has touched must not keep the engine
from starting, so a part that cannot be read is logged and begins anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
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
    for part, error in _bring_back(entry, state, now):
        log.warning(
            "the saved %s of provider %s cannot be read and begins anew: %r",
            part,
            entry.name,
            error,
        )


def unreadable(entry: Entry, state: Mapping[str, Any], now: float) -> list[str]:
    """Return the parts of a state that `restore` could not bring back; changes nothing."""
    blank = Entry(
        settings=entry.settings,
        provider=entry.provider,
        circuit=entry.circuit.blank(),
        max_cooldown_s=entry.max_cooldown_s,
        clocks=entry.clocks,
    )
    return [part for part, _ in _bring_back(blank, state, now)]


def _bring_back(
    entry: Entry, state: Mapping[str, Any], now: float
) -> Iterator[tuple[str, Exception]]:
    """Bring back part by part; yields those that cannot be read."""
    for part, bring_back in (
        ("circuit", partial(_circuit, entry, now)),
        ("health", partial(_health, entry)),
        ("cooldowns", partial(_cooldowns, entry, now)),
    ):
        try:
            bring_back(state.get(part))
        except _UNREADABLE as error:
            yield part, error


def _circuit(entry: Entry, now: float, state: Any) -> None:
    entry.circuit.restore(state, now)


def _health(entry: Entry, state: Any) -> None:
    try:
        entry.health.restore(state)
    except _UNREADABLE:
        entry.health.reset()
        raise


def _cooldowns(entry: Entry, now: float, state: Any) -> None:
    latest = now + entry.max_cooldown_s  # the clock may have been set back while nobody ran
    entry.cooldowns = {
        str(model): min(until, latest) for model, until in state.items() if number(until) > now
    }
