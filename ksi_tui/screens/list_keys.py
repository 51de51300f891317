"""What the keys do on a list of requests: filter, order, marks, open, copy.

How its rows come and look is `listing`'s.
"""

from __future__ import annotations

from textual import events, on

from ksi_tui.screens import later, listed
from ksi_tui.screens.base import Target
from ksi_tui.screens.listing import Listing
from ksi_tui.widgets import request_rows
from ksi_tui.widgets.request_rows import ORDERS
from ksi_tui.widgets.spans import Tone
from ksi_tui.widgets.table import LiveTable


class ListingScreen(Listing):
    """A list of requests with its keys."""

    _before = ""
    _covered = False

    # --- the filter ------------------------------------------------------------------

    def filter_on(self) -> str:
        """Return the filter that is on, to be changed."""
        self._before = self._typed
        return self._typed

    def filter_typed(self, text: str, written_out: str) -> None:
        """Show what fits while it is typed."""
        self.take_filter(text, written_out)

    def filter_kept(self, text: str, written_out: str) -> None:
        """Keep it."""
        self.take_filter(text, written_out)

    def filter_left(self) -> None:
        """Bring back the one before."""
        self.bring_back(self._before)

    def action_back(self) -> None:
        """Leave the bar, clear the filter, or return to where this was opened."""
        if self.filtering:
            self.call_later(self.on_filter_bar_left)
        elif self._typed != self._opened_with:
            self.bring_back(self._opened_with)
        else:
            super().action_back()

    # --- the order -------------------------------------------------------------------

    def action_sort(self) -> None:
        """Choose the column that rows are ordered by."""
        names = [column.name for column in self.COLUMNS]
        self.app.push_screen(later.order_dialog(names, self._order), self.take_order)

    @on(LiveTable.HeadClicked)
    def _head_clicked(self, event: LiveTable.HeadClicked) -> None:
        if event.name in ORDERS:
            self.take_order(later.next_order(event.name, self._order))
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
        self.start(self._mark_all, name="mark-all", group="mark", exclusive=True)

    async def _mark_all(self) -> None:
        asked = self.wanted
        ids = await self.ids_of(asked.filter)
        if asked.same_list(self.wanted):
            self.table.set_marked(ids)
            self.tick()
        else:
            self.say("not marked: another list was asked for meanwhile", Tone.WARN)

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

    def on_screen_suspend(self, _event: events.ScreenSuspend) -> None:
        """Note that another screen came above."""
        self._covered = True

    def on_screen_resume(self, _event: events.ScreenResume) -> None:
        """Read again at once: something may have been done on the screen above."""
        if self._covered:
            self._covered = False
            self._search.again()
