"""Runs what must be done again and again while the engine works, each at its own pace.

What is done is in the parts (the dispatcher writes provider states down, `cleanup` takes
away what is over); here is only when.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from ksi_tui.engine.clock import Clock
from ksi_tui.engine.upkeep.cleanup import CleanUp

LOOK_EVERY_S: Final = 0.5
IDLE_SESSIONS_EVERY_S: Final = 60.0
CLEAN_UP_EVERY_S: Final = 300.0
"""Contract section 9."""

log = logging.getLogger(__name__)


class Every:
    """Says when something is due: at once, then a whole period after each time (seconds)."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._next_at: float | None = None

    def due(self, now: float) -> bool:
        """Whether it is to be done now; if so, it counts as done."""
        if self._next_at is not None and now < self._next_at:
            return False
        self._next_at = now + self._period_s
        return True

    def again(self) -> None:
        """Let it be due at the next look: it did not come to its end."""
        self._next_at = None


class Housekeeper:
    """Owns the tasks `service_manager` (short duties) and `clean_up` (rounds that may last)."""

    def __init__(
        self,
        clock: Clock,
        clean_up: CleanUp,
        *,
        save_providers: Callable[[], None],
        end_idle_sessions: Callable[[float], bool],
    ) -> None:
        self.clean_up = clean_up
        self._clock = clock
        self._save_providers = save_providers
        self._end_idle_sessions = end_idle_sessions
        self._idle_sessions = Every(IDLE_SESSIONS_EVERY_S)
        self._clean_ups = Every(CLEAN_UP_EVERY_S)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> asyncio.Task[None]:
        """Begin; returns the service manager's task."""
        self._tasks = [
            asyncio.create_task(self._short_duties(), name="service_manager"),
            asyncio.create_task(self._clean_up_rounds(), name="clean_up"),
        ]
        return self._tasks[0]

    async def aclose(self) -> None:
        """End both tasks; a round of the clean-up that is under way is given up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _short_duties(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                self._save_providers()
                now = self._clock()
                if self._idle_sessions.due(now) and self._end_idle_sessions(now):
                    self._idle_sessions.again()
            except Exception:  # the task's boundary: one bad round must not end the rounds
                log.exception("housekeeping failed")

    async def _clean_up_rounds(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._clean_ups.due(self._clock()):
                await self.clean_up.round()
