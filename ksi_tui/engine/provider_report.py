"""Everything about one provider in one reply: settings, circuit, cooldowns, limits, statistics.

Reads only; nothing here ever contains a key.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ksi_tui.engine.clock import iso
from ksi_tui.engine.control_replies import circuit_reply, pause_reply
from ksi_tui.engine.pauses import PauseTable
from ksi_tui.engine.provider_entry import Entry


def provider_report(entry: Entry, pauses: PauseTable, now: float) -> dict[str, Any]:
    """Return what is known of one provider."""
    look, stats, settings = entry.circuit.look(now), entry.health.stats(now), entry.settings
    cooling = {model: until for model, until in entry.cooldowns.items() if until > now}
    pause = pauses.provider(entry.name)
    return {
        "provider": entry.name,
        "config": settings.model_dump(
            mode="json", exclude={"params", "circuit", "name"}, exclude_none=True
        ),
        "circuit_breaker": circuit_reply(look),
        "paused": None if pause is None else pause_reply(pause),
        "cooldown_until": iso(max(cooling.values())) if cooling else None,
        "cooldowns": {model: iso(until) for model, until in cooling.items()},
        "limits": _limits(entry, now),
        "stats": {
            **asdict(stats),
            "failures_by_kind": {str(k): n for k, n in stats.failures_by_kind.items()},
            "in_flight": entry.in_flight,
            "last_call": iso(stats.last_call),
            "last_error": {
                "at": iso(stats.last_error.at),
                "kind": str(stats.last_error.kind),
                "message": stats.last_error.message,
            }
            if stats.last_error
            else None,
        },
    }


def _limits(entry: Entry, now: float) -> dict[str, Any] | None:
    """Return a provider's limits of requests and tokens a minute, and what is used of them."""
    if entry.limit is None:
        return None
    calls, tokens = entry.limit.used(now)
    limit = entry.limit
    return {"rpm": limit.rpm, "rpm_used": calls, "tpm": limit.tpm, "tpm_used": tokens}
