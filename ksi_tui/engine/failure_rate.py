"""The share of a provider's calls that failed lately, for circuits that open by it.

A part of the circuit: pybreaker counts failures in a row only. Pure; time is the caller's.
"""

from __future__ import annotations

from ksi_tui.config import CircuitSettings
from ksi_tui.engine.meter import Ring

_SLICES = 20


class FailureRate:
    """Calls and failures of the last `window_s`, in about twenty slices of whole seconds.

    Counts nothing where no `failure_rate` is set.
    """

    def __init__(self, settings: CircuitSettings) -> None:
        self._limit = settings.failure_rate
        self._min_calls = settings.min_calls
        self._window_s = settings.window_s
        self._slice_s = max(1, round(settings.window_s / _SLICES))
        self._slots = max(1, round(settings.window_s / self._slice_s))
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._calls = Ring(self._slots, self._slice_s)
        self._failures = Ring(self._slots, self._slice_s)

    def add(self, now: float, *, failed: bool) -> None:
        """Count one call."""
        if self._limit is not None:
            self._calls.add(1, now)
            if failed:
                self._failures.add(1, now)

    def verdict(self, now: float) -> str | None:
        """Return in words why the rate opens the circuit; None when it does not."""
        if self._limit is None:
            return None
        calls = int(sum(self._calls.recent(now, self._slots)))
        failures = int(sum(self._failures.recent(now, self._slots)))
        if calls < self._min_calls or failures < self._limit * calls:
            return None
        return f"{failures} of {calls} calls failed in {self._window_s:g} s"
