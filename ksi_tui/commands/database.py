"""Opens the database for the commands that only read, also while an engine runs."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ksi_tui.config import Config
from ksi_tui.engine.errors import InputError
from ksi_tui.engine.store.base import Reader
from ksi_tui.engine.store.sqlite import open_reader


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise InputError(f"cannot read the database {path}: {error.strerror}") from None


@asynccontextmanager
async def reading(options: argparse.Namespace, config: Config) -> AsyncIterator[Reader | None]:
    """Yield a reader, or None where no engine has made the database yet.

    Raises InputError when the missing one was named with --db, StoreError when what is
    there cannot be read.
    """
    path = config.engine.database_path
    if not _is_there(path):
        if options.db is not None:
            raise InputError(f"there is no database {path}")
        yield None
        return
    reader = await open_reader(path)
    try:
        yield reader
    finally:
        await reader.aclose()
