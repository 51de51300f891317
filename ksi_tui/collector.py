"""How the garbage collector of the program's own process behaves: seldom, and never for long.

The process belongs to the command line, which sets this; the engine as a library leaves the
collector alone. What counts is how long the loop that screen and engine share stands still.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any, Final

THRESHOLDS: Final = (10_000, 4, 4)
"""New objects before a collection of the young, such collections before one of the middle-aged,
and those before a full one. Measured while 10,000 requests are cancelled and taken back, a run
each: with 5,000 young objects the longest collection of the young took 4 ms of CPU and the longest
of all 14 ms; with 50,000 it was 21 ms, with the default of 700 it was 2 and 19 ms. A completion
pays for all of them together 28 us with 5,000 and 12 us with 10,000, each measured with 512 in
flight on a busy machine; the longest of the young then took 12 to 16 ms and 18 to 22 ms."""
LONG_S: Final = 0.005
"""A full collection that takes longer leaves what it has walked out of the next."""
THAW_S: Final = 3600.0
"""So often, in seconds, a full collection walks everything all the same."""


class Collector:
    """Keeps a full collection from walking what has lived long.

    A hundred thousand requests are walked for 180 ms, with the loop standing still, although
    hardly any of them is garbage. What survives a long collection is therefore frozen: from
    then on it goes when nothing refers to it, and the next collection walks only what has come
    since. Cycles among what is frozen are found when it thaws.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = 0.0
        self._thawed_at = clock()

    def __call__(self, moment: str, about: dict[str, Any]) -> None:
        """Take note of a collection that begins or has ended, as `gc.callbacks` has it."""
        if about["generation"] != 2:
            return
        now = self._clock()
        if moment == "start":
            self._began = now
            if now - self._thawed_at >= THAW_S:
                self._thawed_at = now
                gc.unfreeze()
        elif now - self._began > LONG_S:
            gc.freeze()


def calm() -> None:
    """Let garbage be collected in this process as told above, from now on."""
    gc.set_threshold(*THRESHOLDS)
    if not any(isinstance(each, Collector) for each in gc.callbacks):
        gc.callbacks.append(Collector())
