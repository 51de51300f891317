"""Looks through all requests, on a connection of its own.

A question here may take a tenth of a second, and the engine's own (payloads of what is
dispatched) must not stand behind it. One at a time; whoever gives up waiting ends the search.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite

from ksi_tui.engine.errors import StoreUnavailable
from ksi_tui.engine.store import finding, migrations, rows
from ksi_tui.engine.store.columns import storable, to_json
from ksi_tui.engine.store.found import Find, Found, FoundRequest, NamesOf

Connect = Callable[[Path], Awaitable[aiosqlite.Connection]]

_DISTINCT: Final = """
SELECT DISTINCT {column} FROM {table} WHERE {column} LIKE :like ESCAPE '\\'
ORDER BY {column} LIMIT :limit"""
# Steps from each name to the next through the index, so that many rows with few names are few
# steps.
_STEPS: Final = """
WITH RECURSIVE step (name) AS (
    SELECT MIN({column}) FROM labels WHERE {where}
    UNION ALL
    SELECT (SELECT MIN({column}) FROM labels WHERE {where} AND {column} > step.name)
    FROM step WHERE step.name IS NOT NULL
)
SELECT name FROM step WHERE name LIKE :like ESCAPE '\\' LIMIT :limit"""
_NAMES: Final[Mapping[NamesOf, str]] = {
    NamesOf.SESSION: """
SELECT session_id FROM sessions WHERE session_id LIKE :like ESCAPE '\\'
ORDER BY last_activity DESC LIMIT :limit""",
    NamesOf.AGENT: _DISTINCT.format(column="agent_id", table="session_agents"),
    NamesOf.MODEL: """
SELECT asked_model FROM requests WHERE asked_model LIKE :like ESCAPE '\\' UNION
SELECT answered_model FROM requests WHERE answered_model LIKE :like ESCAPE '\\'
ORDER BY 1 LIMIT :limit""",
    NamesOf.PROVIDER: _DISTINCT.format(column="provider", table="requests"),
    NamesOf.ERROR: _DISTINCT.format(column="error_kind", table="requests"),
    NamesOf.META: _STEPS.format(column="key", where="1"),
}
_VALUES: Final = _STEPS.format(column="value", where="key = :key")


class Finder:
    """Finds requests and names in one database. `connect` opens it when first asked.

    Its methods raise StoreUnavailable when the database cannot be read.
    """

    def __init__(self, path: Path, connect: Connect) -> None:
        self._path = path
        self._connect = connect
        self._connection: aiosqlite.Connection | None = None
        self._closed = False
        self._turn = asyncio.Lock()

    async def aclose(self) -> None:
        """Release the connection for good; a search that runs ends first."""
        self._closed = True  # whoever waits for a turn must not open it again
        async with self._turn:
            if self._connection is not None:
                await self._connection.close()
                self._connection = None

    async def find(self, find: Find) -> Found:
        """Return the page of requests that was asked for, and how many there are."""
        question = finding.Question(find)
        async with self._asking() as ask:
            ((total,),) = await ask(question.count, question.parameters)
            if total <= find.offset:
                return Found(total=total)
            if find.ids_only:
                ((ids,),) = await ask(question.ids, question.parameters)
                return Found(total=total, ids=rows.from_json(ids))
            page = await ask(question.page, question.parameters)
            order = {row: index for index, (row, _) in enumerate(page)}
            found = await ask(finding.FOUND_ROWS, (to_json(list(order)),))
        found.sort(key=lambda each: order[each[0]])
        return Found(total=total, requests=await asyncio.to_thread(_all_found, found))

    async def find_ids(self, request_ids: Sequence[str]) -> Sequence[FoundRequest]:
        """Return those of the given requests that exist, as `find` does, in any order."""
        async with self._asking() as ask:
            found = await ask(finding.FOUND_IDS, (to_json(list(request_ids)),))
        return await asyncio.to_thread(_all_found, found)

    async def names(
        self, of: NamesOf, prefix: str, limit: int, key: str | None = None
    ) -> Sequence[str]:
        """Return names that begin with `prefix`; of META with a `key`: the values under it."""
        statement = _NAMES[of] if key is None else _VALUES
        like = finding.escaped(storable(prefix) or "") + "%"
        async with self._asking() as ask:
            parameters = {"like": like, "limit": limit, "key": storable(key)}
            return [name for (name,) in await ask(statement, parameters)]

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[_Ask]:
        """Let what is asked inside see one state of the database."""
        async with self._turn:
            try:
                if self._closed:
                    raise StoreUnavailable(f"the database {self._path} is closed")
                if self._connection is None:
                    self._connection = await self._connect(self._path)
                    self._connection.text_factory = _text
                connection = self._connection
                try:
                    await connection.execute("BEGIN")
                    yield _Ask(connection)
                except asyncio.CancelledError:
                    await connection.interrupt()
                    raise
                finally:
                    await connection.rollback()
            except (sqlite3.Error, ValueError) as error:
                raise migrations.unreadable(self._path, error) from None


class _Ask:
    """Asks one connection; the rows come as a list."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def __call__(
        self, statement: str, parameters: Mapping[str, Any] | Sequence[Any]
    ) -> list[rows.Row]:
        return list(await self._connection.execute_fetchall(statement, parameters))


def _text(raw: bytes) -> str:
    """Return a text; what older versions wrote may hold half a surrogate pair."""
    return raw.decode("utf-8", "replace")


def _all_found(found: Sequence[rows.Row]) -> list[FoundRequest]:
    """Return the requests of rows; a thousand with their metadata are worth a thread."""
    return [_found(row) for row in found]


def _found(row: rows.Row) -> FoundRequest:
    return FoundRequest(
        request_id=row[1],
        session_id=row[2],
        agent_id=row[3],
        asked_model=row[4],
        model=row[5],
        state=rows.state_of(row[6]),
        priority=rows.priority_of(row[7]),
        queued_at=row[8],
        started_at=row[9],
        finished_at=row[10],
        attempts=row[11],
        max_attempts=row[12],
        provider=row[13],
        ttft_ms=row[14],
        error_kind=rows.kind_of(row[15]),
        error_message=row[16],
        by=row[17],
        reason=row[18],
        tokens=row[19],
        cost=row[20],
        unpriced=row[21],
        estimated=row[22],
        metadata={} if row[23] is None else rows.from_json(row[23]),
    )
