"""What of a screen is to be copied: one line of choices above the footer, one key each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ksi_tui.screens.dialog import Asking
from ksi_tui.screens.footer import key_hints
from ksi_tui.widgets import fit
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.spans import Line, Span, Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Copyable:
    """Something that can be copied: its key, its name on the line, and the text itself."""

    key: str
    name: str
    text: str


class CopyMenu(Asking["Copyable | None"]):
    """Asks which of several texts; its answer is the one, or None."""

    CSS_PATH = Path(__file__).with_suffix(".tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,y,q", "dismiss(None)", show=False),
        Binding("enter", "first", show=False),
    ]

    def __init__(self, offered: Sequence[Copyable]) -> None:
        super().__init__()
        self._offered = tuple(offered)

    def compose(self) -> ComposeResult:
        yield Bar(id="offered")

    def on_mount(self) -> None:
        self._show()

    def on_resize(self, _event: events.Resize) -> None:
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        pairs = [*((each.key, each.name) for each in self._offered), ("esc", "nothing")]
        shown = Line((Span(" copy  ", Tone.STRONG), *key_hints(*pairs).spans))
        self.query_one("#offered", Bar).show(fit.clip(shown, self.app.size.width))

    def on_key(self, event: events.Key) -> None:
        for each in self._offered:
            if event.key == each.key:
                event.stop()
                self.dismiss(each)
                return

    def action_first(self) -> None:
        """Take the first."""
        self.dismiss(self._offered[0])
