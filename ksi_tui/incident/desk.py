"""Keeps what an incident bundle would show, as time goes by, and makes one when asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ksi_tui.client import EngineClient, Event
from ksi_tui.incident.errors import BundleError
from ksi_tui.incident.gather import Tell
from ksi_tui.incident.recorder import QUERY, Recorder
from ksi_tui.incident.save import Saved, Wanted, save_bundle


class IncidentDesk:
    """One for a dashboard. `settings` tells those that apply, without secrets."""

    def __init__(self, settings: Callable[[], Mapping[str, Any]]) -> None:
        self._settings = settings
        self._recorder = Recorder()

    def look(self, client: EngineClient, now: float) -> None:
        """Keep the present moment, where it is time to; `now` by the dashboard's clock."""
        if self._recorder.due(now):
            self._recorder.record(client.snapshot(QUERY), now)

    async def save(
        self, client: EngineClient | None, events: Sequence[Event], wanted: Wanted, tell: Tell
    ) -> Saved:
        """Write the bundle that is wanted; raises BundleError when it cannot be.

        `tell` hears how far it is.
        """
        if client is None:
            raise BundleError("there is no engine to ask")
        return await save_bundle(client, self._recorder, events, self._settings(), wanted, tell)
