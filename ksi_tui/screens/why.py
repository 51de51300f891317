"""Why one request waits, down to its root."""

from __future__ import annotations

from textual.app import ComposeResult

from ksi_tui.actions import Where
from ksi_tui.screens.base import Target, screen_bindings
from ksi_tui.screens.sub import SubScreen
from ksi_tui.widgets.pane import TextPane
from ksi_tui.widgets.rows import name_of


class WhyScreen(SubScreen):
    """Why one request waits, down to its root."""

    WHERE = Where.WHY
    BINDINGS = screen_bindings(Where.WHY)

    def __init__(self, request_id: str) -> None:
        super().__init__()
        self.request_id = request_id

    @property
    def crumb(self) -> str:
        return name_of(self.request_id)

    def compose_body(self) -> ComposeResult:
        yield TextPane("WhyScreen", id="body")

    def read(self) -> None:
        pass

    def show_body(self) -> None:
        self.query_one("#body", TextPane).redraw()

    def target(self) -> Target | None:
        return None
