"""Notifications as records of the log: which, when and about what, never what was said.

Prompts, replies and results stay out; so does `completion:progress`, except where everything
is logged. How a record is written is the log's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from ksi_tui.client import Event, Subscription
from ksi_tui.engine.events import PROGRESS, RESULT, SNAPSHOT

LOGGER: Final = "ksi_tui.events"
GATHER_S: Final = 0.05
"""So long what is notified gathers: to log each one as it comes holds up whom it is about."""

log = logging.getLogger(LOGGER)

_TEXTS: Final = frozenset({"result", "partial_text", "text", "prompt", "content"})
"""Keys of notifications under which somebody's words stand."""
_SMALL: Final = frozenset({PROGRESS, SNAPSHOT})
_OF_RESULT: Final = ("provider", "model", "attempt", "duration_ms", "ttft_ms", "agent_id")


async def recorded(subscription: Subscription) -> None:
    """Log every event, as of when it was told, until the engine ends."""
    async for event in subscription:
        _record(event)
        await asyncio.sleep(GATHER_S)
        for later in subscription.drain():
            _record(later)


def _record(event: Event) -> None:
    level = logging.DEBUG if event.name in _SMALL else logging.INFO
    if log.isEnabledFor(level):
        extra = {"seq": event.seq, "data": _told(event)}
        record = log.makeRecord(log.name, level, "", 0, event.name, (), None, extra=extra)
        record.created = event.at
        log.handle(record)


def _told(event: Event) -> Mapping[str, Any]:
    told = {key: value for key, value in event.data.items() if key not in _TEXTS}
    if event.name == RESULT:
        envelope = event.data.get("result", {}).get("ksi", {})
        told |= {key: envelope[key] for key in _OF_RESULT if envelope.get(key) is not None}
    return told
