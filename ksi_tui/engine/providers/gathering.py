"""Gathers a stream's pieces, so that none wakes its reader more often than is of use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

INTERVAL_S = 0.05
"""Least time between two deliveries: 20 a second, which is what a screen shows."""
FOLLOWED_S = 0.02
"""The same where somebody follows the answer: 50 a second, which is as fast as models write."""


class Gatherer:
    """Delivers the first piece at once and the later ones together, `interval_s` apart."""

    def __init__(self, deliver: Callable[[str, int], None], interval_s: float = INTERVAL_S) -> None:
        self._deliver = deliver
        self._interval_s = interval_s
        self._loop = asyncio.get_running_loop()
        self._texts: list[str] = []
        self._tokens = 0
        self._next_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, text: str, tokens: int) -> None:
        """Take a piece; `tokens` is how many it is believed to hold."""
        self._texts.append(text)
        self._tokens += tokens
        if self._timer is not None:
            return
        if self._loop.time() >= self._next_at:
            self.flush()
        else:
            self._timer = self._loop.call_at(self._next_at, self.flush)

    def flush(self) -> None:
        """Deliver what has gathered, now. To be called at the stream's end, whatever that was."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._tokens:
            text, tokens = "".join(self._texts), self._tokens
            self._texts, self._tokens = [], 0
            self._next_at = self._loop.time() + self._interval_s
            self._deliver(text, tokens)
