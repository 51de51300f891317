"""Tells the user of a run that its database cannot be written, since a run itself only waits.

One line for each reason, and one when it is over. A file that is broken ends the run.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ksi_tui.client import EngineClient
from ksi_tui.commands.output import say
from ksi_tui.engine.errors import StoreUnavailable
from ksi_tui.engine.views import Level, SnapshotQuery

_LOOK_EVERY_S: Final = 0.5
_TOTALS: Final = SnapshotQuery(active_limit=0, queue_limit=0, lock_limit=0, trend_points=1)


async def watched(engine: EngineClient) -> None:
    """Say what keeps the database from being written, for as long as that can pass by itself.

    Raises StoreUnavailable when it cannot.
    """
    told = ""
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        verdict = engine.snapshot(_TOTALS).verdict
        fault = verdict.cause if verdict.level is Level.READ_ONLY else ""
        if fault == told:
            continue
        if fault:
            await _refuse_damage(engine, fault)
            say(f"{fault}; what has finished waits for that")
        else:
            say("the database can be written again")
        told = fault


async def _refuse_damage(engine: EngineClient, fault: str) -> None:
    status = await engine.emit("completion:status")
    if status.get("database", {}).get("damaged"):
        raise StoreUnavailable(fault)
