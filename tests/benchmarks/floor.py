"""What durable completions take at the least: the same rows in SQLite, the same waits in the loop.

No engine: writes that are ready go to a connection in its thread, in groups as large as the
engine's, and a task for each request waits until it is accepted and until it has ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ksi_tui.engine.models import State
from ksi_tui.engine.store import migrations
from ksi_tui.engine.store.base import AttemptBooked, CallBooked, Write
from ksi_tui.engine.store.writer import GroupConnection
from ksi_tui.engine.store.writes import Batch
from tests.engine.store_values import accepted, attempt, call, envelope, finished

GROUP = 256
_TURN = ({"role": "user", "content": "question"}, {"role": "assistant", "content": "question"})


async def floor(folder: Path, count: int = 10_240) -> dict[str, Any]:
    """Write what `count` completions write, in groups, and wake a task a request twice."""
    connection = opened(folder / "floor.db")
    groups = [range(first, first + GROUP) for first in range(1, count, GROUP)]
    batches = [(batch_of(map(entry, group)), batch_of(map(_end, group))) for group in groups]
    began, began_cpu = time.perf_counter(), time.process_time()
    for group, pair in zip(groups, batches, strict=True):
        await _round(connection, len(group), pair)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    connection.close()
    return {"requests": len(groups) * GROUP, "wall_s": wall_s, "cpu_s": cpu_s}


def opened(path: Path) -> GroupConnection:
    """Make a database and return a connection to it that writes as durably as the engine's."""
    migrations.prepare(path)
    connection = GroupConnection(path, isolation_level=None, check_same_thread=False)
    connection.executescript("PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=4000;")
    return connection


def batch_of(writes: Iterable[Iterable[Write]]) -> Batch:
    """Return what a transaction writes."""
    batch = Batch()
    for each in writes:
        for write in each:
            batch.add(write)
    return batch


def entry(number: int) -> Sequence[Write]:
    """Return what accepting a request writes."""
    return (accepted(number, session_id=f"s-{number}"),)


def _end(number: int) -> Sequence[Write]:
    end = finished(
        number,
        number,
        State.COMPLETED,
        was=State.QUEUED,
        started_at=1.0,
        result=envelope("question"),
        text="question",
        turn=_TURN,
    )
    return (end, AttemptBooked(attempt=attempt(number)), CallBooked(call=call(number)))


async def _round(connection: GroupConnection, count: int, pair: tuple[Batch, Batch]) -> None:
    loop = asyncio.get_running_loop()
    waits = [(loop.create_future(), loop.create_future()) for _ in range(count)]

    async def request(entered: asyncio.Future[None], ended: asyncio.Future[None]) -> None:
        await entered
        await ended

    tasks = [asyncio.create_task(request(*each)) for each in waits]
    for step, batch in enumerate(pair):
        connection.batch = batch
        await asyncio.to_thread(connection.commit)
        for each in waits:
            each[step].set_result(None)
    await asyncio.gather(*tasks)
