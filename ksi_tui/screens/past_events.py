"""What the journal tells of the time before the live log: read page by page, bounded.

One question is on its way at most. What is shown of it, and when, is the screen's business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final

from ksi_tui.screens.event_filter import EventFilter
from ksi_tui.screens.host import refusal
from ksi_tui.widgets.event_rows import Entry, entry_of

MOST: Final = 20_000
"""Entries that are held; further back a filter leads."""
PAGE: Final = 500
_PAGES_AT_ONCE: Final = 20
"""How many pages one step back may read where a filter leaves out what they hold."""
AGAIN_S: Final = 5.0
"""How long after an engine could not answer it is asked again, in seconds."""

Ask = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class PastEvents:
    """Entries older than a moment (epoch seconds), newest first, as far as they were read."""

    def __init__(self, wanted: EventFilter, until: float) -> None:
        self.entries: list[Entry] = []
        self.error: str | None = None
        self.more = True
        self.asking = False
        self._refused = False
        self._asked_at = float("-inf")
        self._wanted = wanted
        self._until = until
        self._before: int | None = None

    @property
    def full(self) -> bool:
        """Whether no more is held, though there is more."""
        return self.more and len(self.entries) >= MOST

    def wants_more(self, now: float) -> bool:
        """Return whether it is time to `go_back`; if so, it counts as begun. `now` is monotonic."""
        if self.asking or not self.more or self.full or self._refused:
            return False
        if self.error is not None and now - self._asked_at < AGAIN_S:
            return False
        self.asking, self._asked_at = True, now
        return True

    async def go_back(self, ask: Ask) -> None:
        """Read on until something is found or nothing is left."""
        try:
            held = len(self.entries)
            for _ in range(_PAGES_AT_ONCE):
                await self._page(ask)
                if not self.more or self.error is not None or len(self.entries) > held:
                    break
        finally:
            self.asking = False

    async def _page(self, ask: Ask) -> None:
        before = {} if self._before is None else {"before": self._before}
        reply = await ask({"pattern": self._wanted.pattern, "limit": PAGE, **before})
        self.error = refusal(reply)
        self._refused = self.error is not None and reply.get("code") != "not_ready"
        if self.error is not None:  # an engine that is away comes back, and is asked again
            return
        entries = reply["entries"]
        self.more = bool(reply["more"]) and bool(entries)
        if entries:
            self._before = int(entries[-1]["seq"])
        for told in entries:
            at = datetime.fromisoformat(told["at"]).timestamp()
            entry = entry_of(f"j{told['seq']}", at, told["name"], told["data"])
            if at < self._until and self._wanted.fits(entry):
                self.entries.append(entry)
