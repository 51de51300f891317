"""`ksi-tui results`: finished requests as `run` prints them, also while an engine runs."""

from __future__ import annotations

import argparse
import asyncio

from ksi_tui.commands.database import reading
from ksi_tui.commands.output import result_lines, write
from ksi_tui.commands.settings import settings
from ksi_tui.engine.models import State
from ksi_tui.exits import OK

_PAGE = 500


def execute(options: argparse.Namespace) -> int:
    """Print every finished request that fits, in the order in which they finished."""
    asyncio.run(_print(options))
    return OK


async def _print(options: argparse.Namespace) -> None:
    state = State(options.status) if options.status else None
    after = 0
    async with reading(options, settings(options)) as reader:
        while reader and (
            rows := await reader.results(
                after=after, session_id=options.session, state=state, limit=_PAGE
            )
        ):
            after = rows[-1][0]
            write(result_lines((record for _, record in rows), as_json=options.json))
