"""The questions of housekeeping, answered by SQLite; see `upkeep.Upkeep`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from ksi_tui.engine.models import State
from ksi_tui.engine.store import journal, migrations, statements
from ksi_tui.engine.store.columns import to_json
from ksi_tui.engine.store.reader import SqliteReader
from ksi_tui.engine.store.rows import Row
from ksi_tui.engine.store.upkeep import Expired, Filing, Unfiled

_ROWS_AT_ONCE: Final = 32
_ALL: Final = 2**63 - 1
_FINAL: Final = tuple(state for state in State if state.final)


class SqliteUpkeep(SqliteReader):
    """What housekeeping asks."""

    async def filing(self) -> Filing:
        """Return how far the response files are."""
        async with self._question():
            counters = await self._counters()
            marks = await self._rows(statements.MARKS)
            ((pending,),) = await self._rows(statements.COUNT_UNFILED, counters["filed_seq"])
        return Filing(
            filed_seq=counters["filed_seq"],
            marked_seq=counters["marked_seq"],
            lengths={row[0]: row[1] for row in marks},
            pending=pending,
        )

    async def unfiled(
        self, after: int, *, upto: int | None = None, limit: int, max_chars: int
    ) -> Unfiled:
        """Return results above the finish_seq `after`, about `max_chars` characters at most.

        With `upto` those up to it, without a limit.
        """
        if upto is not None:
            found = await self._ask(statements.UNFILED, after, upto, _ALL)
            return Unfiled(results=[(row[1], row[2]) for row in found], upto=upto)
        results: list[tuple[str, str]] = []
        last, chars = after, 0
        async with self._question():
            counters = await self._counters()
            async with self._reads.execute(statements.UNFILED, (after, _ALL, limit)) as cursor:
                while chars < max_chars:
                    rows = list(await cursor.fetchmany(_ROWS_AT_ONCE))
                    if not rows:
                        break
                    results += [(row[1], row[2]) for row in rows]
                    chars += sum(len(row[2]) for row in rows)
                    last = rows[-1][0]
        if chars < max_chars and len(results) < limit:
            # All there are: whatever else has ended up to now has no result.
            last = max(after, counters["next_finish_seq"] - 1)
        return Unfiled(results=results, upto=last)

    async def expired(
        self, before: float, filed_seq: int, limit: int, *, now: float
    ) -> Sequence[Expired]:
        """Return the oldest of the requests that finished before a time, `limit` at most.

        A completed one above `filed_seq` is left out: its result is in no response file yet.
        Those that finished after `now`, when a clock was ahead, keep nobody who came later.
        """
        found: list[Expired] = []
        async with self._question():
            for state in _FINAL:
                upto = filed_seq if state is State.COMPLETED else _ALL
                ended = await self._oldest_ended(state, upto, limit - len(found), now)
                found += [_expired(row, state) for row in ended if row[4] < before]
        return found

    async def _oldest_ended(self, state: State, upto: int, limit: int, now: float) -> list[Row]:
        after = 0
        while True:
            ended = list(await self._rows(statements.OLDEST_ENDED, state, after, upto, limit))
            if not ended or any(row[4] <= now for row in ended):
                return ended
            after = ended[-1][1]

    async def _counters(self) -> dict[str, int]:
        return {row[0]: row[1] for row in await self._rows(statements.COUNTERS)}

    async def session_ids(self, after: str, limit: int) -> Sequence[str]:
        """Return session ids above `after`, in their order."""
        return [row[0] for row in await self._ask(statements.SESSION_IDS, after, limit)]

    async def deserted(self, session_ids: Sequence[str], before: float) -> Mapping[str, int]:
        """Return which of these sessions hold nothing and are idle since `before`: their turns."""
        found = await self._ask(statements.DESERTED, to_json(list(session_ids)), before)
        return {row[0]: row[1] for row in found}

    async def old_actions(
        self, after: int, before: float, limit: int
    ) -> tuple[Sequence[int], int | None]:
        """Return actions before a time that are of no request, and the row to go on after.

        None to go on after: there are no more.
        """
        found = await self._ask(statements.OLDEST_ACTIONS, after, limit)
        old = [(row, of_request) for row, at, of_request in found if at < before]
        more = len(found) == limit and len(old) == limit
        return [row for row, of_request in old if not of_request], old[-1][0] if more else None

    async def prunable(self, before: float, limit: int) -> int | None:
        """Return the seq up to which entries of the journal go, `limit` of them at most, or None.

        Those before a time go, and the oldest over `journal.KEPT_ROWS`.
        """
        async with self._question():
            ((first, last),) = await self._rows(journal.ENDS)
            oldest = await self._rows(journal.OLDEST, limit)
        return journal.pruned_upto((first, last), oldest, before)

    async def shrink_log(self, over_bytes: int) -> None:
        """Empty the write-ahead log where it is over a size; waits for nobody."""
        await asyncio.to_thread(_shrink_log, self._path, over_bytes)


def _expired(row: Row, state: State) -> Expired:
    return Expired(row=row[0], finish_seq=row[1], request_id=row[2], session_id=row[3], state=state)


def _shrink_log(path: Path, over_bytes: int) -> None:
    log = path.with_name(path.name + "-wal")
    try:
        if log.stat().st_size <= over_bytes:
            return
    except FileNotFoundError:
        return
    # On a connection of its own: copying pages holds up neither the writer nor readers, and
    # what is left for the moment in which everybody waits is to cut the file.
    connection = sqlite3.connect(
        migrations.uri(path, "mode=rw"), uri=True, isolation_level=None, timeout=0
    )
    with closing(connection):
        busy, pages, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if not busy and pages == copied:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
