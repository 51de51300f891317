"""Which failures were looked at from this dashboard, so that only the others are new.

Owned by the app, so that it outlives every screen. The list of what failed looks at all there
are, the screen of one request at that one. Leaf module.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ksi_tui.engine.advice import LookedAt
    from ksi_tui.engine.views import Snapshot, Totals

MOST_SINGLE = 1_000
"""So many requests are remembered as looked at one by one."""
_ROUNDED_S = 0.001
"""Times in reports are cut to whole milliseconds."""


class Looked:
    """Remembers what was looked at; says what is left as new."""

    def __init__(self) -> None:
        self._all = self._single = 0
        self._since: float | None = None

    @cached_property
    def at(self) -> LookedAt:
        """What was looked at, as a snapshot is asked for."""
        from ksi_tui.engine.advice import LookedAt  # noqa: PLC0415 - after the first frame

        return LookedAt()

    def at_all(self, snapshot: Snapshot) -> None:
        """Note that all failures of this moment are on the screen."""
        failed = snapshot.totals.failed_new
        if failed != self._all or self._single:
            self.at = replace(self.at, until=snapshot.at, single={})
            self._all, self._single = failed, 0

    def at_one(self, request_id: str, failed_at: float) -> None:
        """Note that the failure of one request, at this time (epoch seconds), is on the screen."""
        known = self.at.single
        if self.at.has(request_id, failed_at) or len(known) >= MOST_SINGLE:
            return
        self.at = replace(self.at, single={**known, request_id: failed_at + _ROUNDED_S})
        if self._since is not None and failed_at >= self._since:  # else it is not counted as new
            self._single += 1

    def left(self, snapshot: Snapshot) -> Totals:
        """Return a moment's totals in which only those are new that were not looked at."""
        totals = snapshot.totals
        if self._since is None:
            self._since = snapshot.at
        if totals.failed_new < self._all:  # another engine than the one that was looked at
            self._all = self._single = 0
        new = max(0, totals.failed_new - self._all - self._single)
        return replace(totals, failed_new=new)
