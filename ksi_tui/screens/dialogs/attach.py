"""Another engine has the database: who it is, and whether one can attach to it."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ksi_tui.elsewhere import Elsewhere
from ksi_tui.engine.errors import KsiError
from ksi_tui.screens.dialog import Box, Dialog, Sheet
from ksi_tui.widgets import fit
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.spans import Line, Span, Tone, line

_LOOK_S = 1.0
_TEXT_CHARS = 600
_EDGES = 8


class AttachOffer(Dialog[bool]):
    """Offers to attach. Answers True to do so, False to leave.

    It looks for the door once a second: that of an engine that starts opens a moment later.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,a", "attach", show=False),
        Binding("q,escape,ctrl+c,ctrl+q", "leave", show=False),
    ]

    def __init__(self, elsewhere: Elsewhere, owned: str) -> None:
        super().__init__()
        self._elsewhere = elsewhere
        self._owned = owned
        self._answers: str | None = None
        self._no_door: str | None = None

    def compose(self) -> ComposeResult:
        with Box():
            yield Sheet(id="question")

    def on_mount(self) -> None:
        super().on_mount()
        self.set_heading("Another engine has this database")
        self.set_interval(_LOOK_S, self._look_again, name="look-for-door")
        self._look_again()
        self._show()

    def _look_again(self) -> None:
        self.start(self._look, name="door", group="door", exclusive=True)

    async def _look(self) -> None:
        try:
            self._answers, self._no_door = await self._elsewhere.look(), None
        except KsiError as error:
            self._answers, self._no_door = None, str(error)
        if self.stands:
            self._show()

    def _show(self) -> None:
        sheet = self.query_one("#question", Sheet)
        room = max(20, sheet.size.width or self.app.size.width - _EDGES)
        lines = [*_wrapped(self._owned, room), Line()]
        if self._answers is not None:
            lines += [
                *_wrapped(self._answers, room),
                Line(),
                _way("a", "attach", "these screens on that engine; leaving ends nothing of it"),
            ]
        elif self._no_door is not None:
            lines += [
                line("  ", Span("! It cannot be attached to", Tone.WARN)),
                *_wrapped(self._no_door, room),
                Line(),
            ]
        else:
            lines += [line("  Looking for its door…"), Line()]
        sheet.show(*lines, _way("q", "quit", "exit code 3"))

    def on_resize(self, _event: events.Resize) -> None:
        self.call_after_refresh(self._show)

    def action_attach(self) -> None:
        """Attach, where somebody answers and the key was meant for this."""
        if self._answers is not None and self.meant():
            self.dismiss(True)

    def action_leave(self) -> None:
        """Leave; nothing was changed."""
        self.dismiss(False)


def _wrapped(text: str, room: int) -> list[Line]:
    return [line("  ", part) for part in fit.wrapped(clean(text, _TEXT_CHARS), room - 4)]


def _way(key: str, what: str, follows: str) -> Line:
    return line("  ", Span(f"{key:<4}", Tone.KEY), f" {what:<12}", Span(follows, Tone.DIM))
