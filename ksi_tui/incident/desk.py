"""Keeps what an incident bundle would show, as time goes by, and makes one when asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ksi_tui.client import EngineClient, Event, Snapshot
from ksi_tui.incident.errors import BundleError
from ksi_tui.incident.gather import Tell
from ksi_tui.incident.recorder import QUERY, Recorder
from ksi_tui.incident.save import Saved, Wanted, save_bundle


class IncidentDesk:
    """One for a dashboard. `settings` tells those that apply, without secrets."""

    def __init__(self, settings: Callable[[], Mapping[str, Any]]) -> None:
        self._settings = settings
        self._recorder = Recorder()
        self._taken: tuple[Snapshot, float] | None = None

    def look(self, client: EngineClient, now: float) -> None:
        """Keep the present moment, where it is time to; `now` by the dashboard's clock.

        Taken at one call and packed at the next: both together would be 10 ms of one refresh.
        """
        if self._taken is not None:
            self._pack()
        elif self._recorder.due(now):
            self._taken = client.snapshot(QUERY), now

    def _pack(self) -> None:
        if self._taken is not None:
            snapshot, at = self._taken
            self._taken = None
            self._recorder.record(snapshot, at)

    async def save(
        self, client: EngineClient | None, events: Sequence[Event], wanted: Wanted, tell: Tell
    ) -> Saved:
        """Write the bundle that is wanted; raises BundleError when it cannot be.

        `tell` hears how far it is.
        """
        if client is None:
            raise BundleError("there is no engine to ask")
        self._pack()
        return await save_bundle(client, self._recorder, events, self._settings(), wanted, tell)
