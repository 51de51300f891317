"""How often the screen is composed: at its full rate, and seldom while there is nothing to see.

Measured: an idle dashboard at 10 Hz takes 1.7 % of a core, most of it for composing what is
there already. While nothing runs it is composed twice a second, which its clock needs, and at
the full rate from the moment on when the engine tells of anything or a person touches it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ksi_tui.engine.events import Subscription
    from ksi_tui.watch import WatchedClient

SELDOM_S = 0.5
AWAKE_S = 3.0
"""So long the full rate stays after the last touch or event, in seconds."""


class Pace:
    """Says at each beat of the refresh timer whether the screen is composed at it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._awake_until = clock() + AWAKE_S
        self._composed_at = self._between_at = float("-inf")
        self._news: Subscription | None = None

    def touched(self) -> None:
        """Note that a person pressed a key or moved the mouse."""
        self._awake_until = self._clock() + AWAKE_S

    def due(self, client: WatchedClient | None) -> bool:
        """Return whether to compose now. Events are looked at only while there is nothing else."""
        now = self._clock()
        if client is None or not client.idle or self._heard():
            self._awake_until = now + AWAKE_S
        if now < self._awake_until:
            self.end()
        elif self._news is None and client is not None:
            self._news = client.subscribe("*")
            self._news.drain()  # how things stood, which is on the screen
        elif now - self._composed_at < SELDOM_S:
            return False
        self._composed_at = now
        return True

    def just_missed(self, period_s: float) -> bool:
        """Return whether to compose between two beats: what has come just missed one of them.

        Else it would wait for nearly a whole period. Once in a period is often enough.
        """
        now = self._clock()
        if now - self._composed_at >= period_s / 2 or now - self._between_at < period_s:
            return False
        self._between_at = now
        return True

    def _heard(self) -> bool:
        return self._news is not None and bool(self._news.drain())

    def end(self) -> None:
        """Listen no more."""
        if self._news is not None:
            self._news.end()
            self._news = None
