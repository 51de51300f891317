"""What a list of events holds: the live ones that fit its filter, then those of the journal.

Which of them are in view, and what is said beside them, is the screen's business.
"""

from __future__ import annotations

from ksi_tui.screens.event_filter import EventFilter
from ksi_tui.screens.event_log import MOST, EventLog
from ksi_tui.screens.past_events import PastEvents
from ksi_tui.widgets.event_rows import Entry


class ShownEvents:
    """The entries that fit a filter, counted from the newest, as far as they were taken in."""

    def __init__(self, log: EventLog, wanted: EventFilter) -> None:
        self._log = log
        self._wanted = wanted
        self._live: list[Entry] = []
        self._taken = 0
        self.take_in()
        began = log.oldest_at
        self.past = PastEvents(wanted, float("inf") if began is None else began)

    def take_in(self) -> None:
        """Take in what has happened since the last time."""
        new = self._log.since(self._taken)
        self._taken = self._log.taken
        self._live += new if self._wanted.everything else filter(self._wanted.fits, new)
        if len(self._live) > MOST:
            del self._live[:-MOST]
            self.past = PastEvents(self._wanted, self._live[0].at)

    @property
    def new(self) -> int:
        """How many events have happened that were not taken in."""
        return self._log.taken - self._taken

    @property
    def newest(self) -> str | None:
        """The key of the newest live entry, None where there is none."""
        return self._live[-1].key if self._live else None

    def __len__(self) -> int:
        return len(self._live) + len(self.past.entries)

    def entry(self, index: int) -> Entry | None:
        """Return an entry by its place from 0, None where there is none."""
        if index < 0:
            return None
        if index < len(self._live):
            return self._live[-1 - index]
        past = index - len(self._live)
        return self.past.entries[past] if past < len(self.past.entries) else None
