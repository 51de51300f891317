"""A bordered pane: title on the left of its upper edge, a note on the right.

The frame is drawn as lines of the pane itself, since a stock border has no note on the
right and parses its title as markup. `TextPane` shows lines; tables build on `Pane`.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual import events

from ksi_tui.widgets import fit
from ksi_tui.widgets.lines import LineWidget
from ksi_tui.widgets.spans import Line, Span, Tone, line


class Pane(LineWidget, can_focus=True):
    """A frame around the body that a subclass composes."""

    def __init__(self, title: str = "", *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._title: Line = line(title)
        self._note: Line = line()
        self._calm: Line = line()

    def set_calm(self, said: Line) -> None:
        """Set what follows the title where the pane is folded to one line."""
        self._calm = said

    def set_head(self, title: Line | str, note: Line | str = "") -> None:
        """Set what the upper edge says; it is painted with the next `redraw`."""
        self._title = line(title) if isinstance(title, str) else title
        self._note = line(note) if isinstance(note, str) else note

    @property
    def body_height(self) -> int:
        """Lines between the edges."""
        return max(0, self._height - 2)

    def state(self) -> object:
        """Return what frame and body are composed of."""
        return self._title, self._note, self._calm, self.body_state()

    def body_state(self) -> object:
        """Return what the body is composed of."""
        raise NotImplementedError

    def body_at(self, y: int, width: int) -> Line:
        """Return body line `y` for `width` cells between the edges."""
        raise NotImplementedError

    def line_at(self, y: int, width: int) -> Line:
        """Return an edge or a framed body line."""
        edge = Tone.FOCUS if self.has_focus else Tone.FRAME
        if self._height == 1:
            tone = Tone.FOCUS if self.has_focus else Tone.PLAIN
            return fit.clip(line(Span(f" {self._title.text}  ", tone), *self._calm.spans), width)
        if y == 0:
            return self._upper_edge(width, edge)
        if y == self._height - 1:
            return line(Span("└" + "─" * max(0, width - 2) + "┘", edge))
        body = fit.clip(self.body_at(y - 1, width - 2), width - 2)
        gap = Span(" " * (width - 2 - fit.width_of(body)))
        return Line((Span("│", edge), *body.spans, gap, Span("│", edge)), body.cursor)

    def _upper_edge(self, width: int, edge: Tone) -> Line:
        title = fit.clip(self._title, max(0, width - 6))
        used = fit.width_of(title)
        note_room = width - used - 10
        note = fit.clip(self._note, note_room) if note_room > 4 else Line()
        noted = fit.width_of(note)
        tone = Tone.FOCUS if self.has_focus else Tone.STRONG
        spans = [Span(s.text, tone if s.tone is Tone.PLAIN else s.tone) for s in title.spans]
        head = [Span("┌─ ", edge), *spans, Span(" ", edge)] if used else [Span("┌─", edge)]
        start = used + 4 if used else 2
        tail = [Span(" ", edge), *_dim(note), Span(" ─┐", edge)] if noted else [Span("┐", edge)]
        stop = noted + 4 if noted else 1
        return Line((*head, Span("─" * max(0, width - start - stop), edge), *tail))

    def on_focus(self, _event: events.Focus) -> None:
        self.redraw()

    def on_blur(self, _event: events.Blur) -> None:
        self.redraw()


def _dim(note: Line) -> list[Span]:
    return [Span(s.text, Tone.DIM if s.tone is Tone.PLAIN else s.tone) for s in note.spans]


class TextPane(Pane):
    """Lines in a frame that can be scrolled, and that may follow its end."""

    def __init__(self, title: str = "", *, id: str | None = None, follow: bool = False) -> None:
        super().__init__(title, id=id)
        self._lines: tuple[Line, ...] = ()
        self._follow = follow

    def show(self, lines: Sequence[Line]) -> None:
        """Show the given lines; a following pane that stood at its end stays there."""
        at_end = self.scroll_y >= self.max_scroll_y
        self._lines = tuple(lines)
        self.set_extent(len(self._lines) + 2)
        if self._follow and at_end and self.scroll_y < self.max_scroll_y:
            self.scroll_line(self.max_scroll_y)
        self.redraw()

    def body_state(self) -> object:
        """Return the lines."""
        return self._lines

    def body_at(self, y: int, width: int) -> Line:
        """Return the line that scrolling has brought to `y`, one cell off the edge."""
        index = y + int(self.scroll_y)
        if index >= len(self._lines):
            return Line()
        shown = self._lines[index]
        return Line((Span(" "), *fit.clip(shown, width - 2).spans), shown.cursor)

    @property
    def text_width(self) -> int:
        """Cells that a line of text may take."""
        return max(1, self.size.width - 4)

    @property
    def plain(self) -> str:
        """All lines without their tones."""
        return "\n".join(shown.text for shown in self._lines)
