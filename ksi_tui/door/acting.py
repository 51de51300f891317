"""Events that come through the door: signed with who sent them, done to the end, recorded.

A client that goes away stops nothing that it has begun. What an event does is the engine's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from ksi_tui.client import EngineClient
from ksi_tui.door.attached import Caller
from ksi_tui.engine.event_payloads import PAYLOADS
from ksi_tui.read_only import READING

log = logging.getLogger(__name__)

SIGNED: Final = frozenset(
    name
    for name, model in PAYLOADS.items()
    if name not in READING and model is not None and "by" in model.model_fields
)
"""The events that act and say by whom."""
_SUBMITTING: Final = frozenset({"completion:async", "completion:inject", "completion:batch"})


class Acting:
    """Sends events to an engine for callers who may go away meanwhile."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._under_way: set[asyncio.Task[dict[str, Any]]] = set()

    async def emit(self, name: str, data: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """Send an event and return its reply; cancelled, the event goes on."""
        if caller.operator and name in SIGNED and data.get("by") is None:
            data["by"] = caller.operator
        task = asyncio.create_task(self._client.emit(name, data), name=f"door {name[:60]}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        reply = await asyncio.shield(task)
        self._record(name, reply, caller)
        return reply

    def _record(self, name: str, reply: Mapping[str, Any], caller: Caller) -> None:
        """Write down who did what; each single submission only where everything is."""
        if name in READING or name not in PAYLOADS:
            return
        level = logging.DEBUG if name in _SUBMITTING else logging.INFO
        if log.isEnabledFor(level):
            told = {"event_name": name, "operator": caller.operator, "kind": caller.kind}
            log.log(level, "acted", extra={**told, "code": reply.get("code")})

    async def aclose(self) -> None:
        """Wait for what is still under way."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))
