"""How housekeeping stands: what it has done since the engine started, and what is wrong.

State only, for whoever answers questions or draws a screen.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Upkeep:
    """`last_cleanup_at` in epoch seconds; the numbers count since the engine started.

    `filed` counts those completed requests in the store whose result is in its response file.
    `response_fault` says why results cannot be written to files now, None when they can.
    """

    last_cleanup_at: float | None = None
    removed_requests: int = 0
    removed_sessions: int = 0
    filed: int = 0
    filed_seq: int = 0
    response_fault: str | None = None
