"""The requests of one session as a live table that can be ordered by its columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ksi_tui.engine.views import Live
from ksi_tui.screens.report import session as told
from ksi_tui.widgets.spans import Span, Tone, line
from ksi_tui.widgets.table import LiveTable


class SessionRows(LiveTable):
    """Shows the requests of a reply of `completion:session_status`, newest first at the start."""

    def __init__(self, *, id: str, clock: Callable[[], float]) -> None:
        super().__init__("1 Requests", told.REQUESTS, id=id, clock=clock)
        self._order, self._descending = "QUEUED", True
        self._found: Sequence[Mapping[str, Any]] = ()

    def fill(self, reply: Mapping[str, Any], live: Live | None, at: float | None) -> None:
        """Show the rows in their order, or why there are none; `reply` empty: not read yet."""
        self._found = reply.get("completions") or ()
        chosen = told.ordered(self._found, self._order, descending=self._descending)
        self.set_order(self._order, descending=self._descending)
        self.set_rows([told.row(each, live, at) for each in chosen])
        empty = "no request of this session is kept" if reply else "reading…"
        self.set_empty(line(Span(f"  {empty}", Tone.DIM)))
        total = (reply.get("session") or {}).get("request_count") or 0
        notes = [
            f"newest {len(self._found)} of {total:,}" if total > len(self._found) else "",
            f"{len(self.marked)} marked" if self.marked else "",
        ]
        head = f"1 Requests  {len(self._found)}"
        self.set_head(head, " · ".join(note for note in notes if note))
        self.redraw()

    def next_order(self) -> str:
        """Turn the order round, and after that go on to the next column; return it in words."""
        if self._descending:
            self._descending = False
        else:
            at = (told.ORDERS.index(self._order) + 1) % len(told.ORDERS)
            self._order, self._descending = told.ORDERS[at], True
        return f"{self._order}, {'highest' if self._descending else 'lowest'} first"

    def order_by(self, column: str) -> None:
        """Order by a column, by the same one the other way round."""
        if column in told.ORDERS:
            self._descending = not self._descending if column == self._order else True
            self._order = column

    def mark_all(self) -> None:
        """Mark every row, or none where some are marked."""
        every = [str(each.get("request_id")) for each in self._found]
        self.set_marked([] if self.marked else every)

    @property
    def under_cursor(self) -> Mapping[str, Any] | None:
        """What the reply says of the request under the cursor."""
        key = self.cursor_key
        return next((each for each in self._found if each.get("request_id") == key), None)
