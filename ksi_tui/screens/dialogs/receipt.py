"""The page that tells what a deed did; it stays until it is closed, and under `y` after that."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ksi_tui.screens.dialog import Sheet
from ksi_tui.screens.dialogs.confirm import Page
from ksi_tui.screens.dialogs.stakes import named
from ksi_tui.screens.done import Receipt
from ksi_tui.screens.footer import key_hints
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.spans import Line, Span, Tone, line

_REFRESH_S = 0.2


class ReceiptPage(Page[str]):
    """Shows a receipt. Answers "undo" when it is to be taken back, else None."""

    HINTS = (
        ("u", "undo"),
        ("y", "copy"),
        ("enter", "partial text"),
        ("esc", "close"),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", show=False),
        Binding("u", "undo", show=False),
        Binding("enter", "text", show=False),
        Binding("q", "keep", show=False),
        Binding("up,k", "scroll_text(-1)", show=False),
        Binding("down,j", "scroll_text(1)", show=False),
    ]

    def __init__(self, receipt: Receipt) -> None:
        super().__init__()
        self._receipt = receipt
        self._text: int | None = None
        self._note = ""

    def compose_box(self) -> ComposeResult:
        yield Sheet(id="question")

    def on_mount(self) -> None:
        super().on_mount()
        self.set_interval(_REFRESH_S, self._show, name="receipt")
        self._show()

    @property
    def crumb(self) -> str:
        """The receipt's name."""
        return f"receipt {self._receipt.id}"

    # --- the picture -----------------------------------------------------------------

    def _show(self) -> None:
        if not self.stands:
            return
        receipt = self._receipt
        took = f"took {receipt.took_s:.2f} s"
        if (receipt.heading, took) != self._heading:
            self.set_heading(receipt.heading, took)
        width = self.text_width
        body = self._text_lines(width)
        if body is None:
            body = receipt.lines(self.host.clock(), self.rows_room, width)
        self.query_one("#question", Sheet).show(*body, Line(), *self._below())

    def _below(self) -> list[Line]:
        keys = [("y", "copy for the ticket")]
        left = self._left_s()
        if left > 0:
            keys.insert(0, ("u", f"undo ({formats.countdown(left)})"))
        if self._texts():
            keys.append(("enter", "text" if self._text is None else "next"))
        hints = key_hints(*keys, ("esc", "close"))
        note = [line(Span(f" {self._note}", Tone.DIM))] if self._note else []
        return [Line((Span(" "), *hints.spans)), *note]

    def _left_s(self) -> float:
        deed = self._receipt.deed
        return self.host.done.left_s(deed) if deed is not None else 0.0

    # --- the partial text --------------------------------------------------------------

    def _texts(self) -> list[tuple[str, str]]:
        return [] if self.host.ui.text == "never" else self._receipt.texts()

    def _text_lines(self, width: int) -> list[Line] | None:
        texts = self._texts()
        if self._text is None or self._text >= len(texts):
            return None
        request_id, text = texts[self._text]
        head = f" {named(request_id)}: what had arrived, {len(text):,} characters"
        return [
            line(Span(head, Tone.DIM)),
            Line(),
            *(line(f" {each}") for each in fit.wrapped(text, width)),
        ]

    def action_text(self) -> None:
        """Show what had arrived of one after the other, then the receipt again."""
        if not self.meant():
            return
        texts = self._texts()
        if not texts:
            self._note = self._why_no_text()
        nth = 0 if self._text is None else self._text + 1
        self._text = nth if nth < len(texts) else None
        self._show()

    def _why_no_text(self) -> str:
        if self.host.ui.text == "never":
            return 'texts are hidden: ui.text is "never"'
        return "no text had arrived of any of them"

    def action_scroll_text(self, lines: int) -> None:
        """Scroll by lines."""
        self.query_one("#box").scroll_relative(y=lines, animate=False)

    # --- what can be done with it --------------------------------------------------------

    def action_copy(self) -> None:
        """Copy it as plain sentences."""
        self.start(self._copy, name="copy", group="copy", exclusive=True)

    async def _copy(self) -> None:
        self._note = f"as plain sentences: {await self.host.copy(self._receipt.ticket())}"
        self._show()

    def action_undo(self) -> None:
        """Take it back, while that can be done."""
        if self._left_s() > 0:
            self.dismiss("undo")
        else:
            self._note = "this can no longer be taken back"
            self._show()
