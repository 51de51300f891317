"""A list of requests that is paged from the engine, and the story of the row under the cursor.

Which requests, and how a row looks, is the screens'; what the keys do is `list_keys`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult

from ksi_tui.client import Snapshot, SnapshotQuery
from ksi_tui.engine.errors import FilterError
from ksi_tui.engine.views import Live
from ksi_tui.screens import following, listed
from ksi_tui.screens.finding import Finding
from ksi_tui.screens.host import ERROR_LIMIT, ask
from ksi_tui.screens.search import QUIET_S, REFRESH_S, Page, Query, Search
from ksi_tui.screens.sub import SubScreen
from ksi_tui.widgets import request_rows
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.request_rows import ORDERS, WORST
from ksi_tui.widgets.spans import Tone
from ksi_tui.widgets.table import Column, LiveTable, Row

_MARGIN = 50
_ALL_EVERY_S = 30.0
Chosen = tuple[str, bool]


class Listing(Finding, SubScreen):
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
        self._opened_with = self._typed = filter_text
        self._filter = filter_text
        self._order = order or self.ORDER
        self._search = Search(self._ask_rows, self._now)
        self._everything = Search(self._ask_list, self._now)
        self._shown: Page | None = None
        self._shown_at: float | None = None
        self._live: Live | None = None

    def _now(self) -> float:
        return self.host.clock()

    async def _ask_list(self, data: dict[str, Any]) -> dict[str, Any]:
        return await ask(self.host, "completion:requests", **data)

    async def _ask_rows(self, data: dict[str, Any]) -> dict[str, Any]:
        """Ask for rows; around the cursor's where that one left them because others came."""
        reply = await self._ask_list(data)
        page, key = self._search.page, self.table.held_key if self.stands else None
        if page is None or key is None or not following.left_page(page, data, reply, key):
            return reply
        found, all_seen = await following.around(self._ask_list, page, data, reply, key)
        if found is None and not all_seen and self.stands and self.table.held_key == key:
            self.table.let_go()
            self.say(
                "too many came: the row under the cursor is another one, choose again", Tone.WARN
            )
        return found or reply

    def compose_body(self) -> ComposeResult:
        yield LiveTable(self.TITLE_WORD, self.COLUMNS, id="requests", clock=self.host.clock)
        yield Bar(id="row")

    def on_mount(self) -> None:
        """Write out what the list was opened with, then show it."""
        self._fit()
        self.bring_back(self._opened_with)

    @property
    def table(self) -> LiveTable:
        """The list."""
        return self.query_one("#requests", LiveTable)

    def row_of(self, found: Mapping[str, Any]) -> Row:
        """Return the row of a request."""
        raise NotImplementedError

    # --- what is asked ---------------------------------------------------------------

    def look_at(self, snapshot: Snapshot) -> None:
        """Note what of a moment is looked at here: of a list in general, nothing."""

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
        self.look_at(snapshot)
        self._look_for_rows()

    def _look_for_rows(self) -> None:
        page = self._search.page
        alive = page is not None and any(map(request_rows.unfinished, page.rows))
        if self._search.want(self.wanted, every_s=REFRESH_S if alive else QUIET_S):
            self.start(self._search.run, name="search", group="read")
        every = Query(filter=self.SCOPE, limit=1)
        known = self._everything.page
        passed = page is not None and known is not None and page.total > known.total
        every_s = REFRESH_S if passed else _ALL_EVERY_S
        if self._filter and self._everything.want(every, every_s=every_s):
            self.start(self._everything.run, name="count", group="read")

    @property
    def wanted(self) -> Query:
        """What is to be asked: the list, and the rows of it that are in view."""
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
            return replace(query, offset=page.offset, limit=page.query.limit)
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
            everything=max(every.total, page.total if page else 0) if every else None,
            filter_text=self._typed,
            marked=len(self.table.marked),
            searching=error is None and self._searching,
            error=error,
            escape=self._escape(),
            order="worst first" if self._order[0] == WORST else "",
        )

    def _escape(self) -> str:
        if self.filtering:
            return ""
        return "goes back" if self._typed == self._opened_with else "clears"

    @property
    def _searching(self) -> bool:
        page = self._search.page
        return page is None or not self.wanted.same_list(page.query)

    def _waiting(self) -> str | None:
        if self.client is not None:
            return None
        return clean(self.host.fault, ERROR_LIMIT) if self.host.fault else "the engine is starting"

    def matching(self) -> str | None:
        """Return the filter that is on, as the engine takes it; None where there is none."""
        return f"{self.SCOPE} {self._filter}".strip() or None

    # --- the filter and the order ----------------------------------------------------

    def take_filter(self, text: str, written_out: str) -> None:
        """Show what fits a filter; as typed, and without `@name`."""
        self._typed, self._filter = text.strip(), written_out.strip()
        self.tick()

    def bring_back(self, text: str) -> None:
        """Show what fits a filter that was on before, or that the list is opened with."""
        try:
            self.take_filter(text, self.host.filters.written_out(text))
        except FilterError as error:
            self.take_filter("", "")
            self.say(f"at {error.position + 1}: {error.message}", Tone.BAD)

    def take_order(self, chosen: Chosen | None) -> None:
        """Show the rows in another order."""
        if chosen is not None:
            self._order = chosen
            self.tick()
