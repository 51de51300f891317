"""What is usual of a model: how long its requests wait and how long their answers take.

Facts of this engine's life only, so that "longer than usual" means something. What follows
from being longer is `attention`'s. Pure: no clock, no I/O; O(1) a request, bounded in memory.
"""

from __future__ import annotations

from collections import deque

SAMPLES = 64
"""How many of a model's newest requests its usual times speak of."""
MODELS = 500
"""Of how many models they are kept; the one that came first goes."""


class _Median:
    """The median of the newest values; worked out when asked, and then kept."""

    __slots__ = ("_cached", "_values")

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=SAMPLES)
        self._cached: float | None = None

    def add(self, value: float) -> None:
        self._values.append(value)
        self._cached = None

    def value(self) -> float | None:
        if self._cached is None and self._values:
            self._cached = sorted(self._values)[(len(self._values) - 1) // 2]
        return self._cached


class UsualTimes:
    """Medians by the model that was asked for, in seconds."""

    def __init__(self) -> None:
        self._waits: dict[str, _Median] = {}
        self._answers: dict[str, _Median] = {}

    def waited(self, model: str, seconds: float) -> None:
        """Note how long a request waited until it was first dispatched."""
        _of(self._waits, model).add(seconds)

    def answered(self, model: str, seconds: float) -> None:
        """Note how long a request took from its first dispatch to its answer."""
        _of(self._answers, model).add(seconds)

    def wait_s(self, model: str) -> float | None:
        """Return the usual wait; None while no request of the model was dispatched."""
        found = self._waits.get(model)
        return None if found is None else found.value()

    def answer_s(self, model: str) -> float | None:
        """Return the usual time of an answer; None while there was none."""
        found = self._answers.get(model)
        return None if found is None else found.value()


def _of(table: dict[str, _Median], model: str) -> _Median:
    found = table.get(model)
    if found is None:
        if len(table) >= MODELS:
            del table[next(iter(table))]
        found = table[model] = _Median()
    return found
