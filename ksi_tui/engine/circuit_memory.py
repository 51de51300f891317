"""What a circuit remembers over a restart, and how that is read back with suspicion.

Values and their plain JSON only; the rules are `circuit`'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ksi_tui.engine.errors import ErrorKind


class CircuitState(StrEnum):
    """OPEN whose time is over stays OPEN until a call is admitted as its probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(slots=True, kw_only=True)
class Memory:
    """What of a circuit survives a restart, beside pybreaker's count of failures.

    Times are epoch seconds; `circuit.CircuitStatus` says what each field means.
    """

    state: CircuitState = CircuitState.CLOSED
    since: float = 0.0
    outage_since: float | None = None
    open_until: float | None = None
    open_for_s: float = 0.0
    forced: CircuitState | None = None
    forced_by: str | None = None
    forced_until: float | None = None
    last_success: float | None = None
    reason: str = ""
    opened_by: ErrorKind | None = None


def number(value: Any) -> float:
    """Return a finite number as it was kept; raises ValueError on anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return value


def kept(memory: Memory) -> dict[str, Any]:
    """Return a memory as plain JSON, for `remembered`."""
    return {
        name: value.value if isinstance(value, StrEnum) else value
        for name, value in asdict(memory).items()
    }


def remembered(state: Mapping[str, Any]) -> Memory:
    """Return what `kept` wrote; raises KeyError, TypeError or ValueError on anything else.

    A database may have been written by another hand, and a wrong type that slipped in here
    would only be found by a call.
    """

    def moment(name: str) -> float | None:
        return None if state[name] is None else number(state[name])

    if not isinstance(state["reason"], str) or not isinstance(state["forced_by"], str | None):
        raise TypeError("reason and forced_by are texts")
    forced, opened_by = state["forced"], state["opened_by"]
    memory = Memory(
        state=CircuitState(state["state"]),
        since=number(state["since"]),
        outage_since=moment("outage_since"),
        open_until=moment("open_until"),
        open_for_s=number(state["open_for_s"]),
        forced=None if forced is None else CircuitState(forced),
        forced_by=state["forced_by"],
        forced_until=moment("forced_until"),
        last_success=moment("last_success"),
        reason=state["reason"],
        opened_by=None if opened_by is None else ErrorKind(opened_by),
    )
    if memory.forced is CircuitState.HALF_OPEN:
        raise ValueError("half_open cannot be forced")
    if memory.state is CircuitState.OPEN and memory.open_until is None and memory.forced is None:
        raise ValueError("open without an end")
    return memory
