"""The clocks that end calls: one heap and one timer of the loop for all of them.

A stream sets its clock anew with every piece of text, and a call seldom lives to hear it.
So a time that moves later is only noted, and looked at when the earlier one has come: an
`asyncio.timeout` a call costs five times as much, and again for every piece. Which clock runs,
and what its end means, is not known here.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from itertools import count
from typing import Final

_TIDY_FROM: Final = 256
"""A shorter heap is left alone, whatever of it is over."""


class CallTimer:
    """The clock of one call, which cancels its task when its time has come."""

    __slots__ = ("_cancelling", "_expired", "_looked_at", "_task", "_timers", "when")

    def __init__(self, timers: CallTimers, task: asyncio.Task[object]) -> None:
        self.when: float | None = None
        self._timers = timers
        self._task: asyncio.Task[object] | None = task
        self._cancelling = task.cancelling()
        self._looked_at = math.inf
        self._expired = False

    def expired(self) -> bool:
        """Whether its time has come."""
        return self._expired

    def reschedule(self, when: float) -> None:
        """Let it end the call at a time of the loop's clock."""
        self.when = when
        if when < self._looked_at:
            self._looked_at = when
            self._timers.look_at(when, self)

    def stop(self) -> bool:
        """End the clock with its call; whether the call is cancelled by it alone."""
        task, self._task = self._task, None
        self._timers.stopped()
        return self._expired and task is not None and task.uncancel() <= self._cancelling

    @property
    def over(self) -> bool:
        """Whether its call has ended."""
        return self._task is None

    def look(self, now: float) -> None:
        """End the call if its time has come, else look again when it will."""
        self._looked_at = math.inf
        if self._task is None or self._expired or self.when is None:
            return
        if self.when <= now:
            self._expired = True
            self._task.cancel()
        else:
            self.reschedule(self.when)


class CallTimers:
    """All clocks of running calls. Make it anywhere; what starts one runs in a task."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, CallTimer]] = []
        self._numbers = count()
        self._running = 0
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> CallTimer:
        """Return a clock for the call that the running task makes; it stands until it is set."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call is made by a task")
        self._running += 1
        return CallTimer(self, task)

    def look_at(self, when: float, timer: CallTimer) -> None:
        """Have a clock looked at when its time comes."""
        heapq.heappush(self._heap, (when, next(self._numbers), timer))
        if self._handle is None or when < self._handle.when():
            self._arm(when)

    def stopped(self) -> None:
        """Note that a clock is over; its place in the heap is of no more use."""
        self._running -= 1
        if len(self._heap) > _TIDY_FROM and len(self._heap) > 2 * self._running:
            self._heap = [each for each in self._heap if not each[2].over]
            heapq.heapify(self._heap)

    def _arm(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = asyncio.get_running_loop().call_at(when, self._look)

    def _look(self) -> None:
        self._handle = None
        now = asyncio.get_running_loop().time()
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2].look(now)
        if self._heap:
            self._arm(self._heap[0][0])
