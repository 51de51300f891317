"""Opens the database for the commands that only read, also while an engine runs."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ksi_tui.config import Config
from ksi_tui.engine.errors import InputError
from ksi_tui.engine.store.base import Reader
from ksi_tui.engine.store.sqlite import open_reader


@asynccontextmanager
async def reading(options: argparse.Namespace, config: Config) -> AsyncIterator[Reader | None]:
    """Yield a reader, or None where no engine has made the database yet.

    Raises InputError when the missing one was named with --db, StoreError when what is
    there cannot be read.
    """
    path = config.engine.database_path
    if not path.exists():
        if options.db is not None:
            raise InputError(f"there is no database {path}")
        yield None
        return
    reader = await open_reader(path)
    try:
        yield reader
    finally:
        await reader.aclose()
