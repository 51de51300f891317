"""One provider."""

from __future__ import annotations

from textual.app import ComposeResult

from ksi_tui.actions import Where
from ksi_tui.screens.base import Target, screen_bindings
from ksi_tui.screens.sub import SubScreen
from ksi_tui.widgets.pane import TextPane
from ksi_tui.widgets.rows import name_of


class ProviderScreen(SubScreen):
    """One provider."""

    WHERE = Where.PROVIDER
    BINDINGS = screen_bindings(Where.PROVIDER)

    def __init__(self, provider: str) -> None:
        super().__init__()
        self.provider = provider

    @property
    def crumb(self) -> str:
        return name_of(self.provider)

    def compose_body(self) -> ComposeResult:
        yield TextPane("ProviderScreen", id="body")

    def read(self) -> None:
        pass

    def show_body(self) -> None:
        self.query_one("#body", TextPane).redraw()

    def target(self) -> Target | None:
        return None
