"""The overview's panes: which of them are shown, and which one the keys are about."""

from __future__ import annotations

from textual import events

from ksi_tui.screens import empty
from ksi_tui.screens.attending import ATTENTION, Attends
from ksi_tui.screens.layouts import Layout, layout_for
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.pane import Pane
from ksi_tui.widgets.table import LiveTable

ORDER = ("queues", "active", "providers", "locks", "tokens")
"""The panes by their numbers, from 1."""


class OverviewPanes(Attends):
    """Five panes and Attention: all at once where there is room, else one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._chosen = 2
        self._zoomed = False

    @property
    def pane_name(self) -> str:
        """The pane that the keys are about: Attention while it has the focus, else the chosen."""
        return ATTENTION if self.attends else ORDER[self._chosen - 1]

    def _table(self, name: str) -> LiveTable:
        return self.query_one(f"#{name}", LiveTable)

    def _cursor(self) -> str | None:
        pane = self.query_one(f"#{self.pane_name}", Pane)
        return pane.cursor_key if isinstance(pane, LiveTable) else None

    def _arrange(self) -> None:
        width, height = self.app.size
        fits = layout_for(width, height)
        tabs = fits is Layout.TABS or self._zoomed
        self.set_class(fits is Layout.SMALL, "small")
        self.set_class(tabs, "tabs")
        self.set_class(tabs or width < 140, "hides")
        shown = {name: not tabs or name == ORDER[self._chosen - 1] for name in ORDER}
        for name in ORDER:
            self.query_one(f"#{name}", Pane).display = shown[name]
        self.query_one("#low").display = shown["queues"] or shown["locks"]
        self.query_one("#small", Bar).show(*empty.too_small(width, height))

    def on_resize(self, _event: events.Resize) -> None:
        self._arrange()
        self.call_after_refresh(self._give_keys)
        self.call_after_refresh(self.tick)

    def _give_keys(self) -> None:
        """Give the keys to the chosen pane where none has them: at first, and after too small."""
        if self.focused is None and not self.has_class("small"):
            self.set_focus(self.query_one(f"#{ORDER[self._chosen - 1]}"))

    def on_descendant_focus(self) -> None:
        now = self.focused.id if self.focused is not None else None  # another has it by now
        if now in ORDER:
            self._chosen = ORDER.index(now) + 1
        if now in (ATTENTION, *ORDER):
            self.show_footer()

    # --- keys ------------------------------------------------------------------------

    def action_pane(self, number: int) -> None:
        """Go to a pane by its number."""
        self._chosen = number
        self._arrange()
        self.set_focus(self.query_one(f"#{ORDER[number - 1]}"))
        self.call_after_refresh(self.tick)

    def action_step_pane(self, step: int) -> None:
        """Go to the next pane or the one before; Attention is one while something is in it."""
        names = (ATTENTION, *ORDER) if self.attention_table.display else ORDER
        name = names[(names.index(self.pane_name) + step) % len(names)]
        if name == ATTENTION:
            self.action_attention()
        else:
            self.action_pane(ORDER.index(name) + 1)

    def action_zoom(self) -> None:
        """Give the screen to the chosen pane, or take it back."""
        self._zoomed = not self._zoomed
        self.action_pane(self._chosen)
