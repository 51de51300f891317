"""What the engine has told since the dashboard began: one bounded log for all screens.

The app owns it, over the only subscription there is, and drains it in each tick. How an
event is kept and worded is `event_rows`'.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ksi_tui.client import EngineClient, Event, Subscription
    from ksi_tui.widgets.event_rows import Entry

MOST: Final = 10_000
"""Entries that are kept; over it the oldest go."""
A_TICK: Final = 1_000
"""Events that one tick takes in: about 10 ms of them."""
_SNAPSHOT: Final = "engine:snapshot"


class EventLog:
    """The newest `MOST` entries."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=MOST)
        self._taken = 0
        self._client: EngineClient | None = None
        self._subscription: Subscription | None = None

    def drain(self, client: EngineClient | None) -> None:
        """Take in what the engine has told since the last time; never waits."""
        if client is not self._client:
            if self._subscription is not None:
                self._subscription.end()
            self._client = client
            self._subscription = client.subscribe("*") if client is not None else None
        if self._subscription is not None:
            for event in self._subscription.drain(A_TICK):
                self.add(event)

    def add(self, event: Event) -> None:
        """Take in one event; the state that a subscription begins with is none."""
        from ksi_tui.widgets.event_rows import entry_of  # noqa: PLC0415 - after the first frame

        if event.name != _SNAPSHOT:
            self._taken += 1
            self._entries.append(entry_of(f"e{self._taken}", event.at, event.name, event.data))

    @property
    def taken(self) -> int:
        """How many entries there have been; the newest has this number."""
        return self._taken

    @property
    def oldest_at(self) -> float | None:
        """When the oldest entry that is kept happened, epoch seconds; None without any."""
        return self._entries[0].at if self._entries else None

    def since(self, taken: int) -> list[Entry]:
        """Return the entries after the first `taken`, as far as they are kept, oldest first."""
        new = min(self._taken - taken, len(self._entries))
        return list(islice(reversed(self._entries), new))[::-1]

    def events(self) -> list[Event]:
        """Return what is kept as events, oldest first, with their short values only."""
        return list(self._as_events())

    def _as_events(self) -> Iterator[Event]:
        from ksi_tui.client import Event  # noqa: PLC0415 - the first frame does without

        first = self._taken - len(self._entries) + 1
        for seq, entry in enumerate(self._entries, first):
            yield Event(seq, entry.name, entry.data, entry.at)
