"""The work that sides are measured by, side by side, and the turns that they take."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tests.servers import modes

WORDS: Final = 100
"""Words of a streamed answer; each comes as a chunk of its own."""
Taken = list[dict[str, float]]
"""What each block of one side took: `wall_s` and `cpu_s`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """`calls` of one kind, `at_once` at a time; `mocked`: litellm answers them itself."""

    name: str
    calls: int
    at_once: int
    stream: bool = False
    mocked: bool = False

    @property
    def words(self) -> int:
        """How many words each answer has."""
        return WORDS if self.stream else 14

    @property
    def units(self) -> int:
        """How many calls, or words of streams, a block has."""
        return self.calls * (self.words if self.stream else 1)


class Side(Protocol):
    """Somebody who does the work."""

    async def block(self, work: Work) -> dict[str, float]:
        """Do some work; returns its wall and CPU seconds, the client's own apart."""
        ...


def expected(count: int) -> list[str]:
    """Return the words that every call is answered with."""
    return list(modes._text(count))


async def in_flight(limit: int, count: int, one: Callable[[int], Awaitable[None]]) -> None:
    """Do `one(index)` for every index below `count`, `limit` of them at a time."""
    indexes = iter(range(count))

    async def next_ones() -> None:
        for index in indexes:
            await one(index)

    await asyncio.gather(*(next_ones() for _ in range(limit)))


async def in_turn(
    sides: Mapping[str, Side], works: Sequence[Work], blocks: int
) -> dict[str, dict[str, Taken]]:
    """Have all sides do all works, a block each in turn, so that a neighbour hits every side."""
    taken: dict[str, dict[str, Taken]] = {w.name: {side: [] for side in sides} for w in works}
    for number in range(blocks):
        order = list(sides) if number % 2 else list(sides)[::-1]
        for work in works:
            for side in order:
                taken[work.name][side].append(await sides[side].block(work))
    return taken


def wall_ratio(some: Taken, others: Taken) -> float:
    """Return the median of what a block took of one side ÷ of another."""
    pairs = zip(some, others, strict=True)
    return statistics.median(one["wall_s"] / other["wall_s"] for one, other in pairs)


def cpu_ratio(some: Taken, others: Taken) -> float:
    """Return the CPU of one side ÷ of another: their sums, since the kernel counts coarsely."""
    return total(some, "cpu_s") / total(others, "cpu_s")


def total(blocks: Taken, name: str) -> float:
    """Return a sum over blocks."""
    return sum(each[name] for each in blocks)


def median_ms(work: Work, taken: Mapping[str, Taken]) -> dict[str, Any]:
    """Return what a call, or a word of a stream, takes each side in ms of the wall."""
    return {
        side: 1000 * statistics.median(each["wall_s"] for each in blocks) / work.units
        for side, blocks in taken.items()
    }
