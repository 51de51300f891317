"""The live log."""

from __future__ import annotations

from textual.app import ComposeResult

from ksi_tui.actions import Where
from ksi_tui.screens.base import Target, screen_bindings
from ksi_tui.screens.sub import SubScreen
from ksi_tui.widgets.pane import TextPane


class EventsScreen(SubScreen):
    """The live log."""

    WHERE = Where.EVENTS
    BINDINGS = screen_bindings(Where.EVENTS)

    def __init__(self, pattern: str = "*") -> None:
        super().__init__()
        self.pattern = pattern

    def compose_body(self) -> ComposeResult:
        yield TextPane("EventsScreen", id="body")

    def read(self) -> None:
        pass

    def show_body(self) -> None:
        self.query_one("#body", TextPane).redraw()

    def target(self) -> Target | None:
        return None
