"""The questions to the store, each answered from an index.

Read-only: nothing in here writes, takes ownership or migrates. `SqliteStore` adds the
writes on top; a front end without an engine uses `open_reader`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self

import aiosqlite

from ksi_tui.engine.injection.policy import Chain, Injection
from ksi_tui.engine.models import CallRecord, Pause, RequestSpec, State, Usage
from ksi_tui.engine.store import journal, migrations, rows, statements, usage, usage_statements
from ksi_tui.engine.store.columns import to_json
from ksi_tui.engine.store.finder import Finder
from ksi_tui.engine.store.found import Find, Found, FoundRequest, NamesOf
from ksi_tui.engine.store.journal import JournalEntry, JournalQuery
from ksi_tui.engine.store.records import SessionFound, StoredRequest, UsageQuery, UsageTotals
from ksi_tui.engine.store.series import FIRST_SUM, SeriesPoint, SeriesQuery, series_question
from ksi_tui.engine.store.usage_queries import records_question, usage_question

_CHUNK: Final = 1000
_FINAL: Final = tuple(state for state in State if state.final)

Rows = Sequence[rows.Row]


async def connect_reader(path: Path) -> aiosqlite.Connection:
    """Return a connection that can only read."""
    connection = await aiosqlite.connect(
        migrations.uri(path, "mode=ro"), uri=True, isolation_level=None
    )
    try:
        await connection.execute("PRAGMA busy_timeout=2000")
    except BaseException:  # its thread would keep the process from ending
        await connection.close()
        raise
    return connection


class SqliteReader:
    """Answers questions to one database. Its methods raise StoreUnavailable when it cannot."""

    def __init__(self, path: Path, connection: aiosqlite.Connection) -> None:
        self._path = path
        self._reads = connection
        # One question at a time: what one reads in several steps must come from one state.
        self._turn = asyncio.Lock()
        self._finder = Finder(path, connect_reader)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Release the connection."""
        await self._finder.aclose()
        await self._reads.close()

    @asynccontextmanager
    async def _question(self) -> AsyncIterator[None]:
        """Let what is asked inside see one state of the database."""
        async with self._turn:
            try:
                try:
                    await self._reads.execute("BEGIN")
                    yield
                finally:
                    await self._reads.rollback()
            except (sqlite3.Error, ValueError) as error:
                raise migrations.unreadable(self._path, error) from None

    async def _rows(self, statement: str, *parameters: object) -> list[rows.Row]:
        return list(await self._reads.execute_fetchall(statement, parameters))

    async def _ask(self, statement: str, *parameters: object) -> list[rows.Row]:
        async with self._turn:
            try:
                return await self._rows(statement, *parameters)
            except (sqlite3.Error, ValueError) as error:
                raise migrations.unreadable(self._path, error) from None

    async def _ask_by_ids(self, statement: str, ids: Sequence[str]) -> list[rows.Row]:
        found: list[rows.Row] = []
        for chunk in _chunks(ids):
            found += await self._ask(statement, to_json(chunk))
        return found

    # --- requests -------------------------------------------------------------------------

    async def request(self, request_id: str) -> StoredRequest | None:
        """Return everything known of one request, or None."""
        async with self._question():
            found = await self._rows(statements.ONE_REQUEST, request_id)
            if not found:
                return None
            attempts = await self._rows(statements.ATTEMPTS_OF, request_id)
            calls = await self._rows(statements.CALLS_OF, request_id)
            actions = await self._rows(statements.ACTIONS_OF, request_id)
            injections = await self._rows(statements.INJECTIONS_ABOUT, request_id)
        return rows.stored_request(
            found[0],
            attempts=[rows.attempt(row) for row in attempts],
            calls=[rows.call(row)[1] for row in calls],
            actions=[rows.action(row) for row in actions],
            injections=tuple(rows.injection(row[1:]) for row in injections),
        )

    async def specs(self, request_ids: Sequence[str]) -> Mapping[str, RequestSpec]:
        """Return the payloads of the given requests."""
        found = await self._ask_by_ids(statements.SPECS, request_ids)
        return {row[0]: rows.spec(row) for row in found}

    async def states(self, request_ids: Sequence[str]) -> Mapping[str, State]:
        """Return the states of those of the given requests that exist."""
        found = await self._ask_by_ids(statements.STATES, request_ids)
        return {request_id: State(state) for request_id, state in found}

    async def in_order(self, request_ids: Sequence[str]) -> Sequence[str]:
        """Return those of the given requests that exist, in the order of their places."""
        found = await self._ask(statements.IN_ORDER, to_json(list(request_ids)))
        return [request_id for (request_id,) in found]

    async def sessions_of(self, request_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the sessions of those of the given requests that exist."""
        found = await self._ask_by_ids(statements.SESSIONS_OF, request_ids)
        return {request_id: session_id for request_id, session_id in found}  # noqa: C416

    async def session_requests(self, session_id: str, limit: int) -> Sequence[StoredRequest]:
        """Return a session's newest requests, oldest first, without replies, attempts, calls."""
        found = await self._ask(statements.SESSION_REQUESTS, session_id, limit)
        return [rows.stored_request(row) for row in reversed(found)]

    async def session(self, session_id: str) -> SessionFound | None:
        """Return a session, or None."""
        async with self._question():
            found = await self._rows(statements.ONE_SESSION, session_id)
            agents = await self._rows(statements.SESSION_AGENTS, session_id)
        return rows.session(found[0], (agent for (agent,) in agents)) if found else None

    async def results(
        self,
        *,
        after: int = 0,
        session_id: str | None = None,
        state: State | None = None,
        limit: int = 500,
    ) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Return final requests by rising finish_seq above `after`, each as `run` prints it."""
        async with self._question():
            if session_id is not None:
                of_session = (session_id, after, state, limit)
                found = await self._rows(statements.RESULTS_OF_SESSION, *of_session)
            else:
                found = []
                for one in _FINAL if state is None else (state,):
                    found += await self._rows(statements.RESULTS_BY_STATE, one, after, limit)
            return await self._results(_by_seq(found)[:limit])

    async def results_of(
        self, request_ids: Sequence[str]
    ) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Return those of the given requests that are final, as `results` does."""
        found: list[tuple[int, Mapping[str, Any]]] = []
        for chunk in _chunks(request_ids):
            async with self._question():
                some = await self._rows(statements.RESULTS_OF, to_json(chunk))
                found += await self._results(_by_seq(some))
        return sorted(found, key=lambda result: result[0])

    async def _results(self, found: Rows) -> list[tuple[int, Mapping[str, Any]]]:
        used = await self._rows(statements.CALL_USAGE_OF, to_json([row[1] for row in found]))
        calls: dict[str, list[rows.Row]] = defaultdict(list)
        for call in used:
            calls[call[0]].append(call)
        return [(row[0], rows.result(row, calls.get(row[1], ()))) for row in found]

    async def spent_of(
        self, request_ids: Sequence[str]
    ) -> Mapping[str, tuple[Usage | None, float | None]]:
        """Return what all calls of the given requests have used and cost (None: unpriced)."""
        calls: dict[str, list[tuple[str, Usage | None, float | None]]] = defaultdict(list)
        for row in await self._ask_by_ids(statements.CALL_USAGE_OF, request_ids):
            calls[row[0]].append((row[1], rows.usage(row[2:8]), row[8]))
        return {name: usage.answering(used, completed=False) for name, used in calls.items()}

    async def counts(self) -> Mapping[State, int]:
        """Return how many requests the store holds, by state."""
        found = {row[0]: row[1] for row in await self._ask(statements.COUNTERS)}
        return {state: found[state] for state in State}

    async def pauses(self) -> Sequence[Pause]:
        """Return what is paused, the longest first."""
        return [rows.pause(row) for row in await self._ask(statements.PAUSES)]

    async def requests_named(self, request_ids: Sequence[str]) -> Sequence[StoredRequest]:
        """Return those of the given requests that exist, in the order of their places.

        Without replies, attempts and calls. Of more than a thousand each thousand has its order.
        """
        found = await self._ask_by_ids(statements.SOME_REQUESTS, request_ids)
        return [rows.stored_request(row) for row in found]

    # --- finding --------------------------------------------------------------------------

    async def find(self, find: Find) -> Found:
        """Return a page of the requests that a filter matches, and how many there are."""
        return await self._finder.find(find)

    async def find_ids(self, request_ids: Sequence[str]) -> Sequence[FoundRequest]:
        """Return those of the given requests that exist, as `find` does, in any order."""
        return await self._finder.find_ids(request_ids)

    async def names(
        self, of: NamesOf, prefix: str, limit: int, key: str | None = None
    ) -> Sequence[str]:
        """Return names that begin with `prefix`; of META with a `key`: the values under it."""
        return await self._finder.names(of, prefix, limit, key)

    # --- injections -----------------------------------------------------------------------

    async def injections(self, injection_ids: Sequence[str]) -> Sequence[Injection]:
        """Return those of the given injections that exist, in order of arrival."""
        found = await self._ask_by_ids(statements.INJECTIONS, injection_ids)
        return [rows.injection(row) for row in found]

    async def direct_of(self, request_ids: Sequence[str]) -> Sequence[str]:
        """Return those of the given requests that are injections of their own."""
        found = await self._ask_by_ids(statements.DIRECT_OF, request_ids)
        return [request_id for (request_id,) in found]

    async def chain(self, request_id: str) -> Chain | None:
        """Return a request's chain with all tokens that it has spent; None for no request."""
        async with self._question():
            found = await self._rows(statements.CHAIN, request_id)
            if not found:
                return None
            ((root_id, depth, root_at),) = found
            ((of_root,),) = await self._rows(statements.ROOT_TOKENS, root_id)
            ((of_others,),) = await self._rows(statements.CHAIN_TOKENS, root_id)
        return Chain(depth=depth, tokens=int(of_root + of_others), root_at=root_at)

    # --- the journal ----------------------------------------------------------------------

    async def journal(self, query: JournalQuery) -> Sequence[JournalEntry]:
        """Return the newest entries that are asked for, the newest first."""
        found: list[rows.Row] = []
        async with self._question():
            names = await self._rows(journal.NAMES) if query.pattern != "*" else []
            for statement, parameters in journal.questions(query, [name for (name,) in names]):
                found += await self._rows(statement, *parameters)
            return journal.newest(found, query.limit)

    # --- usage ----------------------------------------------------------------------------

    async def usage(self, query: UsageQuery) -> Sequence[tuple[str, UsageTotals]]:
        """Return sums keyed by the group of `by`, the bucket's epoch second as text, or "".

        Days are ISO dates in UTC; calls without an agent have the key "". A time is widened
        to whole minutes, of a day or bucket to whole ones, and to whole hours or days where
        only those are kept (`usage.Edges`; a smaller bucket there is the first of its hour).
        Raises ValueError for `by` and `bucket_s` together, an unknown `by`, or a bucket that is
        not whole minutes.
        """
        usage_question(query, usage.Edges())  # what is wrong with it is not the database's fault
        async with self._question():
            (edges,) = await self._rows(usage_statements.USAGE_EDGES)
            statement, parameters = usage_question(query, usage.Edges(*edges))
            rows_found = await self._rows(statement, *parameters)
        found = [(str(key), usage.totals(sums)) for key, *sums in rows_found]
        if not found and query.by is None and query.bucket_s is None:
            return [("", UsageTotals())]
        return found

    async def series(self, query: SeriesQuery) -> tuple[int | None, Sequence[SeriesPoint]]:
        """Return since when there are sums (epoch seconds, None: never), and the steps' sums.

        By rising time, then name; steps and names in which no call ended are left out. Raises
        ValueError for an unknown `by` and for steps that are not whole minutes.
        """
        series_question(query, usage.Edges())
        async with self._question():
            (edges,) = await self._rows(usage_statements.USAGE_EDGES)
            ((first,),) = await self._rows(FIRST_SUM)
            statement, parameters = series_question(query, usage.Edges(*edges))
            found = await self._rows(statement, *parameters)
        return first, [SeriesPoint(*row) for row in found]

    async def usage_records(
        self, query: UsageQuery, after: int, limit: int
    ) -> Sequence[tuple[int, CallRecord]]:
        """Return single calls with their row number, by rising number above `after`."""
        async with self._question():
            if query.since is not None and query.session_id is None and after == 0:
                ((first,),) = await self._rows(usage_statements.FIRST_CALL_SINCE, query.since)
                if first is None:
                    return []
                after = first - 1
            statement, parameters = records_question(query, after)
            found = await self._rows(statement, *parameters, limit)
        return [rows.call(row) for row in found]


def _by_seq(found: Rows) -> list[rows.Row]:
    return sorted(found, key=lambda row: int(row[0]))


def _chunks(ids: Iterable[str]) -> Iterable[list[str]]:
    rest = iter(ids)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
