"""The engine's one clock: epoch seconds that a corrected wall clock does not move.

Anchored at the wall clock when the engine starts and driven by one that only advances, so
that a correction neither ends a backoff early nor stretches a lock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache, partial

Clock = Callable[[], float]


def steady_clock() -> Clock:
    """Return a clock of epoch seconds.

    It goes on while the machine sleeps where the system has a clock that does (Linux:
    CLOCK_BOOTTIME), else what follows a sleep would be recorded too early by its length.
    """
    boottime: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    passed = time.monotonic if boottime is None else partial(time.clock_gettime, boottime)
    offset = time.time() - passed()
    return lambda: offset + passed()


def time_of_day(at: float) -> str:
    """Return epoch seconds as the UTC time of day, `03:12:44`."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def iso(at: float | None) -> str | None:
    """Return epoch seconds as ISO 8601 UTC with milliseconds, None as None."""
    if at is None:
        return None
    second = math.floor(at)
    micros = round((at - second) * 1e6)
    if micros == 1_000_000:
        second, micros = second + 1, 0
    return f"{_iso_second(second)}.{micros // 1000:03}Z"


@lru_cache(maxsize=256)
def _iso_second(second: int) -> str:
    """Return a whole second; thousands of times a second the same one is asked for."""
    return datetime.fromtimestamp(second, UTC).isoformat()[:-6]
