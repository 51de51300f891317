"""Finding from the overview: its panes show what is worst now, the list of all shows the rest.

A filter or an order over the rows that a snapshot happens to hold would hide most of what
fits, so both lead to the list of all requests, narrowed to what the pane is about.
"""

from __future__ import annotations

from ksi_tui.screens.finding import FindsInRequests
from ksi_tui.widgets.spans import Tone
from ksi_tui.widgets.table import LiveTable

_SCOPES = {"active": "status:processing,retrying", "queues": "status:queued,retrying"}
"""What the rows of a pane are, as a filter."""


class FindsFromPanes(FindsInRequests):
    """The overview's keys for finding and marking. Marks are for requests: Active has them."""

    @property
    def pane_name(self) -> str:
        """The pane that the keys are about."""
        raise NotImplementedError

    @property
    def _active(self) -> LiveTable:
        return self.query_one("#active", LiveTable)

    def filter_scope(self) -> str:
        """Whatever is typed here is looked for everywhere."""
        return ""

    def sort_scope(self) -> str | None:
        """Return what the rows of the pane are, where they are requests or their sessions."""
        return _SCOPES.get(self.pane_name)

    def marked(self) -> tuple[str, ...]:
        """Return the ids of the requests that are marked in Active."""
        return self._active.marked

    def _marks(self) -> bool:
        if self.pane_name == "active":
            return True
        self.say("marks are for requests: 2 goes to those that run, i to all", Tone.WARN)
        return False

    def action_mark(self) -> None:
        """Mark the request under the cursor, or not."""
        if self._marks():
            super().action_mark()

    def action_mark_all(self) -> None:
        """Mark all that run or are in backoff, or none."""
        if not self._marks():
            return
        if self._active.marked:
            self._active.set_marked(())
            return
        self.start(self._mark_all, name="mark-all", group="mark", exclusive=True)

    async def _mark_all(self) -> None:
        self._active.set_marked(await self.ids_of(_SCOPES["active"]))

    def applies(self, action_id: str) -> bool:
        """Return whether an action does something here and now."""
        if action_id in ("mark", "mark_all"):
            return self.pane_name == "active"
        if action_id == "sort":
            return self.sort_scope() is not None
        return super().applies(action_id)
