"""What an engine goes on with, read from SQLite: all that is unfinished, and transcripts.

`SqliteMoment` answers the same, and every question to it from one state of the database.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from ksi_tui.engine.models import Message, State
from ksi_tui.engine.store import migrations, rows, statements
from ksi_tui.engine.store.reader import SqliteReader, connect_reader
from ksi_tui.engine.store.records import Recovery, Unfinished

_log = logging.getLogger(__name__)

_AFTER_ALL_ROWS: Final = 2**63 - 1
_PAIRS_AT_ONCE: Final = 20


class SqliteMemory(SqliteReader):
    """What is asked to go on with requests and conversations."""

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


class SqliteMoment(SqliteMemory):
    """Sees what its connection's transaction sees, in every question."""

    @asynccontextmanager
    async def _question(self) -> AsyncIterator[None]:
        async with self._turn:
            try:
                yield
            except (sqlite3.Error, ValueError) as error:
                raise migrations.unreadable(self._path, error) from None


@asynccontextmanager
async def moment_of(path: Path) -> AsyncIterator[SqliteMoment]:
    """Let what is asked inside see one state of the database, on a connection of its own.

    It may take long, and the engine's own questions must not stand behind it.
    """
    try:
        reads = await connect_reader(path)
    except sqlite3.Error as error:
        raise migrations.unreadable(path, error) from None
    moment = SqliteMoment(path, reads)
    try:
        await reads.execute("BEGIN")
        yield moment
    finally:
        await moment.aclose()


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
