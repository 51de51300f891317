"""Things in order of a key that may change: the first at once, a change in O(log n).

A heap whose outdated entries stay where they are until they come up, or are more than the
things themselves.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

Rank = tuple[float, int]
"""What comes first has the least: a time, then a number that no two have."""

_SPARE = 16
"""Outdated entries that are not worth a clearance."""


class Ranked(Generic[T]):
    """Things, each with its rank."""

    __slots__ = ("_heap", "_ranks")

    def __init__(self) -> None:
        self._heap: list[tuple[Rank, T]] = []
        self._ranks: dict[T, Rank] = {}

    def __len__(self) -> int:
        return len(self._ranks)

    def put(self, thing: T, rank: Rank) -> None:
        """Give a thing its rank, in place of the one that it may have had."""
        if self._ranks.get(thing) == rank:
            return
        self._ranks[thing] = rank
        heapq.heappush(self._heap, (rank, thing))
        if len(self._heap) > 2 * len(self._ranks) + _SPARE:
            self._clear()

    def drop(self, thing: T) -> None:
        """Take a thing out, if it is there."""
        self._ranks.pop(thing, None)
        if len(self._heap) > 2 * len(self._ranks) + _SPARE:
            self._clear()

    def first(self) -> tuple[Rank, T]:
        """Return the first and its rank. Raises IndexError where there is none."""
        heap, ranks = self._heap, self._ranks
        while ranks.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0]

    def _clear(self) -> None:
        self._heap = [(rank, thing) for thing, rank in self._ranks.items()]
        heapq.heapify(self._heap)
