"""Base of every live widget: lines of spans on the line API, repainted line by line.

An update composes the visible lines anew and repaints those that differ, without a
layout pass. Measured against `Static.update` with layout at 10 Hz: 3 ms of loop stall
at p99 where that takes 10. No markup is parsed anywhere on this path. What the lines
say is the subclasses' business.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.cache import LRUCache
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from ksi_tui.widgets import fit
from ksi_tui.widgets.spans import Line, Tone
from ksi_tui.widgets.tones import cursor_style, tone_styles

WHEEL_LINES = 3


class LineWidget(ScrollView, can_focus=False):
    """A widget made of lines; subclasses say what stands in each visible one."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    LineWidget { overflow: hidden; scrollbar-size: 0 0; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._drawn: list[Line] = []
        self._drawn_of: object = None
        self._height = 0
        self._strips: LRUCache[tuple[Line, int], Strip] = LRUCache(1024)
        self._tones: Mapping[Tone, Style] | None = None

    def line_at(self, y: int, width: int) -> Line:
        """Return what stands in visible line `y` (0 is the top) of `width` cells."""
        raise NotImplementedError

    def state(self) -> object:
        """Return what the lines are composed of, to be compared with what it was."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Compose the visible lines and repaint those that changed; nothing when none can have."""
        before = self._drawn
        if not self._compose_lines():
            return
        width = self.size.width
        changed = [
            Region(0, y, width, 1)
            for y, now in enumerate(self._drawn)
            if y >= len(before) or before[y] != now
        ]
        if changed:
            self.refresh(*changed)

    def _compose_lines(self) -> bool:
        """Compose the visible lines anew; return False when none can have changed."""
        width, height = size = self.size
        if not width or not height:
            return False
        drawn_of = (size, int(self.scroll_y), self.has_focus, self.state())
        if drawn_of == self._drawn_of:
            return False
        self._drawn_of, self._height = drawn_of, height
        self._drawn = [self.line_at(y, width) for y in range(height)]
        return True

    def set_extent(self, height: int) -> None:
        """Say how many lines could be scrolled through, without a layout pass."""
        if height != self.virtual_size.height:
            self.set_reactive(Widget.virtual_size, Size(self.size.width, height))
            if self.scroll_y > self.max_scroll_y:
                self.scroll_line(self.max_scroll_y)

    def scroll_line(self, y: int) -> None:
        """Bring line `y` to the top, as far as there are lines."""
        self.scroll_to(y=max(0, min(y, self.max_scroll_y)), animate=False, force=True)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll by the wheel; there is no scroll bar that would."""
        event.stop()
        self.scroll_line(int(self.scroll_y) + WHEEL_LINES)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll by the wheel."""
        event.stop()
        self.scroll_line(int(self.scroll_y) - WHEEL_LINES)

    def render_line(self, y: int) -> Strip:
        """Return visible line `y` as a strip; equal lines are built once."""
        width = self.size.width
        if self._drawn_of is None:  # painted for the first time, before anything was told to draw
            self._compose_lines()
        shown = self._drawn[y] if y < len(self._drawn) else Line()
        key = (shown, width)
        strip = self._strips.get(key)
        if strip is None:
            strip = self._strips[key] = self._strip(shown, width)
        return strip

    def _strip(self, shown: Line, width: int) -> Strip:
        base = self.rich_style
        if shown.cursor:
            base += cursor_style(self.app.theme_variables)
        if self._tones is None:
            self._tones = tone_styles(self.app.theme_variables)
        tones = self._tones
        segments = [
            Segment(span.text, base + tones[span.tone]) for span in shown.spans if span.text
        ]
        used = sum(cell_len(segment.text) for segment in segments)
        return Strip(segments, used).adjust_cell_length(width, base)

    def notify_style_update(self) -> None:
        """Forget the colours of the former theme."""
        super().notify_style_update()
        self._strips.clear()
        self._tones = None

    def on_resize(self, _event: events.Resize) -> None:
        self._drawn, self._drawn_of = [], None
        self.redraw()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.redraw()


class Bar(LineWidget):
    """A few fixed lines without a frame: header, tabs, footer."""

    DEFAULT_CSS = """
    Bar { height: 1; width: 1fr; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: tuple[Line, ...] = ()

    def show(self, *lines: Line) -> None:
        """Show the given lines, cut to the width."""
        self._lines = lines
        self.redraw()

    def state(self) -> object:
        """Return the lines."""
        return self._lines

    def line_at(self, y: int, width: int) -> Line:
        """Return the given line, cut."""
        return fit.clip(self._lines[y], width) if y < len(self._lines) else Line()
