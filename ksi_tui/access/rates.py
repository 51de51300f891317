"""How often something may happen for each of many: a token bucket each, and a bound on how many.

Pure: the clock is given. What is counted, and by what key, is decided by who asks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MOST_KEYS: Final = 10_000
"""So many keys are remembered; then the one longest unseen is forgotten."""


class Rates:
    """Token buckets by key: `per_s` a second on and on, `burst` at once."""

    def __init__(self, per_s: float, burst: float, clock: Callable[[], float]) -> None:
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """Take one of a key and return 0; or take none and return in how many seconds one is there.

        Source: the token bucket of RFC 2697, one colour.
        """
        now = self._clock()
        left = self._now(key, now)
        if left < 1:
            return (1 - left) / self._per_s
        self._left[key] = (left - 1, now)
        self._left.move_to_end(key)
        if len(self._left) > MOST_KEYS:
            self._left.popitem(last=False)
        return 0.0

    def wait_s(self, key: str) -> float:
        """Return in how many seconds one of a key is there, 0 for at once, and take none."""
        left = self._now(key, self._clock())
        return 0.0 if left >= 1 else (1 - left) / self._per_s

    def _now(self, key: str, now: float) -> float:
        left, at = self._left.get(key, (self._burst, now))
        return min(self._burst, left + max(0.0, now - at) * self._per_s)
