"""Times of replies (ISO 8601 UTC) as dialogs write them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ksi_tui.widgets import formats


def epoch_of(text: Any) -> float | None:
    """Return a reply's time as epoch seconds, None for none or a wrong one."""
    try:
        return datetime.fromisoformat(str(text)).timestamp() if text else None
    except ValueError:
        return None


def clock_of(text: Any) -> str:
    """Return a reply's time as a time of day."""
    at = epoch_of(text)
    return formats.NOTHING if at is None else f"{formats.clock(at)} UTC"


def left_s(text: Any, now: float | None) -> float | None:
    """Return how long it is until a reply's time, in seconds; None where either is unknown."""
    at = epoch_of(text)
    return None if at is None or now is None else at - now
