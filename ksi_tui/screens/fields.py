"""The form's fields: a text of several lines, and a line that offers what fits.

What is offered, and what follows from a choice, is the form's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Static, TextArea

from ksi_tui.screens.dialog import Sheet
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.spans import Line, Span, Tone, line
from ksi_tui.widgets.standing import Working

_LINE_ENDS = re.compile("\r\n?")
_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
MOST_OFFERED = 4
"""How many of what fits are shown under a field at a time."""


def plain_text(text: str) -> str:
    """Return text without what acts on a terminal or cannot be sent: controls, half surrogates."""
    return _ACTING.sub("", _LINE_ENDS.sub("\n", text))


class Prompt(TextArea):
    """A text of several lines in which enter sends; ctrl+j and shift+enter begin a line.

    While `recalls`, up on its first line and down on its last ask for earlier prompts;
    ctrl+up and ctrl+down always do.
    """

    recalls = False

    class Sent(Message):
        """Enter was pressed."""

    class Recalled(Message):
        """An earlier prompt is wanted (`step` -1), or a later one (1)."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    def on_key(self, event: events.Key) -> None:
        """Take enter and its relatives before the editor does."""
        step = self._step(event.key)
        if event.key not in ("enter", "ctrl+j", "shift+enter") and not step:
            return
        event.stop()
        event.prevent_default()
        if step:
            self.post_message(self.Recalled(step))
        elif event.key == "enter":
            self.post_message(self.Sent())
        else:
            self.insert("\n")

    def _step(self, key: str) -> int:
        row, last = self.cursor_location[0], self.document.line_count - 1
        if key == "ctrl+up" or (key == "up" and row == 0 and (self.recalls or not self.text)):
            return -1
        if key == "ctrl+down" or (key == "down" and row == last and self.recalls):
            return 1
        return 0

    def on_paste(self, event: events.Paste) -> None:
        """Take what is pasted as text, whatever it holds."""
        event.stop()
        event.prevent_default()
        self.insert(plain_text(event.text))

    def fill(self, text: str) -> None:
        """Put a text in place of what is there, the cursor at its end."""
        self.text = plain_text(text)
        self.move_cursor(self.document.end)


class PickInput(Input):
    """The line of a `Picker`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "pick(1)", show=False),
        Binding("up", "pick(-1)", show=False),
    ]

    class Picked(Message):
        """Another one of what is offered is wanted."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    def action_pick(self, step: int) -> None:
        self.post_message(self.Picked(step))


class Picker(Working, Vertical):
    """A labelled line; typing filters, up and down choose, enter takes the chosen one.

    Without a choice enter is the form's. What stands right of the line is `tell`'s.
    """

    DEFAULT_CSS = """
    Picker { height: auto; }
    Picker PickInput { width: 30; }
    Picker .facts { width: 1fr; height: 1; padding: 0 0 0 1; }
    Picker Sheet { height: 0; margin: 0 0 0 10; }
    """

    class Typed(Message):
        """The line holds something else."""

    def __init__(self, label: str, value: str, without: str, *, id: str) -> None:
        super().__init__(id=id)
        self._label = label
        self._first = plain_text(value)
        self._without = without
        self._offered: Sequence[tuple[str, Line]] = ()
        self._chosen = -1
        self._more = 0

    def compose(self) -> ComposeResult:
        with Horizontal(classes="field"):
            yield Static(self._label, classes="label", markup=False)
            yield PickInput(
                self._first, placeholder=self._without, max_length=200, select_on_focus=False
            )
            yield Bar(classes="facts")
        yield Sheet()

    @property
    def line(self) -> PickInput:
        """Where one types."""
        return self.query_one(PickInput)

    @property
    def value(self) -> str:
        """What was typed or taken."""
        return self.line.value.strip()

    @property
    def list_width(self) -> int:
        """Cells for one of what is offered."""
        return max(20, self.size.width - 12)

    def tell(self, text: str, tone: Tone = Tone.DIM) -> None:
        """Say something right of the line; clean text only."""
        for bar in self.query(".facts").results(Bar):
            bar.show(line(Span(text, tone)))

    def offer(self, offered: Sequence[tuple[str, Line]]) -> None:
        """Offer values with their lines; what was chosen stays so while it is one of them."""
        chosen = self._offered[self._chosen][0] if self._chosen >= 0 else None
        values = [value for value, _ in offered]
        self._offered = offered
        self._chosen = values.index(chosen) if chosen in values else -1
        self._show()

    def _show(self) -> None:
        sheet = next(iter(self.query(Sheet)), None)
        if sheet is None:  # the form is being taken down
            return
        if not self.line.has_focus or not self._offered:
            sheet.show()
            return
        first = max(0, min(self._chosen - MOST_OFFERED + 1, len(self._offered) - MOST_OFFERED))
        shown = self._offered[first : first + MOST_OFFERED]
        lines = [
            Line(
                (Span("► " if first + index == self._chosen else "  ", Tone.KEY), *each.spans),
                cursor=first + index == self._chosen,
            )
            for index, (_, each) in enumerate(shown)
        ]
        left = len(self._offered) - first - len(shown)
        if left:
            lines[-1] = Line(
                (*lines[-1].spans, Span(f"  +{left} more", Tone.DIM)), lines[-1].cursor
            )
        sheet.show(*lines)

    @on(PickInput.Picked)
    def _pick(self, event: PickInput.Picked) -> None:
        event.stop()
        if self._offered:
            self._chosen = max(-1, min(len(self._offered) - 1, self._chosen + event.step))
            self._show()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        if self._chosen >= 0:
            event.stop()
            self.take(self._offered[self._chosen][0])

    def take(self, value: str) -> None:
        """Put a value on the line."""
        self._chosen = -1
        self.line.value = value
        self.line.cursor_position = len(value)

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self._chosen = -1
        self.typed()
        self.post_message(self.Typed())

    @on(events.Click)
    def _clicked(self, event: events.Click) -> None:
        sheet = self.query_one(Sheet)
        row = event.screen_y - sheet.region.y
        if event.widget is sheet and 0 <= row < len(self._offered):
            first = max(0, min(self._chosen - MOST_OFFERED + 1, len(self._offered) - MOST_OFFERED))
            self.take(self._offered[first + row][0])

    def typed(self) -> None:
        """Offer what fits to what the line holds now."""
        raise NotImplementedError

    def on_descendant_focus(self) -> None:
        self.typed()
        self.call_after_refresh(self._show)

    def on_descendant_blur(self) -> None:
        self.call_after_refresh(self._show)
