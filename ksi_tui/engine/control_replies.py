"""How pauses and circuits leave the engine: plain JSON, times as ISO 8601 UTC.

Shapes only, for the status events and for the controls that change what they show.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ksi_tui.engine.circuit import CircuitStatus
from ksi_tui.engine.circuit_memory import CircuitState
from ksi_tui.engine.clock import iso
from ksi_tui.engine.models import Pause


def circuit_reply(look: CircuitStatus) -> dict[str, Any]:
    """Return a circuit as `completion:provider_status` gives it."""
    return {
        "state": str(look.state),
        "is_open": look.state is CircuitState.OPEN,
        "recent_failures": look.failures,
        "open_until": iso(look.open_until),
        "forced": str(look.forced) if look.forced else None,
        "forced_by": look.forced_by,
        "forced_until": iso(look.forced_until),
        "last_success": iso(look.last_success),
        "reason": look.reason or None,
    }


def circuit_told(provider: str, before: str, after: str, look: CircuitStatus) -> dict[str, Any]:
    """Return the data of `provider:circuit`; of a forced one with who holds it, and until when."""
    told = {"provider": provider, "from": before, "to": after, "reason": look.reason}
    if look.forced is None:
        return told
    return {
        **told,
        "forced": str(look.forced),
        "by": look.forced_by,
        "until": iso(look.forced_until),
    }


def pause_reply(pause: Pause) -> dict[str, Any]:
    """Return one pause as `queue:pause` gives it."""
    return {
        "scope": str(pause.scope),
        "id": pause.id,
        "by": pause.by,
        "reason": pause.reason,
        "since": iso(pause.since),
    }


def paused_reply(pauses: Iterable[Pause]) -> list[dict[str, Any]]:
    """Return what is paused, the longest first."""
    return [pause_reply(pause) for pause in pauses]
