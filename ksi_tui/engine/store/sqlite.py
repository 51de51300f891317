"""The store on SQLite: opening, closing, recovery and hand-over of writes.

`open_store` is for an engine: it owns the database, creates or migrates it and writes.
`open_reader` is for everybody else, also while an engine runs. Statements are in
`statements`, group commit is in `writer`, questions are in `reader` and `memory`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiosqlite

from ksi_tui.engine.errors import ConfigError, StoreError, StoreUnavailable
from ksi_tui.engine.models import State
from ksi_tui.engine.store import migrations, statements
from ksi_tui.engine.store.asked_together import AskedTogether
from ksi_tui.engine.store.base import Write
from ksi_tui.engine.store.memory import SqliteMemory, SqliteMoment, moment_of
from ksi_tui.engine.store.ownership import Ownership
from ksi_tui.engine.store.reader import SqliteReader, connect_reader
from ksi_tui.engine.store.upkeep_reader import SqliteUpkeep
from ksi_tui.engine.store.writer import GroupConnection, GroupWriter
from ksi_tui.paths import private_dir

_WRITER_SETTINGS: Final = """
PRAGMA synchronous=FULL;
PRAGMA busy_timeout=2000;
PRAGMA cache_size=-16000;
PRAGMA wal_autocheckpoint=4000;
PRAGMA journal_size_limit=67108864;
"""


async def open_store(path: Path) -> SqliteStore:
    """Own, create or migrate the database at `path` and start its writer.

    Folder 0700, files 0600. Raises DatabaseOwned (it says who), NotADatabase or NewerDatabase
    (the file stays as it is), or StoreUnavailable; each says what to do.
    """
    path, ownership = await _owned(path)
    try:
        writes, group = await _connect_writer(path)
        try:
            reads = await connect_reader(path)
        except BaseException:
            await writes.close()
            raise
    except sqlite3.Error as error:
        ownership.release()
        raise migrations.unavailable(path, "open", error) from None
    except BaseException:
        ownership.release()
        raise
    return SqliteStore(path, reads, GroupWriter(path, writes, group), ownership)


async def open_reader(path: Path) -> SqliteReader:
    """Return a reader of an existing database, whether or not an engine runs on it.

    Raises NotADatabase, NewerDatabase, or StoreUnavailable when the file is missing, cannot
    be read, or awaits a migration.
    """
    await asyncio.to_thread(_check_readable, path)
    try:
        return SqliteReader(path, await connect_reader(path))
    except sqlite3.Error as error:
        raise migrations.unavailable(path, "read", error) from None


async def _owned(path: Path) -> tuple[Path, Ownership]:
    """Own the database; whoever is cancelled meanwhile leaves it free."""
    owning = asyncio.create_task(asyncio.to_thread(_own, path), name="own the database")
    try:
        return await asyncio.shield(owning)
    except asyncio.CancelledError:
        with suppress(StoreError):  # the thread goes on, and may yet come to own it
            (await owning)[1].release()
        raise


def _own(path: Path) -> tuple[Path, Ownership]:
    try:
        private_dir(path.parent)
    except ConfigError as error:
        raise StoreUnavailable(f"no place for the database {path}: {error}") from None
    try:
        migrations.check_plain(path)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot open the database {path}: {error.strerror}; name another one with --db"
        ) from None
    # Two names of one file must meet at one lock.
    path = path.resolve()
    ownership = Ownership(path)
    try:
        migrations.prepare(path)
    except BaseException:
        ownership.release()
        raise
    return path, ownership


def _check_readable(path: Path) -> None:
    try:
        version = migrations.check(path)
    except FileNotFoundError:
        raise StoreUnavailable(
            f"there is no database {path}; start ksi-tui once, or name another one with --db"
        ) from None
    except OSError as error:
        raise StoreUnavailable(f"cannot read the database {path}: {error.strerror}") from None
    if version < migrations.latest():
        found = "was written by an earlier version of ksi-tui" if version else "holds nothing yet"
        raise StoreUnavailable(f"{path} {found}; start ksi-tui on it once")


async def _connect_writer(path: Path) -> tuple[aiosqlite.Connection, GroupConnection]:
    made: list[GroupConnection] = []

    def make(*args: Any, **settings: Any) -> GroupConnection:
        made.append(GroupConnection(*args, **settings))
        return made[0]

    connection = await aiosqlite.connect(
        migrations.uri(path, "mode=rw"), uri=True, isolation_level=None, factory=make
    )
    try:
        await connection.executescript(_WRITER_SETTINGS)
    except BaseException:
        await connection.close()
        raise
    return connection, made[0]


class SqliteStore(SqliteMemory, SqliteUpkeep):
    """The engine's durable memory in one SQLite file; see `base.Store`."""

    def __init__(
        self,
        path: Path,
        reads: aiosqlite.Connection,
        writer: GroupWriter,
        ownership: Ownership,
    ) -> None:
        super().__init__(path, reads)
        self._writer = writer
        self._ownership = ownership
        self._closing: asyncio.Task[None] | None = None
        self._looking = asyncio.Lock()
        self._states = AskedTogether(super().states, "store-states")
        self._sessions = AskedTogether(self._found_sessions, "store-sessions")

    @property
    def fault(self) -> str | None:
        """Why writes are failing now, in words; None when they are not."""
        return self._writer.fault

    @property
    def damaged(self) -> bool:
        """Whether they fail because the file is broken, so that waiting does not help."""
        return self._writer.damaged

    def write(self, *writes: Write) -> asyncio.Future[None]:
        """Hand over writes that belong together; the future is done when they are on disk."""
        return self._writer.write(writes)

    def write_within(self, within_s: float, *writes: Write) -> asyncio.Future[None]:
        """As `write`, of what may wait so long for a transaction that somebody else needs."""
        return self._writer.write(writes, within_s)

    async def aclose(self) -> None:
        """Write all that is pending, tidy up, close, and give up the ownership.

        Once begun it goes on to its end, also when the caller is cancelled; calling it again
        waits for that end.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="store-closing")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        # Each step whatever became of the one before: where a whole loop is cancelled the writer
        # is too, and a connection that stays open has a thread that the process would wait for.
        async with AsyncExitStack() as steps:
            steps.callback(self._ownership.release)
            # The writer's connection goes last: only that one can empty the log.
            steps.push_async_callback(self._writer.aclose)
            steps.push_async_callback(super().aclose)
            await self._writer.drain()
            async with self._looking:  # who looks at a `moment` ends first
                pass

    @asynccontextmanager
    async def moment(self) -> AsyncIterator[SqliteMoment]:
        """Let all that is asked inside be answered from one state; one at a time."""
        async with self._looking:
            if self._closing is not None:
                raise StoreUnavailable(f"the database {self._path} is closed")
            async with moment_of(self._path) as moment:
                yield moment

    async def states(self, request_ids: Sequence[str]) -> Mapping[str, State]:
        """Return the states of those of the given requests that exist."""
        return await self._states(request_ids)

    async def sessions_named(self, names: Sequence[str]) -> frozenset[str]:
        """Return those of the given names that are sessions', live or ended."""
        return frozenset(await self._sessions(names))

    async def _found_sessions(self, names: Sequence[str]) -> Mapping[str, str]:
        found = await self._ask_by_ids(statements.SESSIONS_NAMED, names)
        return {row[0]: row[0] for row in found}
