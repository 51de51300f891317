"""Unwinds cancelled calls once the connections of all that come in the same moment are cut.

To unwind a call through litellm, its client and its transport takes 1 ms, to cut its connection
10 µs: of a thousand that are cancelled at once, whose messages come in pieces, the last would
wait for the others. Only when, and how many at a time; knows tasks, not calls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

QUIET_S: Final = 0.02
"""Unwinding begins when so long nobody was cancelled,"""
LATEST_S: Final = 0.1
"""or so long after the first."""
_AT_ONCE: Final = 8
"""How many begin to be unwound before the loop turns, and cuts what was cancelled meanwhile."""


class Unwinding:
    """Cancels tasks a moment later. Make it inside a running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: deque[asyncio.Task[Any]] = deque()
        self._latest = 0.0
        self._last = 0.0
        self._handle: asyncio.Handle | None = None

    def add(self, task: asyncio.Task[Any]) -> None:
        """Take a task whose connection is cut."""
        self._last = self._loop.time()
        if not self._tasks:
            self._latest = self._last + LATEST_S
        self._tasks.append(task)
        if self._handle is None:
            self._handle = self._loop.call_at(self._last + QUIET_S, self._look)

    def _look(self) -> None:
        at = min(self._last + QUIET_S, self._latest)
        if at > self._loop.time():
            self._handle = self._loop.call_at(at, self._look)
            return
        for _ in range(min(_AT_ONCE, len(self._tasks))):
            task = self._tasks.popleft()
            if not task.cancelling():
                task.cancel()
        self._handle = self._loop.call_soon(self._look) if self._tasks else None
