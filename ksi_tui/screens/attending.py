"""The overview's pane Attention: going to it, folding it, and what its rows lead to.

What needs somebody is worked out in the engine; where the pane stands is the overview's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ksi_tui.engine.states import AttentionKind
from ksi_tui.screens import fill
from ksi_tui.screens.deeds import ActingScreen
from ksi_tui.screens.targets import attention_of
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.rows import attention_hidden
from ksi_tui.widgets.table import LiveTable

if TYPE_CHECKING:
    from ksi_tui.client import Snapshot
    from ksi_tui.engine.views import AttentionView

ATTENTION = "attention"
MOST_ROWS, TABBED_ROWS = 6, 4
"""How many rows of Attention are shown where there is room, and in tabs."""


class Attends(ActingScreen):
    """A screen with the pane Attention."""

    @property
    def attention_table(self) -> LiveTable:
        """The pane."""
        return self.query_one(f"#{ATTENTION}", LiveTable)

    @property
    def attends(self) -> bool:
        """Whether the keys are about Attention: it has the focus."""
        return self.focused is not None and self.focused.id == ATTENTION

    def attention_limit(self) -> int:
        """Return how many rows are to be asked for."""
        return max(MOST_ROWS, sum(self.attention_table.window()))

    def action_attention(self) -> None:
        """Go to what needs somebody."""
        if self.attention_table.display:
            self.set_focus(self.attention_table)
        elif self.attention_table.total:
            self.say("one pane has the whole screen: z takes it back")
        else:
            self.say("nothing needs attention: nothing waits longer than usual")

    def show_attention(self, snapshot: Snapshot, *, hidden: bool, otherwise: str) -> None:
        """Show what needs somebody; `otherwise` gets the focus where nothing does."""
        table, calm = self.attention_table, self.query_one("#calm", Bar)
        most = TABBED_ROWS if self.has_class("tabs") else MOST_ROWS
        fill.attention(table, calm, snapshot, self.host.ui.keymap, most, hidden=hidden)
        if not table.display and self.attends:
            self.set_focus(self.query_one(f"#{otherwise}"))

    def attention_hidden(self, snapshot: Snapshot) -> str:
        """Return what the hidden columns of the chosen row hold."""
        row = self._attention_row(snapshot)
        if row is None or "BEST KEY" in self.attention_table.columns_shown:
            return ""
        return attention_hidden(row, fill.best_key(row, self.host.ui.keymap))

    def _attention_row(self, snapshot: Snapshot) -> AttentionView | None:
        return attention_of(snapshot, self.attention_table.cursor_key)

    def opened_attention(self, snapshot: Snapshot | None) -> bool:
        """Open what a row of the engine's own troubles has: the log. Whether it was one."""
        if not self.opens_attention(snapshot):
            return False
        self.action_events()
        return True

    def opens_attention(self, snapshot: Snapshot | None) -> bool:
        """Return whether the keys are about a row of the engine's own troubles."""
        row = self._attention_row(snapshot) if snapshot is not None and self.attends else None
        return row is not None and row.kind in (AttentionKind.FAULT, AttentionKind.WORKER)
