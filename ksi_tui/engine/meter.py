"""Amounts per slice of clock time, in a memory that never grows.

Behind the rates and the trends of the screen. Only counting lives here: what is
counted, and what it means, is its user's business. Time is the caller's (epoch
seconds); a clock that jumps forward leaves gaps that read as zero, one that jumps
back makes the slices of its former future invisible until they are overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise


class Ring:
    """The amounts of the last `slots` slices of `slot_s` whole seconds each."""

    __slots__ = ("_amounts", "_keys", "_slot_s", "_slots")

    def __init__(self, slots: int, slot_s: int = 1) -> None:
        self._slots = slots
        self._slot_s = slot_s
        self._keys = [-1] * slots
        self._amounts: list[float] = [0] * slots

    def add(self, amount: float, now: float) -> None:
        """Add to the slice that holds `now`."""
        self._add_at(int(now) // self._slot_s, amount)

    def _add_at(self, key: int, amount: float) -> None:
        index = key % self._slots
        if self._keys[index] == key:
            self._amounts[index] += amount
        else:
            self._keys[index] = key
            self._amounts[index] = amount

    def recent(self, now: float, slots: int) -> list[float]:
        """Return the amounts of the newest `slots` slices, oldest first, with the present one."""
        last = int(now) // self._slot_s
        keys, amounts, size = self._keys, self._amounts, self._slots
        return [
            amounts[key % size] if keys[key % size] == key else 0
            for key in range(last - slots + 1, last + 1)
        ]

    def dump(self) -> list[list[float]]:
        """Return the slices that hold something, as [slice number, amount]."""
        return [
            [key, amount] for key, amount in zip(self._keys, self._amounts, strict=True) if amount
        ]

    def restore(self, pairs: Iterable[Iterable[float]]) -> None:
        """Take what `dump` returned."""
        for key, amount in pairs:
            self._add_at(int(key), amount)


class Meter(Ring):
    """Tokens second by second."""

    __slots__ = ()

    def __init__(self, span_s: int) -> None:
        super().__init__(span_s, 1)

    def correct(self, tokens: int, *, start: float, end: float) -> None:
        """Book what a call turned out to hold beyond what was counted live.

        More is spread evenly over the call's own seconds, so that an answer that came in
        one piece makes no spike; less is taken back from its newest seconds, never below 0.
        """
        last = int(end)
        first = min(last, max(int(start), last - self._slots + 1))
        if tokens > 0:
            each, rest = divmod(tokens, last - first + 1)
            for second in range(first, last + 1):
                extra = 1 if second > last - rest else 0
                if each or extra:
                    self._add_at(second, each + extra)
            return
        owed: float = -tokens
        for second in range(last, first - 1, -1):
            if not owed:
                return
            index = second % self._slots
            if self._keys[index] == second:
                taken = min(owed, self._amounts[index])
                self._amounts[index] -= taken
                owed -= taken

    def rate(self, now: float, over_s: int = 5) -> float:
        """Return tokens per second over the last `over_s` whole seconds and the running one."""
        return sum(self.recent(now, over_s + 1)) / (over_s + now - int(now))

    def trend(self, now: float, *, points: int, span_s: int) -> tuple[float, ...]:
        """Return `points` rates in tokens per second over the last `span_s`, oldest first.

        Points are aligned to the clock, not to `now`: a picture of them scrolls and does
        not shimmer. The newest covers only what has passed of it. At most one point a second.
        """
        last = int(now)
        sums: list[float] = [0] * points
        oldest = last * points // span_s - points + 1
        start = -(-oldest * span_s // points)
        for second, tokens in enumerate(self.recent(now, last - start + 1), start):
            if tokens:
                sums[second * points // span_s - oldest] += tokens
        edges = [-(-(oldest + i) * span_s // points) for i in range(points)]
        widths = [after - edge for edge, after in pairwise(edges)]
        return tuple(
            total / width
            for total, width in zip(sums, [*widths, max(1.0, now - edges[-1])], strict=True)
        )
