"""All requests."""

from __future__ import annotations

from textual.app import ComposeResult

from ksi_tui.actions import Where
from ksi_tui.screens.base import Target, screen_bindings
from ksi_tui.screens.sub import SubScreen
from ksi_tui.widgets.pane import TextPane


class RequestsScreen(SubScreen):
    """All requests."""

    WHERE = Where.REQUESTS
    BINDINGS = screen_bindings(Where.REQUESTS)

    def __init__(self, filter_text: str = "") -> None:
        super().__init__()
        self.filter_text = filter_text

    def compose_body(self) -> ComposeResult:
        yield TextPane("RequestsScreen", id="body")

    def read(self) -> None:
        pass

    def show_body(self) -> None:
        self.query_one("#body", TextPane).redraw()

    def target(self) -> Target | None:
        return None


class FailedScreen(RequestsScreen):
    """What failed."""

    WHERE = Where.FAILED
    BINDINGS = screen_bindings(Where.FAILED)
