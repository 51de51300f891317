"""A screen of panes: all of them where there is room, else one under tabs; zoom does the same.

Which panes there are, and what is in them, is the subclass's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import events, on

from ksi_tui.screens.copying import Copyable
from ksi_tui.screens.layouts import Layout
from ksi_tui.screens.sub import SubScreen
from ksi_tui.widgets import fit, header
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.pane import Pane
from ksi_tui.widgets.spans import Line


class TabbedScreen(SubScreen):
    """Yields a `Bar` of the id `tabs` and its panes; `PANES` are their ids and names on the tabs.

    `ROWS` are the containers with the panes in each: one with none of them shown is not
    displayed. `FIRST` is the pane that has the focus where all are shown.
    """

    PANES: ClassVar[tuple[tuple[str, str], ...]]
    ROWS: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    FIRST: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self._names = tuple(name for name, _ in self.PANES)
        self._chosen = self.PANES[0][0]
        self._zoomed = False

    def on_mount(self) -> None:
        super().on_mount()
        self.set_focus(self.query_one(f"#{self._chosen if self.one else self.FIRST}"))

    @property
    def one(self) -> bool:
        """Whether a single pane has the screen."""
        return self._zoomed or self.fits is not Layout.PANES

    @property
    def chosen(self) -> str:
        """The id of the pane that was gone to."""
        return self._chosen

    def beside(self, name: str) -> bool:
        """Return whether a pane stands among the others where there is room for all."""
        return bool(name)

    def notes(self) -> Mapping[str, str]:
        """Return what tabs say beside their names, by pane."""
        return {}

    def place(self) -> None:
        """Show all panes, or the chosen one alone."""
        self.set_class(self.one, "one")
        shown = {
            name: name == self._chosen if self.one else self.beside(name) for name in self._names
        }
        for name, displayed in shown.items():
            self.query_one(f"#{name}").display = displayed
        for row, inside in self.ROWS.items():
            self.query_one(f"#{row}").display = any(shown[name] for name in inside)

    def go_to(self, name: str) -> None:
        """Choose a pane."""
        self._chosen = name
        self.place()
        self.set_focus(self.query_one(f"#{name}", Pane))
        self.call_after_refresh(self.show)

    def action_pane(self, number: int) -> None:
        """Go to a tab or pane by its number."""
        self.go_to(self._names[number - 1])

    def action_step_pane(self, step: int) -> None:
        """Go to the next pane or the one before."""
        self.go_to(self._names[(self._names.index(self._chosen) + step) % len(self._names)])

    def action_zoom(self) -> None:
        """Give the screen to the chosen pane, or take it back."""
        self._zoomed = not self._zoomed
        self.go_to(self._chosen)

    def on_descendant_focus(self) -> None:
        now = self.focused.id if self.focused is not None else None  # another has it by now
        if now in self._names:
            self._chosen = now
            self.show_footer()

    @on(events.Click, "#tabs")
    def _tab_clicked(self, event: events.Click) -> None:
        number = header.tab_at(self._tabs_line(), event.x)
        if number is not None:
            self.action_pane(number)

    def copy_chosen(self, chosen: Copyable | None) -> None:
        """Copy what was chosen of a copy menu."""
        if chosen is not None:
            self.copy_out(chosen.text, f"the {chosen.name}")

    def show_tabs(self) -> None:
        """Show the tabs with their notes."""
        self.query_one("#tabs", Bar).show(fit.clip(self._tabs_line(), max(1, self.size.width)))

    def _tabs_line(self) -> Line:
        notes = self.notes()
        tabs = [(title, notes.get(name, "")) for name, title in self.PANES]
        return header.numbered_tabs(tabs, self._names.index(self._chosen) + 1)
