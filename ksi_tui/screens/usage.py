"""Tokens, cost and waste over time."""

from __future__ import annotations

from textual.app import ComposeResult

from ksi_tui.actions import Where
from ksi_tui.screens.base import Target, screen_bindings
from ksi_tui.screens.sub import SubScreen
from ksi_tui.widgets.pane import TextPane


class UsageScreen(SubScreen):
    """Tokens, cost and waste over time."""

    WHERE = Where.USAGE
    BINDINGS = screen_bindings(Where.USAGE)

    def compose_body(self) -> ComposeResult:
        yield TextPane("UsageScreen", id="body")

    def read(self) -> None:
        pass

    def show_body(self) -> None:
        self.query_one("#body", TextPane).redraw()

    def target(self) -> Target | None:
        return None
