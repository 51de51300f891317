"""Looking without touching: a client that lets through only events that read.

The second of two fences: the screens don't offer what acts, and what they send all the same
is refused here by name. An event that is not known to read is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ksi_tui.client import EngineClient, Snapshot, SnapshotQuery, Subscription

READING = frozenset(
    {
        "checkpoint:collect",
        "completion:models",
        "completion:names",
        "completion:preview",
        "completion:provider_status",
        "completion:request_status",
        "completion:requests",
        "completion:results",
        "completion:retry_status",
        "completion:series",
        "completion:session_status",
        "completion:status",
        "completion:token_usage",
        "injection:list",
        "injection:status",
        "system:journal",
    }
)
"""Events that change nothing."""
ENDING = "system:shutdown"
WHY = "read-only, by --read-only or [ui] read_only"


class ReadOnlyClient:
    """An engine's client without the events that change something.

    With `may_end` it may still end the engine: whoever quits a dashboard with the engine in
    its own process does that, however little else they may do.
    """

    def __init__(self, client: EngineClient, *, may_end: bool = False) -> None:
        self._client = client
        self._allowed = READING | {ENDING} if may_end else READING

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send an event that reads; the refusal of any other says why."""
        if name not in self._allowed:
            return {"error": f"{name} is refused: {WHY}", "code": "conflict"}
        return await self._client.emit(name, data)

    def subscribe(self, pattern: str = "*") -> Subscription:
        """Return the notifications that fit `pattern`."""
        return self._client.subscribe(pattern)

    def snapshot(self, query: SnapshotQuery | None = None) -> Snapshot:
        """Return the engine as it is now."""
        return self._client.snapshot(query)
