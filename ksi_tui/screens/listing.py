"""A list of requests that is paged from the engine: filter, order, marks, and the row's story.

The base of the screens that list requests. Which requests, and how a row looks, is theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from textual import events, on
from textual.app import ComposeResult

from ksi_tui.client import SnapshotQuery
from ksi_tui.engine.errors import FilterError
from ksi_tui.engine.views import Live
from ksi_tui.screens import later, listed
from ksi_tui.screens.base import ERROR_LIMIT, Target, ask, refusal
from ksi_tui.screens.finding import Finding
from ksi_tui.screens.search import QUIET_S, REFRESH_S, Page, Query, Search
from ksi_tui.screens.sub import SubScreen
from ksi_tui.widgets import request_rows
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.request_rows import ORDERS
from ksi_tui.widgets.spans import Tone
from ksi_tui.widgets.table import Column, LiveTable, Row

_MARGIN = 50
_ALL_EVERY_S = 30.0
Chosen = tuple[str, bool]


class ListingScreen(Finding, SubScreen):
    """A list of requests. `SCOPE` is the filter that is always on, a person's comes on top."""

    TITLE_WORD: ClassVar[str]
    SCOPE: ClassVar[str] = ""
    COLUMNS: ClassVar[tuple[Column, ...]]
    ORDER: ClassVar[Chosen]
    FILTER_BAR_BEFORE = "#row"
    CSS_PATH = Path(__file__).with_suffix(".tcss")
    AUTO_FOCUS = "#requests"

    def __init__(self, filter_text: str = "", order: Chosen | None = None) -> None:
        super().__init__()
        self._opened_with = self._typed = self._before = filter_text
        self._filter = filter_text
        self._order = order or self.ORDER
        self._search = Search(self._ask_list, self._now)
        self._everything = Search(self._ask_list, self._now)
        self._shown: Page | None = None
        self._shown_at: float | None = None
        self._live: Live | None = None

    def _now(self) -> float:
        return self.host.clock()

    async def _ask_list(self, data: dict[str, Any]) -> dict[str, Any]:
        return await ask(self.host, "completion:requests", **data)

    def compose_body(self) -> ComposeResult:
        yield LiveTable(self.TITLE_WORD, self.COLUMNS, id="requests", clock=self.host.clock)
        yield Bar(id="row")

    def on_mount(self) -> None:
        """Write out what the list was opened with, then show it."""
        self._fit()
        self._bring_back(self._opened_with)

    @property
    def table(self) -> LiveTable:
        """The list."""
        return self.query_one("#requests", LiveTable)

    def row_of(self, found: Mapping[str, Any]) -> Row:
        """Return the row of a request."""
        raise NotImplementedError

    # --- what is asked ---------------------------------------------------------------

    def read(self) -> None:
        """Look at the row under the cursor, and ask for rows where it is time to."""
        if self.client is None:
            return
        found = self.found()
        watched = self.table.cursor_key if found and request_rows.unfinished(found) else None
        query = SnapshotQuery(
            active_limit=0,
            queue_limit=0,
            lock_limit=0,
            pause_limit=0,
            trend_points=1,
            request_id=watched,
        )
        snapshot = self.client.snapshot(query)
        self._live, self.at = snapshot.live, snapshot.at
        self._look_for_rows()

    def _look_for_rows(self) -> None:
        page = self._search.page
        alive = page is not None and any(map(request_rows.unfinished, page.rows))
        if self._search.want(self._query(), every_s=REFRESH_S if alive else QUIET_S):
            self.run_worker(self._search.run(), name="search", group="read")
        every = Query(filter=self.SCOPE, limit=1)
        if self._filter and self._everything.want(every, every_s=_ALL_EVERY_S):
            self.run_worker(self._everything.run(), name="count", group="read")

    def _query(self) -> Query:
        column, largest_first = self._order
        order = ORDERS[column]
        query = Query(
            filter=f"{self.SCOPE} {self._filter}".strip(),
            sort=order.sort,
            descending=largest_first is not order.inverted,
        )
        first, limit = self.table.window(0)
        page = self._search.page
        if page is None or not query.same_list(page.query):
            return replace(query, offset=0, limit=limit + _MARGIN)
        last = min(first + limit, page.total)
        if page.offset <= first and last <= page.offset + len(page.rows):
            return replace(query, offset=page.query.offset, limit=page.query.limit)
        return replace(query, offset=max(0, first - _MARGIN), limit=limit + 2 * _MARGIN)

    @on(LiveTable.WindowMoved)
    def _window_moved(self) -> None:
        if self.client is not None and not self.frozen:
            self._look_for_rows()

    # --- the picture -----------------------------------------------------------------

    def show_body(self) -> None:
        """Show the last answer, and what is asked for beside it."""
        table, page = self.table, self._search.page
        if page is not None and page is not self._shown:
            self._show_page(page)
        column, largest_first = self._order
        table.set_order(column, descending=largest_first)
        heading = self._heading()
        table.set_empty(*listed.empty(heading, self._waiting()))
        table.set_head(*listed.head(heading))
        table.redraw()
        self._show_row()

    def _show_page(self, page: Page) -> None:
        table = self.table
        other = self._shown is not None and not page.query.same_list(self._shown.query)
        self._shown = page
        table.set_rows(
            [self.row_of(found) for found in page.rows], offset=page.offset, total=page.total
        )
        if other:
            table.move_to(0)

    def _show_row(self) -> None:
        found = self.found()
        width = self.size.width
        shown = listed.story(found, self._live, width) if found else []
        self.query_one("#row", Bar).show(*shown)
        self.show_hidden(request_rows.hidden(found, self.table.columns_shown) if found else "")

    def found(self) -> Mapping[str, Any] | None:
        """Return the request under the cursor, as the engine last told it."""
        key = self.table.cursor_key
        rows = self._shown.rows if self._shown else ()
        return next((found for found in rows if found["request_id"] == key), None)

    def _heading(self) -> listed.Heading:
        page, every = self._search.page, self._everything.page
        error = self._search.error
        return listed.Heading(
            title=self.TITLE_WORD,
            total=page.total if page else None,
            everything=every.total if every else None,
            filter_text=self._typed,
            marked=len(self.table.marked),
            searching=error is None and self._searching,
            error=error,
            escape="goes back" if self._typed == self._opened_with else "clears",
        )

    @property
    def _searching(self) -> bool:
        page = self._search.page
        return page is None or not self._query().same_list(page.query)

    def _waiting(self) -> str | None:
        if self.client is not None:
            return None
        return clean(self.host.fault, ERROR_LIMIT) if self.host.fault else "the engine is starting"

    # --- the filter ------------------------------------------------------------------

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
        self._bring_back(self._before)

    def _bring_back(self, text: str) -> None:
        try:
            self._take_filter(text, self.host.filters.written_out(text))
        except FilterError as error:
            self._take_filter("", "")
            self.say(f"at {error.position + 1}: {error.message}", Tone.BAD)

    def _take_filter(self, text: str, written_out: str) -> None:
        self._typed, self._filter = text.strip(), written_out.strip()
        self.tick()

    def action_back(self) -> None:
        """Leave the bar, clear the filter, or return to where this was opened."""
        if self.filtering:
            self.call_later(self.on_filter_bar_left)
        elif self._typed != self._opened_with:
            self._bring_back(self._opened_with)
        else:
            super().action_back()

    # --- the order -------------------------------------------------------------------

    def action_sort(self) -> None:
        """Choose the column that rows are ordered by."""
        names = [column.name for column in self.COLUMNS]
        self.app.push_screen(later.order_dialog(names, self._order), self._take_order)

    def _take_order(self, chosen: Chosen | None) -> None:
        if chosen is not None:
            self._order = chosen
            self.tick()

    @on(LiveTable.HeadClicked)
    def _head_clicked(self, event: LiveTable.HeadClicked) -> None:
        if event.name in ORDERS:
            self._take_order(later.next_order(event.name, self._order))
        else:
            self.say(f"rows have no order by {event.name}", Tone.WARN)

    # --- what the keys act on --------------------------------------------------------

    def target(self) -> Target | None:
        """Return the request under the cursor."""
        found = self.found()
        if found is None:
            return None
        running = request_rows.phase_of(found).running
        return Target(
            session_id=found["session_id"],
            request_id=found["request_id"],
            provider=found.get("provider") if running else None,
        )

    def marked(self) -> tuple[str, ...]:
        """Return the ids of the marked requests."""
        return self.table.marked

    def action_mark_all(self) -> None:
        """Mark all that match, also those out of sight; or none, where some are marked."""
        if self.table.marked:
            self.table.set_marked(())
            self.tick()
            return
        self.say("marking all that match…")
        self.run_worker(self._mark_all(), name="mark-all", group="mark", exclusive=True)

    async def _mark_all(self) -> None:
        asked = self._query()
        reply = await self._ask_list({"filter": asked.filter, "ids_only": True})
        error = refusal(reply)
        if error is not None:
            self.say(f"not marked: {error}", Tone.BAD)
            return
        if not asked.same_list(self._query()):
            self.say("not marked: the filter was changed meanwhile", Tone.WARN)
            return
        ids = list(reply.get("ids") or ())
        self.table.set_marked(ids)
        self.say(listed.marked(len(ids), int(reply.get("total") or 0)))
        self.tick()

    def applies(self, action_id: str) -> bool:
        """Return whether an action does something here and now."""
        return listed.applies(action_id, self.found(), bool(self.table.marked)) and super().applies(
            action_id
        )

    @on(LiveTable.Opened)
    def _row_opened(self) -> None:
        self.action_open()

    def action_copy(self) -> None:
        """Copy the ids of the marked rows, else the one under the cursor."""
        ids = self.table.marked or tuple(key for key in (self.table.cursor_key,) if key)
        if ids:
            self.copy_out("\n".join(ids), "the id" if len(ids) == 1 else f"{len(ids)} ids")

    def on_screen_resume(self, _event: events.ScreenResume) -> None:
        """Read again at once: something may have been done on the screen above."""
        self._search.again()
