"""Pending moments: backoffs, deadlines, lock expiries, probes, in one heap.

Pure: it knows neither the clock nor the loop; the service asks what is due.
"""

from __future__ import annotations

import heapq

Key = tuple[str, str]
"""What an alarm is about: its kind and the id it concerns."""


class Alarms:
    """One alarm per key; setting it again moves it. O(log n), with lazy deletion."""

    def __init__(self) -> None:
        self._at: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []

    def set(self, key: Key, at: float) -> None:
        """Let `key` be due at `at` (epoch seconds)."""
        if self._at.get(key) != at:
            self._at[key] = at
            heapq.heappush(self._heap, (at, key))
            self._tidy()

    def clear(self, key: Key) -> None:
        """Forget `key`; one that is not set is no error."""
        if self._at.pop(key, None) is not None:
            self._tidy()

    def _tidy(self) -> None:
        """Drop what was cleared or moved once it is most of the heap."""
        if len(self._heap) > 64 and len(self._heap) > 2 * len(self._at):
            self._heap = [(at, key) for key, at in self._at.items()]
            heapq.heapify(self._heap)

    def due(self, now: float) -> list[Key]:
        """Remove and return what is due, earliest first."""
        keys: list[Key] = []
        while (at := self.next_at()) is not None and at <= now:
            _, key = heapq.heappop(self._heap)
            del self._at[key]
            keys.append(key)
        return keys

    def next_at(self) -> float | None:
        """Return when the next alarm is due, or None."""
        while self._heap:
            at, key = self._heap[0]
            if self._at.get(key) == at:
                return at
            heapq.heappop(self._heap)
        return None

    def count(self, kind: str) -> int:
        """Return how many alarms of a kind are set."""
        return sum(1 for key in self._at if key[0] == kind)
