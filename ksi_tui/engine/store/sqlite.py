"""The store on SQLite: opening, closing, recovery and hand-over of writes.

`open_store` is for an engine: it owns the database, creates or migrates it and writes.
`open_reader` is for everybody else, also while an engine runs. Statements are in
`statements`, group commit is in `writer`, questions are in `reader`.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

import aiosqlite

from ksi_tui.engine.errors import ConfigError, StoreError, StoreUnavailable
from ksi_tui.engine.models import Message, State
from ksi_tui.engine.store import migrations, rows, statements
from ksi_tui.engine.store.asked_together import AskedTogether
from ksi_tui.engine.store.base import Write
from ksi_tui.engine.store.ownership import Ownership
from ksi_tui.engine.store.reader import SqliteReader, connect_reader
from ksi_tui.engine.store.records import Recovery, Unfinished
from ksi_tui.engine.store.upkeep_reader import SqliteUpkeep
from ksi_tui.engine.store.writer import GroupConnection, GroupWriter
from ksi_tui.paths import private_dir

_log = logging.getLogger(__name__)

_AFTER_ALL_ROWS: Final = 2**63 - 1
_PAIRS_AT_ONCE: Final = 20
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


class SqliteStore(SqliteUpkeep):
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

    async def load(self) -> Recovery:
        """Return what an engine needs to go on. Changes nothing."""
        async with self._question():
            unfinished = await self._rows(statements.ALL_UNFINISHED)
            sessions = await self._rows(statements.OPEN_SESSIONS)
            locks = await self._rows(statements.LOCKS)
            providers = await self._rows(statements.PROVIDERS)
            admissions = await self._rows(statements.ADMISSIONS)
            counters = await self._rows(statements.COUNTERS)
            pauses = await self._rows(statements.PAUSES)
            injections = await self._rows(statements.INJECTIONS_ALIVE)
            terms = await self._rows(statements.INJECTION_TERMS)
        # A hundred thousand values take long enough to be felt by whatever else the loop does.
        return await asyncio.to_thread(
            _recovery,
            unfinished=unfinished,
            sessions=sessions,
            locks=locks,
            providers=providers,
            admissions=admissions,
            counters=counters,
            pauses=pauses,
            injections=injections,
            terms=terms,
        )

    async def unfinished(self, request_ids: Sequence[str]) -> Sequence[Unfinished]:
        """Return those of the given requests that are unfinished, as `load` would."""
        found = await self._ask_by_ids(statements.SOME_UNFINISHED, request_ids)
        return [rows.unfinished(row) for row in found]

    async def states(self, request_ids: Sequence[str]) -> Mapping[str, State]:
        """Return the states of those of the given requests that exist."""
        return await self._states(request_ids)

    async def sessions_named(self, names: Sequence[str]) -> frozenset[str]:
        """Return those of the given names that are sessions', live or ended."""
        return frozenset(await self._sessions(names))

    async def _found_sessions(self, names: Sequence[str]) -> Mapping[str, str]:
        found = await self._ask_by_ids(statements.SESSIONS_NAMED, names)
        return {row[0]: row[0] for row in found}

    async def turns(self, session_id: str, max_chars: int) -> Sequence[Message]:
        """Return the session's newest whole pairs of turns within `max_chars`, oldest first."""
        pairs: list[list[Message]] = []
        left, before = max_chars, _AFTER_ALL_ROWS
        while True:
            found = await self._ask(statements.TURNS, session_id, before, _PAIRS_AT_ONCE)
            for _, chars, pair in found:
                left -= chars
                if left < 0:
                    break
                pairs.append(rows.from_json(pair))
            if left < 0 or len(found) < _PAIRS_AT_ONCE:
                return [message for pair in reversed(pairs) for message in pair]
            before = found[-1][0]


def _recovery(
    *,
    unfinished: Sequence[rows.Row],
    sessions: Sequence[rows.Row],
    locks: Sequence[rows.Row],
    providers: Sequence[rows.Row],
    admissions: Sequence[rows.Row],
    counters: Sequence[rows.Row],
    pauses: Sequence[rows.Row],
    injections: Sequence[rows.Row],
    terms: Sequence[rows.Row],
) -> Recovery:
    values = {row[0]: row[1] for row in counters}
    agents: dict[str, list[str]] = {}
    for row in sessions:
        if row[5] is not None:
            agents.setdefault(row[0], []).append(row[5])
    # A session with several agents has as many rows; the last stands for all.
    found = {row[0]: row for row in sessions}
    admitted: dict[str, list[tuple[int, float, int]]] = {}
    for provider, number, at, tokens in admissions:
        admitted.setdefault(provider, []).append((number, at, tokens))
    return Recovery(
        unfinished=[rows.unfinished(row) for row in unfinished],
        sessions=[rows.session(row, agents.get(row[0], ())) for row in found.values()],
        locks=[rows.lock(row) for row in locks],
        providers=dict(_readable_providers(providers)),
        counts={state: values[state] for state in State},
        next_place=values["next_place"],
        next_number=values["next_number"],
        next_finish_seq=values["next_finish_seq"],
        pauses=[rows.pause(row) for row in pauses],
        injections=[rows.pending(row) for row in injections],
        injection_terms={row[0]: rows.queued_terms(row) for row in terms},
        admissions=admitted,
    )


def _readable_providers(found: Sequence[rows.Row]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the providers' states that are JSON objects; another must not prevent a start."""
    for provider, text in found:
        try:
            state = rows.from_json(text)
        except (ValueError, RecursionError):
            state = None
        if isinstance(state, dict):
            yield provider, state
        else:
            _log.warning("the saved state of provider %r cannot be read; it begins anew", provider)
