"""Group commit: what is handed over in one moment shares one transaction.

One task writes; nothing else does. It knows batches and failures, not what the writes
mean. While a transaction is on its way to the disk the next one gathers, and they who
waited for the one before are told in the meantime.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import aiosqlite

from ksi_tui.engine.errors import StoreError, StoreUnavailable
from ksi_tui.engine.store import migrations
from ksi_tui.engine.store.base import Accepted, Write
from ksi_tui.engine.store.numbering import NumbersGiven
from ksi_tui.engine.store.wide import flat, runs
from ksi_tui.engine.store.writes import Batch, request_of

FIRST_DELAY_S: Final = 0.2
LAST_DELAY_S: Final = 2.0
_YIELD_EVERY: Final = 256
_SETTLED_AT_ONCE: Final = 64
_MOST_DROPPED: Final = 10_000
"""So many learn in one turn of the loop that they are on disk: what follows from each runs in the
next one. Thousands in one turn would be felt by everybody; and with fewer than wait, the next
transaction is on its way with what the first ones wrote while the last ones are told."""

_REFUSED: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
"""Errors of a value, not of the disk: trying again would fail again."""

_log = logging.getLogger(__name__)


class GroupConnection(sqlite3.Connection):
    """A connection whose `commit` writes a whole batch, from BEGIN to COMMIT.

    Each call through aiosqlite is a hop to its thread and back; this makes a transaction
    cost one hop instead of one a statement.
    """

    batch: Batch | None = None

    def commit(self) -> None:
        """Write the batch; when anything fails, nothing of it is written and the error raised."""
        batch, self.batch = self.batch, None
        if batch is None:
            return
        try:
            self.execute("BEGIN IMMEDIATE")
            for statement, rows in batch.steps():
                for text, some in runs(statement, rows):
                    if text is statement:
                        self.executemany(text, some)
                    else:
                        self.execute(text, flat(some))
            self.execute("COMMIT")
        finally:
            if self.in_transaction:
                self.execute("ROLLBACK")


@dataclass(slots=True)
class _Handover:
    """Writes that belong together, and the future of whoever handed them over."""

    writes: Sequence[Write]
    done: asyncio.Future[None]

    def settle(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: StoreError) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            # Looking at it marks it as retrieved: the future may have been dropped.
            self.done.exception()


class GroupWriter:
    """Takes writes at once and puts them on disk in order, in as few transactions as it can.

    Make it inside a running loop; it owns its connection. `fault` says why writes are failing
    now, None when they are not; `damaged`: the file is broken, and waiting does not help.
    """

    def __init__(
        self, path: Path, connection: aiosqlite.Connection, group: GroupConnection
    ) -> None:
        self.fault: str | None = None
        self.damaged = False
        self._path = path
        self._connection = connection
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._pending: list[_Handover] = []
        self._batch: Batch | None = Batch()
        self._taken: deque[_Handover] = deque()
        self._written: deque[_Handover] = deque()
        self._wake = asyncio.Event()
        self._latest: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()
        self._closed: StoreUnavailable | None = None
        self._delay_s = FIRST_DELAY_S
        self._dropped: dict[str, None] = {}
        self._task = asyncio.create_task(self._run(), name="store-writer")

    def write(self, writes: Sequence[Write], within_s: float = 0.0) -> asyncio.Future[None]:
        """Hand over writes; see `Store.write` and `Store.write_within`."""
        handover = _Handover(writes, self._loop.create_future())
        if self._closed is not None:
            handover.fail(self._closed)
            return handover.done
        if within_s <= 0:
            self._wake.set()
        elif self._latest is None:
            self._latest = self._loop.call_later(within_s, self._wake.set)
        self._keep(handover)
        return handover.done

    async def drain(self) -> None:
        """Write what is pending and take no more.

        What cannot be written now is given up, and its futures raise StoreUnavailable.
        """
        self._stopping.set()
        self._wake.set()
        await self._task

    async def aclose(self) -> None:
        """Put what was written into the database file and release the connection."""
        try:
            await self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            # Nothing is lost: what is not in the file stays in its log.
            _log.warning("%s", migrations.unavailable(self._path, "tidy up", error))
        finally:
            await self._connection.close()

    # --- the writer task ------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while self._pending or not self._stopping.is_set():
                await self._wake.wait()
                self._wake.clear()
                if self._pending:
                    await self._write_pending()
            while self._written:
                self._settle()
            self._end("the database is closed")
        except Exception as error:
            _log.exception("the writer of %s ended", self._path)
            self.fault = f"the writer of {self._path} ended: {error!r}"
            self._end(self.fault)

    def _end(self, why: str) -> None:
        self._closed = StoreUnavailable(why)
        self._nothing_waits()
        self._give_up(self._closed)

    def _give_up(self, error: StoreUnavailable) -> None:
        for handover in (*self._taken, *self._pending):
            handover.fail(error)
        self._taken.clear()
        self._pending.clear()

    async def _write_pending(self) -> None:
        # What the others do in this turn of the loop comes along: often it ends what has begun.
        await asyncio.sleep(0)
        self._nothing_waits()
        batch, self._batch = self._batch, Batch()
        self._taken.extend(self._pending)
        self._pending.clear()
        try:
            await self._commit(batch or await _batch_of(self._taken))
        except _REFUSED:
            await self._write_singly()
        except sqlite3.Error as error:
            await self._failed(error)
        else:
            self._done(len(self._taken))

    def _nothing_waits(self) -> None:
        """Take note that all that is pending is written now."""
        if self._latest is not None:
            self._latest.cancel()
            self._latest = None

    async def _write_singly(self) -> None:
        """Find out which hand-over is refused, so that it does not hold up the others."""
        while self._taken:
            handover = self._taken[0]
            try:
                await self._commit(await _batch_of([handover]))
            except _REFUSED as error:
                _log.error("a write to %s was refused: %r", self._path, error)
                handover.fail(StoreError(f"cannot store this in {self._path}: {error}"))
                if not isinstance(error, sqlite3.IntegrityError):
                    # Else another one of that id is on disk, and what is written is its.
                    self._drop_rest(handover)
                self._done(1)
            except sqlite3.Error as error:
                await self._failed(error)
                return
            else:
                self._done(1)

    async def _commit(self, batch: Batch) -> None:
        self._group.batch = batch
        await self._connection.commit()

    def _done(self, count: int) -> None:
        """Let the first `count` of those that were taken know, soon, that they are on disk."""
        self.fault, self.damaged = None, False
        self._delay_s = FIRST_DELAY_S
        if count and not self._written:
            self._loop.call_soon(self._settle)
        self._written.extend(self._taken.popleft() for _ in range(count))

    def _settle(self) -> None:
        for _ in range(min(_SETTLED_AT_ONCE, len(self._written))):
            self._written.popleft().settle()
        if self._written:
            self._loop.call_soon(self._settle)

    # --- failures -------------------------------------------------------------------------

    async def _failed(self, error: sqlite3.Error) -> None:
        unavailable = migrations.unavailable(self._path, "write", error)
        if self.fault is None:
            _log.error("%s", unavailable)
        self.fault, self.damaged = str(unavailable), migrations.damaged(error)
        self._drop_accepted(unavailable)
        if self._stopping.is_set():
            self._give_up(unavailable)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._delay_s)
        self._delay_s = min(self._delay_s * 2, LAST_DELAY_S)
        self._wake.set()

    def _drop_accepted(self, unavailable: StoreUnavailable) -> None:
        """Refuse new requests, with what was handed over beside them; keep everything else."""
        waiting = [*self._taken, *self._pending]
        self._taken.clear()
        self._pending.clear()
        self._batch = None
        for handover in waiting:
            if any(isinstance(write, Accepted | NumbersGiven) for write in handover.writes):
                self._drop(_accepted(handover))
                handover.fail(unavailable)
            else:
                self._keep(handover)

    def _drop_rest(self, refused: _Handover) -> None:
        """Leave out what was handed over since of requests that are refused for what they hold."""
        if accepted := _accepted(refused):
            self._drop(accepted)
            self._batch = None
            for handover in (*self._taken, *self._pending):
                if handover.writes:
                    self._leave_out(handover)

    def _drop(self, request_ids: Iterable[str]) -> None:
        """Remember requests as refused: what follows of them is on its way, and soon here."""
        self._dropped |= dict.fromkeys(request_ids)
        for request_id in list(islice(self._dropped, max(0, len(self._dropped) - _MOST_DROPPED))):
            del self._dropped[request_id]

    def _keep(self, handover: _Handover) -> None:
        """Let a hand-over wait for the disk, without what concerns requests that were refused."""
        if self._dropped and handover.writes:
            for request_id in _accepted(handover):
                self._dropped.pop(request_id, None)
            self._leave_out(handover)
            if not handover.writes:
                return
        self._pending.append(handover)
        self._gather(handover)

    def _gather(self, handover: _Handover) -> None:
        if self._batch is None or len(handover.writes) > _YIELD_EVERY:
            self._batch = None  # it is put together when it is written, bit by bit
            return
        try:
            for write in handover.writes:
                self._batch.add(write)
        except _REFUSED:
            self._batch = None  # whose fault it is will be found out then

    def _leave_out(self, handover: _Handover) -> None:
        handover.writes = [w for w in handover.writes if request_of(w) not in self._dropped]
        if not handover.writes:
            handover.fail(StoreUnavailable("its request was refused"))


async def _batch_of(handovers: Iterable[_Handover]) -> Batch:
    batch = Batch()
    writes = [write for handover in handovers for write in handover.writes]
    for count, write in enumerate(writes, start=1):
        batch.add(write)
        if count % _YIELD_EVERY == 0:
            await asyncio.sleep(0)
    return batch


def _accepted(handover: _Handover) -> set[str]:
    """Return the ids of the new requests in a hand-over."""
    return {write.spec.request_id for write in handover.writes if isinstance(write, Accepted)}
