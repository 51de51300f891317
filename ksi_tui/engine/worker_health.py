"""Whether calls that need a provider worker have to wait for one, and whether that is worth it."""

from __future__ import annotations

from collections.abc import Callable

PATIENCE = 3
"""After so many losses in a row without a start, other candidates are no longer held back."""


class WorkerHealth:
    """The provider workers as selection sees them. `starting` says that none takes calls yet.

    `losses` counts those since the engine began; of the newest `lost_at` and `reason` tell.
    """

    def __init__(self, starting: Callable[[], bool]) -> None:
        self._starting = starting
        self.losses = 0
        self.lost_at: float | None = None
        self.reason = ""
        self._losses = 0

    @property
    def starting(self) -> bool:
        """Whether a call would have to wait for a worker."""
        return self._starting()

    @property
    def patient(self) -> bool:
        """Whether a request rather waits for its first choice than goes to its next."""
        return self._losses < PATIENCE

    @property
    def text(self) -> str:
        """What is the matter, in words."""
        if not self._losses:
            return "provider worker starting"
        return f"provider worker starting again, lost {self._losses}x: {self.reason}"

    def started(self) -> None:
        """Note that a worker takes calls."""
        self._losses = 0

    def lost(self, reason: str, now: float | None = None) -> None:
        """Note that a worker is gone, at `now` (epoch seconds) where that is to be shown."""
        self._losses += 1
        self.losses += 1
        self.reason, self.lost_at = reason, now
