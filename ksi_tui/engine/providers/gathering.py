"""Gathers a stream's pieces, so that none wakes its reader more than 20 times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

INTERVAL_S = 0.05
"""Least time between two deliveries: 20 a second."""


class Gatherer:
    """Delivers the first piece at once and the later ones together, `INTERVAL_S` apart."""

    def __init__(self, deliver: Callable[[str, int], None]) -> None:
        self._deliver = deliver
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
            self._next_at = self._loop.time() + INTERVAL_S
            self._deliver(text, tokens)
