"""All requests, history included; and those that failed, to be tried again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ksi_tui.actions import Where
from ksi_tui.client import Snapshot
from ksi_tui.screens.base import screen_bindings
from ksi_tui.screens.list_keys import ListingScreen
from ksi_tui.widgets import request_rows
from ksi_tui.widgets.table import Row


class RequestsScreen(ListingScreen):
    """All requests in every state, the newest first."""

    WHERE = Where.REQUESTS
    BINDINGS = screen_bindings(Where.REQUESTS)
    TITLE_WORD = "Requests"
    COLUMNS = request_rows.REQUESTS
    ORDER = ("AGE", False)

    def row_of(self, found: Mapping[str, Any]) -> Row:
        """Return the row of a request."""
        return request_rows.request_row(found)


class FailedScreen(ListingScreen):
    """The dead set: what failed and stays until somebody tries it again, the latest first."""

    WHERE = Where.FAILED
    BINDINGS = screen_bindings(Where.FAILED)
    TITLE_WORD = "Failed"
    SCOPE = "status:failed"
    COLUMNS = request_rows.FAILED
    ORDER = ("ENDED", False)

    _moment: Snapshot | None = None

    def look_at(self, snapshot: Snapshot) -> None:
        """Keep the moment whose failures are looked at."""
        self._moment = snapshot

    def show_body(self) -> None:
        """Show them; what had failed when they were read is thereby looked at."""
        super().show_body()
        if self._shown is not None and self._moment is not None:
            self.host.looked.at_all(self._moment)

    def row_of(self, found: Mapping[str, Any]) -> Row:
        """Return the row of a failed request."""
        return request_rows.failed_row(found, self.at)
