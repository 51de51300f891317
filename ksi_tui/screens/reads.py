"""What a screen reads from the store by events: in the background, and never piling up.

The live picture is a snapshot and is not read in here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ksi_tui.client import SnapshotQuery
from ksi_tui.screens.host import ask
from ksi_tui.screens.sub import SubScreen

Take = Callable[[dict[str, Any]], None]


def only_live(request_id: str | None) -> SnapshotQuery:
    """Return the question for one request's live view and nothing that is not shown."""
    return SnapshotQuery(
        active_limit=0,
        queue_limit=0,
        lock_limit=0,
        attention_limit=0,
        trend_points=1,
        request_id=request_id,
    )


class Reads:
    """The reads of one screen; each is on its way at most once, and waits its time after it."""

    def __init__(self, screen: SubScreen) -> None:
        self._screen = screen
        self._on_its_way: set[str] = set()
        self._outdated: set[str] = set()
        self._ended_at: dict[str, float] = {}

    def ask(self, event: str, every_s: float, take: Take, **data: Any) -> None:
        """Ask, unless it was asked less than `every_s` ago; `take` gets the reply or refusal."""
        now = self._screen.host.clock()
        due = now - self._ended_at.get(event, float("-inf")) >= every_s
        if due and event not in self._on_its_way:
            self._on_its_way.add(event)
            self._screen.start(partial(self._ask, event, take, data), name=event, group="read")

    def again(self, event: str) -> None:
        """Let the next `ask` go out at once, where one is on its way the one after it."""
        self._ended_at.pop(event, None)
        if event in self._on_its_way:
            self._outdated.add(event)

    async def _ask(self, event: str, take: Take, data: dict[str, Any]) -> None:
        try:
            reply = await ask(self._screen.host, event, **data)
        finally:
            self._on_its_way.discard(event)
            if event in self._outdated:
                self._outdated.discard(event)
            else:
                self._ended_at[event] = self._screen.host.clock()
        take(reply)
        self._screen.show()
