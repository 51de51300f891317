"""The last events of an engine, for those who come back and missed some.

Kept from the first stream on: before it nobody can have missed anything, and an engine that
nobody looks at pays nothing. Nothing here is encoded before somebody asks for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from ksi_tui.client import EngineClient, Event, Subscription
from ksi_tui.engine.events import LOST, OF_REQUEST, SNAPSHOT, matches

MOST_EVENTS: Final = 20_000
MOST_BYTES: Final = 64_000_000
"""What the events kept may weigh, estimated; over it the oldest go first."""


class Ring:
    """A bounded memory of events, oldest first. Raises nothing."""

    def __init__(
        self,
        client: EngineClient,
        *,
        most_events: int = MOST_EVENTS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._client = client
        self._most_events, self._most_bytes = most_events, most_bytes
        self._kept: deque[tuple[Event, int]] = deque()
        self._bytes = 0
        self._floor = 0
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Keep events from now on; harmless when it does already."""
        if self._task is None:
            self._subscription = self._client.subscribe("*")
            self._task = asyncio.create_task(self._follow(self._subscription), name="door-ring")

    async def aclose(self) -> None:
        """Keep no more."""
        if self._subscription is not None and self._task is not None:
            self._subscription.end()
            await self._task

    def since(self, after: int, pattern: str) -> tuple[int, list[Event]]:
        """Return how many events after `after` are not known any more, and the others that fit.

        All that has been published until now is in it. What was lost is counted whatever its
        name.
        """
        self._catch_up()
        found = [
            event
            for event, _ in self._kept
            if event.seq > after and (event.name == LOST or _fits(pattern, event))
        ]
        return max(0, self._floor - after), found

    @property
    def floor(self) -> int:
        """The number of the newest event that is not known any more."""
        return self._floor

    async def _follow(self, subscription: Subscription) -> None:
        async for event in subscription:
            self._take(event)
            self._catch_up()

    def _catch_up(self) -> None:
        if self._subscription is not None:
            for event in self._subscription.drain():
                self._take(event)

    def _take(self, event: Event) -> None:
        if event.name == SNAPSHOT:
            self._floor = event.seq
            return
        weight = _weight(event.data)
        self._kept.append((event, weight))
        self._bytes += weight
        while len(self._kept) > self._most_events or (
            self._bytes > self._most_bytes and len(self._kept) > 1
        ):
            oldest, weighed = self._kept.popleft()
            self._bytes -= weighed
            self._floor = oldest.seq


def _fits(pattern: str, event: Event) -> bool:
    if pattern.startswith(OF_REQUEST):
        return bool(event.data.get("request_id") == pattern.removeprefix(OF_REQUEST))
    return matches(pattern, event.name)


def _weight(value: Any) -> int:
    """Estimate the bytes that a value of plain JSON keeps."""
    if isinstance(value, str):
        return 60 + len(value)
    if isinstance(value, Mapping):
        return 200 + sum(_weight(item) for item in value.values())
    if isinstance(value, list | tuple):
        return 60 + sum(_weight(item) for item in value)
    return 30
