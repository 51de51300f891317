"""A dialog that can do harm: what it hits, a reason, and two buttons of which the safe one waits.

The words and the deed are the subclass's.
"""

from __future__ import annotations

from typing import ClassVar, Generic

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from ksi_tui.client import SnapshotQuery
from ksi_tui.screens.base import KsiScreen
from ksi_tui.screens.dialog import REASON_LIMIT, Act, Answer, Box, Choice, Dialog, Sheet
from ksi_tui.screens.footer import key_hints
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.spans import Line, Span, Tone, line

NOTHING = SnapshotQuery(active_limit=0, queue_limit=0, lock_limit=0, pause_limit=0, trend_points=1)
"""A snapshot of totals alone."""
AROUND = 9
"""The lines on the screen that are not the dialog's question: bars, frame, buttons."""
BOX_WIDE, BOX_NARROW = 90, 74
"""The widths of the box, as the stylesheet has them."""
WIDE_FROM = 100
"""From this many cells on a dialog has its wide form."""


class Asked(VerticalScroll, can_focus=False):
    """What scrolls in a dialog, so that its buttons always stand on the screen."""


class Page(Dialog[Answer], Generic[Answer]):
    """A dialog with the way to it above, where it fills the screen, and its keys below."""

    CRUMB: ClassVar[str] = ""
    HINTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "scroll(-1)", show=False),
        Binding("pagedown", "scroll(1)", show=False),
    ]

    _faulty = False

    def compose(self) -> ComposeResult:
        yield Bar(id="way")
        with Box():
            yield from self.compose_box()
        yield Bar(id="keys")

    def compose_box(self) -> ComposeResult:
        """Yield what stands in the frame."""
        raise NotImplementedError

    def on_mount(self) -> None:
        super().on_mount()
        self._frame()

    def on_resize(self, _event: events.Resize) -> None:
        self._frame()

    def _frame(self) -> None:
        width = self.app.size.width
        below = next((s for s in reversed(self.app.screen_stack) if isinstance(s, KsiScreen)), None)
        parts = [*(below.crumbs().split(" > ") if below else ()), *self.crumb.split(" > ")]
        way = f" {' > '.join(dict.fromkeys(parts))}"
        at = self.moment
        clock = line(f"{formats.clock(at)} UTC " if at is not None else "")
        self.query_one("#way", Bar).show(fit.both_ends(line(clean(way, 400)), clock, width))
        keys = Line((Span(" "), *key_hints(*self.hints()).spans))
        self.query_one("#keys", Bar).show(fit.clip(keys, width))

        for asked in self.query(Asked):
            around = AROUND + (2 if self._faulty else 0)
            asked.styles.max_height = max(3, self.app.size.height - around)

    def hints(self) -> tuple[tuple[str, str], ...]:
        """Return keys and what they do, for the last line."""
        return self.HINTS

    def show_error(self, text: str) -> None:
        super().show_error(text)
        self._faulty = True
        self._frame()

    @property
    def crumb(self) -> str:
        """The dialog's own part of the breadcrumbs, clean: what it is about, and what it does."""
        return " > ".join(part for part in (self.subject, self.CRUMB) if part)

    @property
    def subject(self) -> str:
        """What the dialog is about, clean; empty where the screen below says that."""
        return ""

    @property
    def moment(self) -> float | None:
        """The engine's time now, in epoch seconds; None without an engine."""
        return self.host.client.snapshot(NOTHING).at if self.host.client is not None else None

    @property
    def wide(self) -> bool:
        """Whether the terminal has room for the wide form."""
        return self.app.size.width >= WIDE_FROM

    @property
    def text_width(self) -> int:
        """How many cells a line of the dialog may take."""
        return min(BOX_WIDE if self.wide else BOX_NARROW, self.app.size.width * 96 // 100) - 6

    @property
    def rows_room(self) -> int:
        """How many rows a table may have beside the other lines of a dialog."""
        return max(2, min(12, self.app.size.height - 21))

    def fact(self, what: str, text: str, tone: Tone = Tone.PLAIN) -> list[Line]:
        """Return a labelled sentence as lines, wrapped under its label; clean text only."""
        indent = " " if self.wide else ""
        room = self.text_width - 10
        first, *more = fit.wrapped(text, room) or [""]
        label = Span(f"{indent}{what:<10}", Tone.DIM)
        return [
            line(label, Span(first, tone)),
            *(line(" " * (len(indent) + 10), Span(rest, tone)) for rest in more),
        ]

    def action_scroll(self, pages: int) -> None:
        """Scroll what does not fit."""
        for scrolled in [*self.query(Asked), self.query_one("#box")]:
            by = pages * max(1, scrolled.size.height - 2)
            scrolled.scroll_relative(y=by, animate=False)


class Confirm(Page[Answer], Generic[Answer]):
    """Lines, a reason, and two buttons; the safe one is focused."""

    SAFE: ClassVar[str] = "Keep as it is"
    REASONED: ClassVar[bool] = True
    """Whether the engine keeps a reason for this deed."""
    HINTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("tab", "next"),
        ("left/right", "choose"),
        ("enter", "press"),
        ("esc", "leave it"),
    )
    AUTO_FOCUS = "#keep"

    def __init__(self) -> None:
        super().__init__()
        self._acting = False

    def hints(self) -> tuple[tuple[str, str], ...]:
        """Return the keys; before them that a reason can be typed at once."""
        return ((("type", "the reason"),) if self.REASONED else ()) + self.HINTS

    def compose_box(self) -> ComposeResult:
        with Asked(id="asked"):
            yield from self.compose_question()
        yield Sheet(id="error")
        if self.REASONED:
            with Horizontal(classes="field"):
                yield Static("Reason", classes="label", markup=False)
                yield Static("[", classes="edge", markup=False)
                yield Input(
                    id="reason",
                    max_length=REASON_LIMIT,
                    placeholder="for the record",
                    select_on_focus=False,
                )
                yield Static("]", classes="edge", markup=False)
                yield Static(Content(f"by {clean(self.host.ui.operator, 20)}"), id="by")
        with Horizontal(id="acts"):
            yield Act(self.SAFE, id="keep")
            yield Act("…", id="act")

    def compose_question(self) -> ComposeResult:
        """Yield what stands above the reason."""
        yield Sheet(id="question")

    def show(self, *lines: Line) -> None:
        """Show what is asked."""
        self.query_one("#question", Sheet).show(*lines)

    def label_act(self, label: str) -> None:
        """Say on the button what it does; clean text only."""
        self.query_one("#act", Act).relabel(label)

    @property
    def signed(self) -> dict[str, str]:
        """Who acts and why, as events carry it."""
        reason = self.reason
        return {"by": self.host.ui.operator} | ({"reason": reason} if reason else {})

    @property
    def reason(self) -> str | None:
        """The reason as typed, or None."""
        if not self.REASONED:
            return None
        return self.query_one("#reason", Input).value.strip() or None

    def field_of(self, event: events.Event) -> Input | None:
        """Take what is typed on a button as the reason: that is what one writes here."""
        if not self.REASONED or not isinstance(event, events.Key) or not event.is_printable:
            return None
        begins = (event.character or "").strip()
        if not begins or event.key in self._bindings.key_to_bindings:
            return None
        return self.query_one("#reason", Input)

    def on_key(self, event: events.Key) -> None:
        """Take as the reason, too, what was typed before a button or the field had the keys."""
        if not self.REASONED or not event.is_printable or not event.character:
            return
        field, on_button = self.query_one("#reason", Input), isinstance(self.focused, Act)
        if self.focused is field or (on_button and self.field_of(event) is not None):
            event.stop()
            event.prevent_default()
            self.set_focus(field)
            field.insert_text_at_cursor(event.character)

    @on(Choice.Entered)
    @on(Input.Submitted)
    def _entered(self, event: Choice.Entered | Input.Submitted) -> None:
        """Go on to the buttons: enter in a field does nothing else."""
        event.stop()
        self.set_focus(self.query_one("#keep"))
        self.ask_again()

    def on_act_pressed(self, event: Act.Pressed) -> None:
        """Close, or act; a press that was not meant does neither."""
        if not self.meant():
            return
        if event.act.id == "keep":
            self.action_keep()
        elif not self._acting:
            self._acting = True
            self.start(self._act, name="act")

    async def _act(self) -> None:
        try:
            await self.act()
        finally:
            self._acting = False
            self.ask_again()

    async def act(self) -> None:
        """Do what was confirmed."""
        raise NotImplementedError

    def on_click(self, event: events.Click) -> None:
        """Take no click for the screen below."""
        event.stop()
