"""The engine's door as the screens hold it: it remembers what was seen last, and survives a fault.

A snapshot that fails is recorded once and answered with the one before, which the header then
calls stale. Nothing here asks the engine by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ksi_tui.client import Distant

if TYPE_CHECKING:
    from ksi_tui.client import EngineClient
    from ksi_tui.engine.events import Subscription
    from ksi_tui.engine.views import Snapshot, SnapshotQuery

log = logging.getLogger(__name__)

LEAST_STALE_S = 1.0
_REFRESHES = 3


class WatchedClient:
    """An `EngineClient` over another. `clock` is monotonic, in seconds."""

    def __init__(self, inner: EngineClient, clock: Callable[[], float], refresh_hz: float) -> None:
        self._inner = inner
        self._line = inner if isinstance(inner, Distant) else None
        self._clock = clock
        self._stale_after_s = max(LEAST_STALE_S, _REFRESHES / refresh_hz)
        self._seen_at: float | None = None
        self.last: Snapshot | None = None
        self.fault: str | None = None

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a named event and return its reply."""
        return await self._inner.emit(name, data)

    def subscribe(self, pattern: str = "*") -> Subscription:
        """Return the notifications that fit `pattern`."""
        return self._inner.subscribe(pattern)

    def snapshot(self, query: SnapshotQuery | None = None) -> Snapshot:
        """Return the engine as it is now; where it cannot say, as it was when it last could.

        Raises what the engine raised as long as it never could.
        """
        try:
            self.last = self._inner.snapshot(query)
        except Exception as error:  # the boundary of screen and engine: recorded, and shown stale
            if self.last is None:
                raise
            if self.fault is None:
                log.exception("the engine could not be looked at")
            self.fault = f"the engine cannot be looked at ({type(error).__name__}; the log has it)"
            wanted = query.request_id if query is not None else None
            live = self.last.live
            same = live is not None and live.request_id == wanted
            return self.last if same or live is None else replace(self.last, live=None)
        self._seen_at, self.fault = self._clock(), None
        return self.last

    def look(self) -> None:
        """Look at the engine where no screen has for as long as would count as stale."""
        if self._seen_at is None or self._clock() - self._seen_at >= LEAST_STALE_S / 2:
            from ksi_tui.client import SnapshotQuery  # noqa: PLC0415 - after the first frame

            self.snapshot(
                SnapshotQuery(active_limit=0, queue_limit=0, lock_limit=0, trend_points=1)
            )

    @property
    def stale_s(self) -> float | None:
        """How old in seconds what was seen last is, once that is more than a few refreshes."""
        if self._seen_at is None:
            return None
        age = self._clock() - self._seen_at
        if self._line is not None:
            age = max(age, self._line.age_s)
        return age if age > self._stale_after_s else None

    @property
    def lost(self) -> str | None:
        """What is wrong with the line to an engine that is elsewhere; None if nothing is."""
        return self._line.lost if self._line is not None else None

    @property
    def idle(self) -> bool:
        """Whether nothing ran, waited or was stale when the engine was last seen."""
        if self.last is None or self.fault is not None:
            return False
        totals = self.last.totals
        return not (totals.active or totals.queued or totals.retrying)
