"""Asks the engine for lists of requests: one question at a time, the newest wins.

Holds the last answer until a newer one is there, so that a list is never blank while it waits.
What is asked for, and how an answer looks, are the screens'.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ksi_tui.screens.host import refusal

REFRESH_S = 1.0
"""How often a list with unfinished requests in view is read again, in seconds."""
QUIET_S = 5.0
"""How often one without is: others submit too."""
_MOST_SHARE = 5
"""A list is not read again before this many times as long as the last answer took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a list holds, and which part of it is wanted."""

    filter: str = ""
    sort: str = "queued"
    descending: bool = True
    offset: int = 0
    limit: int = 100

    @property
    def data(self) -> dict[str, Any]:
        """The question as `completion:requests` takes it."""
        return {
            "filter": self.filter,
            "sort": self.sort,
            "descending": self.descending,
            "offset": self.offset,
            "limit": self.limit,
        }

    def same_list(self, other: Query | None) -> bool:
        """Return whether another query is about the same rows in the same order."""
        if other is None:
            return False
        return replace(self, offset=0, limit=0) == replace(other, offset=0, limit=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer: `rows` from `offset` of `total`, as the engine gave them."""

    query: Query = field(default_factory=Query)
    rows: tuple[Mapping[str, Any], ...] = ()
    offset: int = 0
    total: int = 0


class Search:
    """The question that is wanted, the one that is under way, and the last answer."""

    def __init__(
        self,
        ask: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._wanted: Query | None = None
        self._running = False
        self._asked_again = False
        self._read_at = float("-inf")
        self._took_s = 0.0
        self.page: Page | None = None
        self.error: str | None = None

    def want(self, query: Query, *, every_s: float) -> bool:
        """Ask for this from now on, again every so often; returns whether `run` is due."""
        moved = query != self._wanted
        self._wanted = query
        if self._running:
            return False
        pause = max(every_s, self._took_s * _MOST_SHARE)
        if not moved and self._clock() - self._read_at < pause:
            return False
        self._running = True
        return True

    def again(self) -> None:
        """Let the next `want` ask at once: something was done to the requests.

        What is on its way may have been answered before that, so it is asked once more.
        """
        self._asked_again = self._running
        self._read_at = float("-inf")
        self._took_s = 0.0

    async def run(self) -> None:
        """Ask until the answer is to what is wanted; what is no longer wanted is dropped."""
        try:
            asked: Query | None = None
            while self._wanted is not None and (asked != self._wanted or self._asked_again):
                asked, self._asked_again = self._wanted, False
                began = self._clock()
                reply = await self._ask(asked.data)
                self._took_s = self._clock() - began
                if asked.same_list(self._wanted):
                    self._take(asked, reply)
        finally:
            self._running = False
            self._read_at = self._clock()

    def _take(self, asked: Query, reply: Mapping[str, Any]) -> None:
        self.error = refusal(reply)
        if self.error is None:
            rows = tuple(reply.get("requests") or ())
            total = int(reply.get("total") or 0)
            offset = int(reply.get("offset") or 0)
            self.page = Page(query=asked, rows=rows, offset=offset, total=total)
