"""One session."""

from __future__ import annotations

from textual.app import ComposeResult

from ksi_tui.actions import Where
from ksi_tui.screens.base import Target, screen_bindings
from ksi_tui.screens.sub import SubScreen
from ksi_tui.widgets.pane import TextPane
from ksi_tui.widgets.rows import name_of


class SessionScreen(SubScreen):
    """One session."""

    WHERE = Where.SESSION
    BINDINGS = screen_bindings(Where.SESSION)

    def __init__(self, session_id: str) -> None:
        super().__init__()
        self.session_id = session_id

    @property
    def crumb(self) -> str:
        return name_of(self.session_id)

    def compose_body(self) -> ComposeResult:
        yield TextPane("SessionScreen", id="body")

    def read(self) -> None:
        pass

    def show_body(self) -> None:
        self.query_one("#body", TextPane).redraw()

    def target(self) -> Target | None:
        return None
