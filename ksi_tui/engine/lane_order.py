"""The order of the session list: those in which something waits, oldest head first.

Worked out a slice at a snapshot where there are many sessions, so that none of the snapshots
costs what there is: sorting 10,000 sessions takes 3.5 ms at once. Which rows are shown, and what
they say, is `snapshots`'.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksi_tui.engine.lanes import Lane
from ksi_tui.engine.queue_manager import QueueManager

EVERY_S = 1.0
"""How often the order is worked out anew."""
AT_ONCE = 1000
"""So many sessions are looked at in one go, more of them where there are many more."""
_MOST_SLICES = 20
_SMALL = 200
"""With fewer sessions the order is worked out anew whenever their number has changed."""
_LATE_S = 5.0
"""An order that is older, since nobody has asked for long, is worked out at once."""


class LaneOrder:
    """Keeps the order of a queue's sessions."""

    def __init__(self, queue: QueueManager) -> None:
        self._queue = queue
        self._lanes: list[Lane] = []
        self._at = float("-inf")
        self._count = -1
        self._todo: list[Lane] = []
        self._looked: list[Lane] = []
        self._since: list[float] = []

    def lanes(self, now: float) -> list[Lane]:
        """Return the sessions in order; the last of them may hold nothing any more."""
        count = self._queue.session_count
        small = count < _SMALL and count != self._count
        late = not 0 <= now - self._at < _LATE_S
        if not self._todo and (small or not 0 <= now - self._at < EVERY_S):
            self._todo, self._looked = list(self._queue.lanes()), []
            self._since = []
        if self._todo:
            self._look(len(self._todo) if small or late else max(AT_ONCE, count // _MOST_SLICES))
            if not self._todo:
                self._lanes, self._looked = _by_age(self._looked, self._since), []
                self._since, self._at, self._count = [], now, count
        return self._lanes

    def _look(self, many: int) -> None:
        """Look at so many of the sessions that are still to be looked at."""
        looked, self._todo = self._todo[:many], self._todo[many:]
        waiting = [lane for lane in looked if lane.waiting]
        since = [lane.waiting[0].queued_at for lane in waiting]
        # Each slice in order by itself: what then is left to do for the whole is to merge.
        self._looked += _by_age(waiting, since)
        self._since += sorted(since)


def _by_age(lanes: Sequence[Lane], since: Sequence[float]) -> list[Lane]:
    """Return lanes by the times that belong to them, the earliest first.

    By their indexes: 10,000 pairs to sort would set off the garbage collector each time.
    """
    return [lanes[index] for index in sorted(range(len(lanes)), key=since.__getitem__)]
