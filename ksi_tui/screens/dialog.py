"""Dialogs that confirm: buttons that say what they do, and a guard against a stray enter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input

from ksi_tui.screens.base import Host
from ksi_tui.widgets import fit
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.spans import Line, Span, Tone, line

GUARD_S = 0.4
"""An enter this soon after the dialog opened, or after the enter before, does nothing."""


class EnterGuard:
    """Tells a meant enter from one that was still on its way or repeats by itself."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._quiet_since = clock()

    def pressed(self) -> bool:
        """Return whether this press counts; it counts as a press in any case."""
        now = self._clock()
        meant = now - self._quiet_since >= GUARD_S
        self._quiet_since = now
        return meant


class Act(Widget, can_focus=True):
    """A button of one line in brackets; `acts` ones are guarded by their dialog."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "press", show=False),
        Binding("left", "app.focus_previous", show=False),
        Binding("right", "app.focus_next", show=False),
    ]
    DEFAULT_CSS = """
    Act { width: auto; height: 1; margin: 0 4; }
    Act:focus { background: $primary; color: $background; text-style: bold; }
    """

    class Pressed(Message):
        """A button was pressed, by key or mouse."""

        def __init__(self, act: Act) -> None:
            super().__init__()
            self.act = act

    def __init__(self, label: str, *, id: str) -> None:
        super().__init__(id=id)
        self._label = label

    @property
    def label(self) -> str:
        """What the button says."""
        return self._label

    def relabel(self, label: str) -> None:
        """Say something else; clean text only."""
        if label != self._label:
            self._label = label
            self.refresh(layout=True)

    def render(self) -> Content:
        return Content(f"[ {self._label} ]")

    def action_press(self) -> None:
        self.post_message(self.Pressed(self))

    def on_click(self) -> None:
        self.action_press()


class Sheet(Bar):
    """Lines of a dialog that grow with their number."""

    def show(self, *lines: Line) -> None:
        """Show the lines; the sheet is as high as they are many."""
        if self.styles.inline.height is None or self.styles.inline.height.value != len(lines):
            self.styles.height = max(1, len(lines))
        super().show(*lines)


class Dialog(ModalScreen[str | None]):
    """A framed dialog over the screen that asked. Its answer is text, or None for no."""

    CSS_PATH = Path(__file__).with_suffix(".tcss")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "keep", show=False)]

    def __init__(self) -> None:
        super().__init__()
        self._guard: EnterGuard | None = None

    @property
    def host(self) -> Host:
        """The app, as far as screens know it."""
        return cast(Host, self.app)

    def frame(self) -> Vertical:
        """Return the dialog's box, to be filled in `compose`."""
        return Vertical(id="box")

    def set_heading(self, title: str, note: str = "") -> None:
        """Write the box's upper edge; the texts are clean."""
        box = self.query_one("#box")
        box.border_title = Content(title)
        box.border_subtitle = Content(note)

    def on_mount(self) -> None:
        self._guard = EnterGuard(self.host.clock)

    def meant(self) -> bool:
        """Return whether a press of an acting button counts now."""
        return self._guard is not None and self._guard.pressed()

    def action_keep(self) -> None:
        """Leave everything as it is."""
        self.dismiss(None)
