"""The sums under the charts of Usage: what they are by, their reading, table and totals.

One question is on its way at most, and the last answer stays until the next is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ksi_tui.screens.host import Host, ask, refusal
from ksi_tui.screens.series import Window
from ksi_tui.widgets import usage_rows
from ksi_tui.widgets.pane import TextPane
from ksi_tui.widgets.spans import Line, Span, Tone, line
from ksi_tui.widgets.table import LiveTable

_RE_READ_S: Final = 5.0
"""How often they are read again, in seconds."""
_MOST_GROUPS: Final = 500

Wanted = tuple[str, float]
"""By what, and over how many hours."""


class Sums:
    """What was read, and what is asked for next. `by` is one of `usage_rows.GROUPS`."""

    def __init__(self) -> None:
        self.by = usage_rows.GROUPS[0]
        self._read: tuple[Wanted, Mapping[str, Any]] | None = None
        self._error: str | None = None
        self._reading = False
        self._asked: Wanted | None = None
        self._next_read_at = 0.0

    def next_by(self) -> None:
        """Ask by the next thing from now on."""
        index = usage_rows.GROUPS.index(self.by) + 1
        self.by = usage_rows.GROUPS[index % len(usage_rows.GROUPS)]

    def wants(self, window: Window, now: float) -> Wanted | None:
        """Return what is to be read now, None where nothing is; if so, that counts as begun."""
        wanted = (self.by, window.hours)
        if self._reading or (wanted == self._asked and now < self._next_read_at):
            return None
        self._reading, self._asked = True, wanted
        return wanted

    async def read(self, host: Host, wanted: Wanted) -> None:
        """Read what `wants` has returned."""
        by, hours = wanted
        time = {} if by == "session" else {"hours": hours}
        try:
            reply = await ask(host, "completion:token_usage", by=by, limit=_MOST_GROUPS, **time)
        finally:
            self._reading = False
        self._next_read_at = host.clock() + _RE_READ_S
        self._error = refusal(reply)
        if self._error is None:
            self._read = (wanted, reply)

    def show(self, table: LiveTable, whole: TextPane, window: Window) -> None:
        """Fill the table and the pane of the totals."""
        held = self._read
        fresh = held is not None and held[0][0] == self.by
        groups = held[1]["groups"] if held is not None and fresh else ()
        table.set_rows([usage_rows.row_of(self.by, group) for group in groups])
        span = "since the first call" if self.by == "session" else f"last {window.name}"
        error = line(Span(f"! {self._error}", Tone.BAD)) if self._error else line("o by another")
        table.set_head(f"By {self.by}  {span}", error)
        empty = "no call ended in this time" if fresh else self._error or "reading…"
        table.set_empty(Line(), line(Span(f"  {empty}", Tone.DIM)))
        table.redraw()
        whole.set_head(f"All  {span}")
        whole.show(usage_rows.totals_lines(held[1]) if held is not None else [line("reading…")])

    def as_text(self) -> str | None:
        """Return the table with tabs between its cells, None before it was read."""
        if self._read is None or self._read[0][0] != self.by:
            return None
        heads = "\t".join(column.name for column in usage_rows.columns(self.by))
        rows = [usage_rows.row_of(self.by, group) for group in self._read[1]["groups"]]
        return "\n".join([heads, *("\t".join(cell.text for cell in row.cells) for row in rows)])
