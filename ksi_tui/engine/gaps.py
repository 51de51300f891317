"""Says in words what is missing from a stream of events: the data of `engine:lost`.

One wording for the event log and the command line. What comes from a remote is not clean here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def gap(data: Mapping[str, Any]) -> str:
    """Return how many events are missing and why, as far as that is known."""
    if data.get("why") == "restarted":
        return "the engine was started again: what it told before that is not here"
    lost = data.get("lost")
    if not isinstance(lost, int):
        missing = "events are missing"
    else:
        missing = "1 event is missing" if lost == 1 else f"{lost:,} events are missing"
    away = data.get("why") == "too_old"
    return f"{missing}: {'away for too long' if away else 'they came faster than they were read'}"
