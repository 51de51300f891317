"""What every dialog is made of: a box, buttons that say what they do, a guard of enter.

What is asked and what follows are the dialogs' own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Generic, TypeVar, cast

from rich.cells import cell_len
from textual import events
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widget import Widget

from ksi_tui.screens.host import Host
from ksi_tui.widgets import fit
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.spans import Line, Span, Tone, line
from ksi_tui.widgets.standing import Working, on_top

GUARD_S = 0.4
"""An enter this soon after the dialog opened, or after the enter before, does nothing."""
REASON_LIMIT = 300
_WIDE_GAP, _GAP = 4, 2
NARROW_OR_WIDE = [(0, "-narrow"), (100, "-wide")]

Answer = TypeVar("Answer")


class EnterGuard:
    """Tells a meant enter from one that was still on its way or repeats by itself."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._quiet_since = clock()

    def pressed(self) -> bool:
        """Return whether this press counts; the next one is measured from it in any case."""
        now = self._clock()
        meant = now - self._quiet_since >= GUARD_S
        self._quiet_since = now
        return meant

    def restart(self) -> None:
        """Ask for the same quiet again: what a press would do has just changed."""
        self._quiet_since = self._clock()


class Act(Widget, can_focus=True):
    """A button of one line, its label in brackets."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "press", show=False),
        Binding("left", "app.focus_previous", show=False),
        Binding("right", "app.focus_next", show=False),
    ]
    DEFAULT_CSS = """
    Act { width: auto; height: 1; margin: 0 4; }
    Act:focus { background: $primary; color: $background; text-style: bold; }
    Act:focus:ansi { color: ansi_black; }
    """

    class Pressed(Message):
        """A button was pressed, by key or mouse."""

        def __init__(self, act: Act) -> None:
            super().__init__()
            self.act = act

        @property
        def control(self) -> Act:
            """The button."""
            return self.act

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

    def _forward_event(self, event: events.Event) -> None:
        """Hand a letter on at once: coming up to the dialog, it would be overtaken."""
        field = self.screen.field_of(event) if isinstance(self.screen, Dialog) else None
        if field is None:
            super()._forward_event(event)
        else:
            self.screen.set_focus(field)
            field._forward_event(event)

    def on_click(self) -> None:
        self.action_press()


class Choice(Widget, can_focus=True):
    """One of several, in one line: `( ) this  (•) that`; left and right choose.

    Where they don't fit, the chosen one alone stands there, with how many there are.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", show=False),
        Binding("right,space", "step(1)", show=False),
        Binding("enter", "enter", show=False),
    ]
    DEFAULT_CSS = "Choice:focus { text-style: bold; color: $accent; }"

    class Chosen(Message):
        """Another one was chosen; `index` counts from 0."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    class Entered(Message):
        """Enter was pressed: the choice stands."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._options: Sequence[str] = ()
        self.index = 0

    def offer(self, options: Sequence[str], index: int) -> None:
        """Offer clean options with one of them chosen."""
        self._options, self.index = options, index
        self.refresh()

    def render(self) -> Content:
        return Content(self._text())

    def _text(self) -> str:
        marks = self._marks()
        for gap in (_WIDE_GAP, _GAP):
            shown = (" " * gap).join(marks)
            if cell_len(shown) <= self.size.width:
                return shown
        place = f"  ({self.index + 1} of {len(marks)}, left/right)"
        return fit.end(marks[self.index], self.size.width - cell_len(place)) + place

    def _marks(self) -> list[str]:
        return [f"({'•' if i == self.index else ' '}) {o}" for i, o in enumerate(self._options)]

    def action_step(self, step: int) -> None:
        if len(self._options) > 1:
            self.index = (self.index + step) % len(self._options)
            self.refresh()
            self.post_message(self.Chosen(self.index))

    def action_enter(self) -> None:
        self.post_message(self.Entered())

    def on_click(self, event: events.Click) -> None:
        start, text = 0, self._text()
        for index, mark in enumerate(self._marks()):
            found = text.find(mark, start)
            start = found + len(mark)
            if 0 <= found <= event.x < start and index != self.index:
                self.action_step(index - self.index)
                return


class Sheet(Bar):
    """Lines of a dialog; the sheet is as high as they are many."""

    def show(self, *lines: Line) -> None:
        """Show the lines."""
        height = self.styles.inline.height
        if height is None or height.value != len(lines):
            self.styles.height = len(lines)
        super().show(*lines)


class Box(Vertical):
    """The frame of a dialog: its upper edge is written anew whenever it has another width.

    The first time is when it is laid out, and what a dialog has asked for may be there before.
    """

    def __init__(self, *, classes: str | None = None) -> None:
        super().__init__(id="box", classes=classes)

    def on_resize(self) -> None:
        if isinstance(self.screen, Dialog):
            self.screen.head_again()


class Asking(Working, ModalScreen[Answer], Generic[Answer]):
    """What asks something over a screen and is answered once."""

    def dismiss(self, result: Answer | None = None) -> AwaitComplete:
        """Close with an answer. What was left by then closes nothing else in its place."""
        return super().dismiss(result) if on_top(self) else AwaitComplete(asyncio.sleep(0))


class Dialog(Asking[Answer], Generic[Answer]):
    """A framed dialog over the screen that asked."""

    CSS_PATH = Path(__file__).with_suffix(".tcss")
    HORIZONTAL_BREAKPOINTS = NARROW_OR_WIDE
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "keep", show=False),
        Binding("ctrl+z", "app.suspend_process", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._guard: EnterGuard | None = None
        self._heading = ("", "")

    @property
    def host(self) -> Host:
        """The app, as far as screens know it."""
        return cast(Host, self.app)

    def set_heading(self, title: str, note: str = "") -> None:
        """Write the box's upper edge, a note at its right end; clean text only."""
        self._heading = title, note
        box = self.query_one("#box")
        title = fit.end(title, max(1, box.size.width - cell_len(note) - 8))
        gap = box.size.width - cell_len(title) - cell_len(note) - 4
        edge = f" {'─' * gap} " if note and gap > 0 else " " if note else ""
        box.border_title = Content.assemble(title, (edge, "$frame"), note)

    def head_again(self) -> None:
        """Fit the upper edge to the box as it now is."""
        self.set_heading(*self._heading)

    def on_mount(self) -> None:
        self._guard = EnterGuard(self.host.clock)

    def meant(self) -> bool:
        """Return whether a press of a button that acts counts now."""
        return self._guard is not None and self._guard.pressed()

    def ask_again(self) -> None:
        """Take no press for a moment: what is asked has just changed."""
        if self._guard is not None:
            self._guard.restart()

    def field_of(self, event: events.Event) -> Widget | None:  # noqa: ARG002
        """Return the field that takes what is typed on a button; None where none does."""
        return None

    def show_error(self, text: str) -> None:
        """Say in place what went wrong; nothing typed is lost."""
        self.query_one("#error", Sheet).show(
            line(Span(f" ! {clean(text, REASON_LIMIT)}", Tone.BAD)), Line()
        )

    def action_keep(self) -> None:
        """Leave everything as it is."""
        self.dismiss(None)
