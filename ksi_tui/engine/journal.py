"""Keeps and tells the engine's rare happenings: `system:journal`.

The store writes down failures, cancels and actions together with what they change. Here is
what of the notifications is kept beside them, and the answer to the question. An ordinary
completion has no part in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ksi_tui.engine import events
from ksi_tui.engine.clock import Clock, iso
from ksi_tui.engine.models import PauseScope
from ksi_tui.engine.store.base import Reader, Store
from ksi_tui.engine.store.journal import EntryKept, JournalQuery
from ksi_tui.engine.usage_payloads import JournalPage

KEPT: Final = (
    events.CIRCUIT,
    events.QUEUE_PAUSED,
    events.QUEUE_RESUMED,
    events.LOCKED,
    events.UNLOCKED,
    events.WORKER_STARTED,
    events.WORKER_LOST,
    events.HIGH_USAGE,
    events.INJECTION_BLOCKED,
)
"""The notifications that may be kept; of a lock's only what was forced."""
_FORCED: Final = "forced"


class Journal:
    """Puts notifications on disk, in the transaction that is next in turn."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def keep(self, name: str, data: Mapping[str, Any]) -> None:
        """Keep one notification of a name in `KEPT`; never waits."""
        if name in (events.LOCKED, events.UNLOCKED) and data.get("reason") != _FORCED:
            return
        scope = data.get("scope")
        self._store.write(
            EntryKept(
                at=self._clock(),
                name=name,
                data=data,
                provider=data.get("id") if scope == PauseScope.PROVIDER else data.get("provider"),
                session_id=(
                    data.get("id") if scope == PauseScope.SESSION else data.get("session_id")
                ),
                request_id=data.get("request_id"),
            )
        )


async def journal_page(store: Reader, data: JournalPage) -> dict[str, Any]:
    """Return the reply to `system:journal`: the newest first; `more`: there are older ones."""
    asked = data.model_dump()
    query = JournalQuery(**{**asked, "limit": data.limit + 1})
    found = await store.journal(query)
    return {
        "entries": [
            {"seq": each.seq, "at": iso(each.at), "name": each.name, "data": each.data}
            for each in found[: data.limit]
        ],
        "more": len(found) > data.limit,
    }
