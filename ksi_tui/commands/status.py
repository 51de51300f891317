"""`ksi-tui status`: what the database knows, also while an engine runs."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from ksi_tui.commands.database import reading
from ksi_tui.commands.output import columns, pauses_told, write
from ksi_tui.commands.settings import as_typed, settings
from ksi_tui.engine.control_replies import paused_reply
from ksi_tui.engine.models import State
from ksi_tui.engine.store.ownership import owner_of
from ksi_tui.exits import OK
from ksi_tui.widgets.clean import clean

_TOLD_CHARS = 2_000


def execute(options: argparse.Namespace) -> int:
    """Print counts by state and who has the database."""
    found = asyncio.run(_look(options))
    write(f"{json.dumps(found)}\n" if options.json else _told(found, options))
    return OK


async def _look(options: argparse.Namespace) -> dict[str, Any]:
    config = settings(options)
    path = config.engine.database_path
    async with reading(options, config) as reader:
        counts = await reader.counts() if reader else {}
        pauses = await reader.pauses() if reader else ()
    return {
        "database": str(path),
        "exists": reader is not None,
        "owner": owner_of(path),
        "status_counts": {state.value: counts.get(state, 0) for state in State},
        "unfinished": sum(count for state, count in counts.items() if not state.final),
        "paused": paused_reply(pauses),
    }


def _told(found: dict[str, Any], options: argparse.Namespace) -> str:
    if not found["exists"]:
        return f"no database yet: {found['database']} will be made by the first run\n"
    owner = found["owner"]
    head = f"database    {found['database']}\nengine      {owner or 'none runs on it'}\n\n"
    counts = [("STATE", "REQUESTS")]
    counts += [(state, f"{count:,}") for state, count in found["status_counts"].items()]
    text = head + columns(counts, right=frozenset({1}))
    if found["paused"]:
        text += f"\nheld by {clean(pauses_told(found['paused']), _TOLD_CHARS)}\n"
    if found["unfinished"] and not owner:
        text += f"\n{found['unfinished']:,} unfinished; go on with: "
        text += f"{as_typed(options, 'run --resume')}\n"
    return text
