"""Which of the overview's panes are folded to one line: those with nothing in them, after a while.

A pane that folded and unfolded with every lock taken and released would make the others jump,
so one stays open for a while after something was in it. Where panes stand is the overview's.
"""

from __future__ import annotations

CALM_S = 10.0
"""How long a pane must have been empty before it folds, in seconds."""


class Folds:
    """Remembers when there was last something in the panes Queues and Locks."""

    def __init__(self) -> None:
        self._busy_at: dict[str, float] = {}

    def classes(self, queues: int, locks: int, now: float) -> dict[str, bool]:
        """Return what holds `now`: `unlocked` folds Locks alone, `unqueued` both of them.

        Queues folds with Locks only: beside it, a folded pane would give nobody any room.
        """
        unqueued, unlocked = self._calm("queues", queues, now), self._calm("locks", locks, now)
        both = unqueued and unlocked
        return {"unlocked": unlocked and not both, "unqueued": both}

    def _calm(self, name: str, total: int, now: float) -> bool:
        if total:
            self._busy_at[name] = now
            return False
        return now - self._busy_at.get(name, float("-inf")) >= CALM_S
