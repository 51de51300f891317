"""By which column a list is ordered: a small dialog to choose it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ksi_tui.screens.dialog import Box, Dialog, Sheet
from ksi_tui.screens.footer import key_hints
from ksi_tui.widgets.request_rows import ORDERS, WORST
from ksi_tui.widgets.spans import Line, Span, Tone
from ksi_tui.widgets.table import Column, LiveTable, Row

Chosen = tuple[str, bool]
"""A column's name, and whether its largest come first."""

_COLUMNS = (Column(name="COLUMN", width=10), Column(name="ENTER PUTS", width=0))
_FRAME = 3


class OrderDialog(Dialog[Chosen]):
    """Lists the columns that rows can be ordered by; the present one again turns it round."""

    CSS_PATH: ClassVar[list[str | Path]] = [  # type: ignore[assignment]
        Path(__file__).with_name("dialog.tcss"),
        Path(__file__).with_suffix(".tcss"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "choose", show=False),
        Binding("j,down", "move(1)", show=False),
        Binding("k,up", "move(-1)", show=False),
        Binding("o", "keep", show=False),
    ]
    AUTO_FOCUS = "#orders"

    def __init__(self, columns: Sequence[str], now: Chosen | None) -> None:
        super().__init__()
        self._names = [WORST, *(name for name in columns if name in ORDERS)]
        self._now = now

    def compose(self) -> ComposeResult:
        with Box(classes="orders"):
            yield LiveTable("Order by", _COLUMNS, id="orders", clock=self.host.clock)
            yield Sheet(id="hints")

    def on_mount(self) -> None:
        """List the columns, the cursor on the present one."""
        super().on_mount()
        table = self.query_one("#orders", LiveTable)
        table.styles.height = len(self._names) + _FRAME
        hints = key_hints(("j/k", "choose"), ("enter", "order"), ("esc", "back"))
        self.query_one("#hints", Sheet).show(Line(), Line((Span(" "), *hints.spans)))
        self._fill()

    def _fill(self) -> None:
        table = self.query_one("#orders", LiveTable)
        table.set_rows([self._row(name) for name in self._names])
        if self._now is not None and self._now[0] in self._names:
            table.move_to(self._names.index(self._now[0]))
        table.redraw()

    def _row(self, name: str) -> Row:
        is_now = self._now is not None and self._now[0] == name and name != WORST
        order, largest_first = ORDERS[name], next_order(name, self._now)[1]
        first = order.largest if largest_first else order.smallest
        text = f"now {first} first" if is_now else f"{first} first"
        return Row(key=name, cells=(Span(name, Tone.FOCUS if is_now else Tone.PLAIN), Span(text)))

    def action_move(self, rows: int) -> None:
        """Move the cursor."""
        self.query_one("#orders", LiveTable).move_by(rows)

    @on(LiveTable.Opened)
    def action_choose(self) -> None:
        """Order by the column under the cursor."""
        key = self.query_one("#orders", LiveTable).cursor_key
        if key is not None:
            self.dismiss(next_order(key, self._now))


def next_order(name: str, now: Chosen | None) -> Chosen:
    """Return how rows stand when a column is chosen: as suits it, or turned round if it is now."""
    if now is not None and now[0] == name and name != WORST:
        return name, not now[1]
    return name, ORDERS[name].largest_first
