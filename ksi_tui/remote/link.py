"""Whether the line to the engine stands, since when it does not, and when it is tried again.

Policy and words only: nothing in here connects.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final

FIRST_TRY_S: Final = 0.1
LAST_TRY_S: Final = 2.0
_SPOKEN_FROM_S: Final = 60


class Link:
    """The state of one line. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._up, self._down = asyncio.Event(), asyncio.Event()
        self._lost_at: float | None = None
        self._next_try_at: float | None = None
        self._pause_s = FIRST_TRY_S
        self.why = ""
        self.losses = 0
        """How often it was lost."""

    @property
    def up(self) -> bool:
        """Whether the line stands."""
        return self._up.is_set()

    def stands(self) -> None:
        """Note that the engine answers."""
        self._lost_at = self._next_try_at = None
        self._pause_s = FIRST_TRY_S
        self.why = ""
        self._down.clear()
        self._up.set()

    def broke(self, why: str) -> None:
        """Note that it does not, and why; the first moment of a loss is kept."""
        if self._lost_at is None:
            self._lost_at = self._clock()
            self.losses += 1
        self.why = why
        self._up.clear()
        self._down.set()

    async def pause(self) -> None:
        """Wait before the next try: 0.1 s, then twice as long each time, 2 s at most."""
        pause_s, self._pause_s = self._pause_s, min(LAST_TRY_S, 2 * self._pause_s)
        self._next_try_at = self._clock() + pause_s
        await asyncio.sleep(pause_s)
        self._next_try_at = None

    async def back(self, within_s: float | None = None) -> bool:
        """Wait until the line stands; returns whether it does within that many seconds."""
        try:
            async with asyncio.timeout(within_s):
                await self._up.wait()
        except TimeoutError:
            return False
        return True

    async def gone(self) -> None:
        """Wait until the line is known not to stand."""
        await self._down.wait()

    @property
    def lost(self) -> str | None:
        """Since when there is no connection, and when it is tried next, in words; None with one."""
        if self._lost_at is None:
            return None
        told = f"no connection for {spoken(self._clock() - self._lost_at)}"
        if self._next_try_at is None:
            return f"{told}, trying now"
        left_s = max(0.0, self._next_try_at - self._clock())
        return f"{told}, next try in {math.ceil(left_s)} s"


def spoken(seconds: float) -> str:
    """Return a duration as a sentence has it: `4 s`, `3 min 7 s`."""
    whole = int(max(0.0, seconds))
    if whole < _SPOKEN_FROM_S:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s"
