"""The live log of what the engine does; scrolled back, it goes on with the journal."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from textual import on
from textual.app import ComposeResult

from ksi_tui.actions import Where
from ksi_tui.client import SnapshotQuery
from ksi_tui.engine.errors import FilterError
from ksi_tui.screens.base import Target, screen_bindings
from ksi_tui.screens.event_filter import EventBook, EventFilter, read
from ksi_tui.screens.finding import Finding
from ksi_tui.screens.host import ask
from ksi_tui.screens.past_events import PastEvents
from ksi_tui.screens.shown_events import ShownEvents
from ksi_tui.screens.sub import SubScreen
from ksi_tui.widgets import event_rows, formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.event_rows import EVENTS, Entry
from ksi_tui.widgets.filter_bar import Book
from ksi_tui.widgets.spans import Line, Span, Tone, line
from ksi_tui.widgets.table import LiveTable

_CLOCK_ONLY = SnapshotQuery(
    active_limit=0, queue_limit=0, lock_limit=0, pause_limit=0, trend_points=1
)
_SHOWN_CHARS = 200


class EventsScreen(Finding, SubScreen):
    """Shows events, the newest on top. Off the top it stands still until it is back there."""

    WHERE = Where.EVENTS
    BINDINGS = screen_bindings(Where.EVENTS)
    CSS_PATH = Path(__file__).with_suffix(".tcss")
    AUTO_FOCUS = "#events"

    def __init__(self, pattern: str = "*") -> None:
        super().__init__()
        self._typed = self._before = "" if pattern == "*" else pattern
        self._filter = EventFilter()
        self._held = ShownEvents(self.host.events, self._filter)

    def compose_body(self) -> ComposeResult:
        yield LiveTable("Events", EVENTS, id="events", clock=self.host.clock)

    def on_mount(self) -> None:
        """Show what there is."""
        self._fit()
        self._take_filter(self._typed)

    @property
    def table(self) -> LiveTable:
        """The log."""
        return self.query_one("#events", LiveTable)

    # --- what is shown ---------------------------------------------------------------

    @property
    def _at_top(self) -> bool:
        newest = self._held.newest
        return newest is None or self.table.cursor_key in (None, newest)

    def read(self) -> None:
        """Take in what is new, unless one has gone back in time."""
        if self.client is not None:
            self.at = self.client.snapshot(_CLOCK_ONLY).at
        if self._at_top and self._held.new:
            self._held.take_in()
            self.table.to_top()

    def _begin_again(self) -> None:
        """Build the list anew, for another filter; older entries are asked for when needed."""
        self._held = ShownEvents(self.host.events, self._filter)
        self.table.to_top()
        self.tick()

    def show_body(self) -> None:
        """Show the window of the log that is in view."""
        table = self.table
        first, limit = table.window()
        total = len(self._held)
        found = (self._held.entry(index) for index in range(first, min(first + limit, total)))
        rows = [event_rows.row_of(entry) for entry in found if entry is not None]
        table.set_rows(rows, offset=min(first, total), total=total)
        table.set_head(self._head(total), self._note())
        table.set_empty(*self._empty())
        table.redraw()
        under = self.entry()
        self.show_hidden(event_rows.hidden(under, table.columns_shown) if under else "")
        if first + limit >= total:
            self._go_back()

    def _go_back(self) -> None:
        if self.client is not None and self._held.past.wants_more(self.host.clock()):
            self.start(partial(self._read_past, self._held.past), name="journal", group="read")

    async def _read_past(self, past: PastEvents) -> None:
        """Read on; where the cursor waited at the end, what was found comes into sight."""
        held = len(past.entries)
        await past.go_back(self._ask_journal)
        last = self._held.entry(len(self._held) - len(past.entries) + held - 1)
        if past is self._held.past and last is not None and last.key == self.table.cursor_key:
            self.show_body()
            self.table.show_below()

    async def _ask_journal(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        return await ask(self.host, "system:journal", **data)

    def _head(self, total: int) -> Line:
        spans = [Span(f"Events  {formats.count(total)}")]
        if self._typed:
            spans.append(Span(f"  filter: {clean(self._typed, _SHOWN_CHARS)}", Tone.KEY))
        return line(*spans)

    def _note(self) -> Line:
        past, parts = self._held.past, []
        if past.error is not None:
            return line(Span(f"! journal: {past.error}", Tone.BAD))
        if not self._at_top and self._held.new:
            parts.append(
                Span(f"{formats.count(self._held.new)} new above, g goes there", Tone.WARN)
            )
        if past.asking:
            parts.append(Span("reading…", Tone.BUSY))
        elif past.full:
            parts.append(Span("further back: filter", Tone.DIM))
        elif not past.more and past.entries:
            parts.append(Span("back to the journal's begin", Tone.DIM))
        gaps = [Span(" · ")] * len(parts)
        return Line(tuple(span for pair in zip(gaps, parts, strict=True) for span in pair)[1:])

    def _empty(self) -> tuple[Line, ...]:
        if self._held.past.asking:
            return Line(), line(Span("  reading…", Tone.DIM))
        if self.client is None:
            said = clean(self.host.fault or "the engine is starting", _SHOWN_CHARS)
            return Line(), line(Span(f"  {said}", Tone.DIM))
        if self._typed:
            return (
                Line(),
                line("  Nothing fits ", Span(clean(self._typed, _SHOWN_CHARS), Tone.KEY)),
                Line(),
                line(Span("  /     ", Tone.KEY), "change the filter"),
                line(Span("  esc   ", Tone.KEY), "clears it"),
            )
        return Line(), line("  Nothing has happened yet.")

    @on(LiveTable.WindowMoved)
    def _window_moved(self) -> None:
        self.show()

    @on(LiveTable.Opened)
    def _row_opened(self) -> None:
        self.action_open()

    # --- the filter ------------------------------------------------------------------

    @property
    def filter_book(self) -> Book:
        """Take patterns beside the filters of other screens."""
        return EventBook(self.host.filters)

    def filter_on(self) -> str:
        """Return the filter that is on, to be changed."""
        self._before = self._typed
        return self._typed

    def filter_typed(self, text: str, written_out: str) -> None:
        """Show what fits while it is typed."""
        self._take_filter(text, written_out)

    def filter_kept(self, text: str, written_out: str) -> None:
        """Keep it."""
        self._take_filter(text, written_out)

    def filter_left(self) -> None:
        """Bring back the one before."""
        self._take_filter(self._before)

    def _take_filter(self, text: str, written_out: str | None = None) -> None:
        try:
            book = EventBook(self.host.filters)
            self._filter = read(book.written_out(text) if written_out is None else written_out)
        except FilterError as error:
            self._filter, text = EventFilter(), ""
            self.say(f"at {error.position + 1}: {error.message}", Tone.BAD)
        self._typed = text.strip()
        self._begin_again()

    def action_back(self) -> None:
        """Leave the bar, clear the filter, or return to where this was opened."""
        if self.filtering:
            self.call_later(self.on_filter_bar_left)
        elif self._typed:
            self._take_filter("")
        else:
            super().action_back()

    # --- what the keys act on --------------------------------------------------------

    def entry(self) -> Entry | None:
        """Return the entry under the cursor."""
        key = self.table.cursor_key
        first, limit = self.table.window()
        found = (self._held.entry(index) for index in range(first, first + limit))
        return next((entry for entry in found if entry is not None and entry.key == key), None)

    def target(self) -> Target | None:
        """Return what the entry under the cursor is about."""
        entry = self.entry()
        if entry is None or not (entry.request_id or entry.session_id or entry.provider):
            return None
        about_provider = not (entry.request_id or entry.session_id)
        return Target(
            request_id=entry.request_id,
            session_id=entry.session_id,
            provider=entry.provider if about_provider else None,
        )

    def applies(self, action_id: str) -> bool:
        """Return whether an action does something here and now."""
        if action_id in ("open", "copy"):
            return self.entry() is not None
        return super().applies(action_id)

    def action_copy(self) -> None:
        """Copy the entry under the cursor as JSON."""
        entry = self.entry()
        if entry is not None:
            self.copy_out(event_rows.as_json(entry), "the event")

    def action_first(self) -> None:
        """Go to the newest, and on with it."""
        self.table.to_top()
        self.tick()
