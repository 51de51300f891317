"""The store while the disk fails: what is refused, what is kept, and what it says."""

# A loop that waits for its child process has nothing else to do here.
# ruff: noqa: ASYNC221

from __future__ import annotations

import asyncio
import gc
import json
import logging
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from ksi_tui.engine.errors import ErrorKind, StoreError, StoreUnavailable
from ksi_tui.engine.models import State
from ksi_tui.engine.store import writer
from ksi_tui.engine.store.base import CallBooked, ProviderSaved, SessionSeen
from ksi_tui.engine.store.records import UsageQuery
from ksi_tui.engine.store.sqlite import SqliteStore, open_reader, open_store
from tests.engine.store_values import T0, accepted, call, finished, moved, started

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(writer, "LAST_DELAY_S", 0.05)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await open_store(tmp_path / "ksi.db")
    yield opened
    await opened.aclose()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the store tells nobody of a fault
            await asyncio.sleep(0.001)


def _note(done: list[int], turn: int, _: asyncio.Future[None]) -> None:
    done.append(turn)


async def _limit_pages(store: SqliteStore, more: int | None) -> None:
    """Let the database grow by no more than so many pages (None: without limit)."""
    raw = store._writer._connection
    row = await (await raw.execute("PRAGMA page_count")).fetchone()
    assert row is not None
    await raw.execute(f"PRAGMA max_page_count={row[0] + more if more is not None else 2**30}")


async def test_a_full_disk_refuses_new_requests_and_keeps_the_rest(store: SqliteStore) -> None:
    await store.write(accepted(1), started(1))
    await _limit_pages(store, 0)
    big = "x" * 50_000
    refused = store.write(
        accepted(2, prompt=big), SessionSeen(session_id="beside", created_at=T0, last_activity=T0)
    )
    kept = store.write(finished(1, 1, text=big))
    with pytest.raises(StoreUnavailable, match="the disk is full; free some space"):
        await refused
    await _until(lambda: store.fault is not None)
    assert str(store._path) in str(store.fault)
    assert "the disk is full" in str(store.fault)
    assert not kept.done()
    assert await store.states(["r-1", "r-2"]) == {"r-1": State.PROCESSING}
    with pytest.raises(StoreUnavailable):
        await store.write(accepted(3, prompt=big))
    await _limit_pages(store, None)
    async with asyncio.timeout(PATIENCE_S):
        await kept
    assert store.fault is None
    assert await store.states(["r-1", "r-2", "r-3"]) == {"r-1": State.COMPLETED}
    assert await store.session("beside") is None
    counts = await store.counts()
    assert {state: count for state, count in counts.items() if count} == {State.COMPLETED: 1}
    await store.write(accepted(2))
    assert (await store.counts())[State.QUEUED] == 1


async def test_what_follows_a_refused_request_is_refused_with_it(store: SqliteStore) -> None:
    await store.write(accepted(1))
    await _limit_pages(store, 0)
    refused = store.write(accepted(2, prompt="x" * 50_000))
    followed = store.write(started(2))
    mixed = store.write(
        CallBooked(call=call(2)), started(1), ProviderSaved(provider="p", state={"a": "x" * 50_000})
    )
    for future in (refused, followed):
        with pytest.raises(StoreUnavailable):
            await future
    later = store.write(finished(2, 1))
    assert isinstance(later.exception(), StoreUnavailable)
    await _limit_pages(store, None)
    async with asyncio.timeout(PATIENCE_S):
        await mixed
    recovery = await store.load()
    assert recovery.counts == {**dict.fromkeys(State, 0), State.PROCESSING: 1}
    assert set(recovery.providers) == {"p"}
    assert await store.results() == []
    await store.write(accepted(2))
    await store.write(moved(2, State.QUEUED, State.PROCESSING))
    assert (await store.states(["r-2"]))["r-2"] is State.PROCESSING


async def test_what_is_kept_keeps_its_order(store: SqliteStore) -> None:
    await store.write(accepted(1), started(1))
    await _limit_pages(store, 0)
    big = "x" * 50_000
    done: list[int] = []
    for turn in range(5):
        future = store.write(
            finished(
                1, 2 * turn + 1, State.FAILED, text=f"{turn}{big}", error_kind=ErrorKind.TIMEOUT
            )
        )
        future.add_done_callback(partial(_note, done, turn))
        store.write(moved(1, State.FAILED, State.QUEUED, queued_at=T0 + turn))
        store.write(moved(1, State.QUEUED, State.PROCESSING, started_at=T0 + turn))
        await asyncio.sleep(0)
    last = store.write(finished(1, 11, text="end"))
    await _until(lambda: store.fault is not None)
    assert done == []
    await _limit_pages(store, None)
    async with asyncio.timeout(PATIENCE_S):
        await last
    found = await store.request("r-1")
    assert found is not None
    assert (found.state, found.text, found.queued_at) == (State.COMPLETED, "end", T0 + 4)
    assert done == [0, 1, 2, 3, 4]


async def test_a_lock_by_another_program_is_waited_for(store: SqliteStore, tmp_path: Path) -> None:
    await store._writer._connection.execute("PRAGMA busy_timeout=1")
    with closing(sqlite3.connect(tmp_path / "ksi.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        kept = store.write(ProviderSaved(provider="p", state={}))
        await _until(lambda: store.fault is not None)
        assert "another program holds it locked" in str(store.fault)
        assert not kept.done()
        other.execute("ROLLBACK")
    async with asyncio.timeout(PATIENCE_S):
        await kept
    assert store.fault is None


async def test_a_value_that_cannot_be_stored_is_refused_alone(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        bad_json = store.write(accepted(1, metadata={"a": object()}))
        bad_id = store.write(accepted(2, session_id="\ud800"))
        too_big = store.write(accepted(3), finished(3, 2**70))
        good = [store.write(accepted(number)) for number in (4, 5)]
        await asyncio.gather(*good)
    for future in (bad_json, bad_id, too_big):
        assert isinstance(future.exception(), StoreError)
    assert (await store.counts())[State.QUEUED] == 2
    assert store.fault is None
    assert len(caplog.records) == 3


async def test_closing_on_a_full_disk_gives_up_what_it_cannot_write(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "ksi.db")
    await store.write(accepted(1))
    await _limit_pages(store, 0)
    lost = store.write(ProviderSaved(provider="p", state={"a": "x" * 50_000}))
    await _until(lambda: store.fault is not None)
    async with asyncio.timeout(PATIENCE_S):
        await store.aclose()
    assert isinstance(lost.exception(), StoreUnavailable)
    again = await open_store(tmp_path / "ksi.db")
    assert (await again.counts())[State.QUEUED] == 1
    await again.aclose()


async def test_closing_goes_on_when_its_caller_is_cancelled(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "ksi.db")
    pending = store.write(*[accepted(number) for number in range(1, 500)])
    closing_it = asyncio.create_task(store.aclose(), name="closing")
    await asyncio.sleep(0)
    closing_it.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing_it
    await store.aclose()
    assert pending.done()
    assert pending.exception() is None
    await (await open_store(tmp_path / "ksi.db")).aclose()


async def test_a_dropped_future_is_not_complained_about(
    store: SqliteStore,
) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    await store.write(accepted(1))
    store.write(accepted(2, request_id="r-1"))
    cancelled = store.write(accepted(3))
    cancelled.cancel()
    await store.write()
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []
    assert await store.states(["r-3"]) == {"r-3": State.QUEUED}


async def test_a_cancelled_question_does_not_disturb_the_next(store: SqliteStore) -> None:
    await store.write(*[accepted(number) for number in range(1, 200)])
    for steps in range(12):
        question = asyncio.create_task(store.request("r-1"), name="question")
        for _ in range(steps):
            await asyncio.sleep(0)
        question.cancel()
        await asyncio.wait([question])
        found = await store.request("r-2")
        assert found is not None


# --- killed in the middle -----------------------------------------------------------------

BUSY = """
import asyncio, itertools, json, sys
from pathlib import Path
from ksi_tui.engine.models import State
from ksi_tui.engine.store.sqlite import open_store
from tests.engine.store_values import accepted, finished, started, call
from ksi_tui.engine.store.base import (CallBooked)

async def main():
    store = await open_store(Path(sys.argv[1]))
    numbers, seqs = itertools.count(1), itertools.count(1)

    def say(word, number):
        sys.stdout.write(f"{word} {number}\\n")
        sys.stdout.flush()

    async def client():
        for number in numbers:
            await store.write(accepted(number))
            say("accepted", number)
            store.write(started(number))
            seq = next(seqs)
            await store.write(CallBooked(call=call(number)), finished(number, seq, text="t"))
            say("finished", number)

    await asyncio.gather(*(client() for _ in range(8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 300, 1500])
async def test_what_was_acknowledged_survives_sigkill(tmp_path: Path, lines: int) -> None:
    database = tmp_path / "ksi.db"
    said = _kill_after(database, lines)
    acknowledged = {word: {n for w, n in said if w == word} for word in ("accepted", "finished")}
    async with await open_reader(database) as reader:
        states = await reader.states([f"r-{number}" for number in acknowledged["accepted"]])
        counts = await reader.counts()
    store = await open_store(database)
    recovery = await store.load()
    results = await store.results(limit=10**6)
    ((_, usage),) = await store.usage(UsageQuery())
    await store.aclose()
    assert len(said) >= lines
    assert len(states) == len(acknowledged["accepted"])
    done = {f"r-{number}" for number in acknowledged["finished"]}
    assert {rid for rid in done if states[rid] is not State.COMPLETED} == set()
    assert done <= {printed["request_id"] for _, printed in results}
    assert usage.calls == len(results) == counts[State.COMPLETED]
    assert len(recovery.unfinished) == sum(counts[s] for s in State if not s.final)
    assert recovery.next_place > max(acknowledged["accepted"])
    assert recovery.next_finish_seq == max((seq for seq, _ in results), default=0) + 1


def _kill_after(database: Path, lines: int) -> list[tuple[str, int]]:
    command = [sys.executable, "-c", BUSY, str(database)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    whole = [line.split() for line in said if line.endswith("\n")]
    return [(word, int(number)) for word, number in whole]


async def test_a_disk_that_fills_up_for_real(tmp_path: Path) -> None:
    """A limit on the size of files, as an operating system enforces it."""
    script = """
import asyncio, json, resource, signal, sys
from pathlib import Path
from ksi_tui.engine.errors import StoreUnavailable
from ksi_tui.engine.store.sqlite import open_store
from tests.engine.store_values import accepted

async def main():
    store = await open_store(Path(sys.argv[1]))
    await store.write(accepted(1))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = Path(sys.argv[1] + "-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        await store.write(accepted(2, prompt="x" * 50_000))
    except StoreUnavailable as error:
        refused = str(error)
    fault = store.fault
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    await store.write(accepted(3))
    counts = await store.counts()
    print(json.dumps([refused, fault, store.fault, sum(counts.values())]))
    await store.aclose()

asyncio.run(main())
"""
    command = [sys.executable, "-c", script, str(tmp_path / "ksi.db")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    refused, during, afterwards, count = json.loads(run.stdout)
    assert refused == during
    assert "disk" in refused
    assert (afterwards, count) == (None, 2)


async def test_what_follows_a_request_that_no_database_can_hold_is_refused_with_it(
    store: SqliteStore,
) -> None:
    await store.write(accepted(1))
    refused = store.write(accepted(2, max_attempts=2**70))
    followed, barrier = store.write(started(2)), store.write()
    mixed = store.write(started(1), CallBooked(call=call(2)))
    with pytest.raises(StoreError, match="cannot store this"):
        await refused
    assert isinstance(followed.exception(), StoreUnavailable)
    await asyncio.gather(barrier, mixed)
    later = store.write(finished(2, 1))
    assert isinstance(later.exception(), StoreUnavailable)
    with pytest.raises(StoreError, match="cannot store this"):
        await store.write(accepted(1))
    await store.write(finished(1, 1))
    recovery = await store.load()
    assert recovery.counts == {**dict.fromkeys(State, 0), State.COMPLETED: 1}
    await store.write(accepted(2))
    assert (await store.counts())[State.QUEUED] == 1


async def test_what_is_in_no_hurry_goes_with_what_is_and_is_kept_by_the_end(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "ksi.db")
    later = store.write_within(3600, accepted(1))
    await asyncio.sleep(0.01)
    assert await store.states(["r-1"]) == {}
    await store.write(started(1))
    assert later.done()
    last = store.write_within(3600, finished(1, 1))
    await store.aclose()
    assert last.exception() is None
    reader = await open_reader(tmp_path / "ksi.db")
    assert [found["request_id"] for _, found in await reader.results()] == ["r-1"]
    await reader.aclose()


async def test_what_is_in_no_hurry_is_written_in_time_by_itself(store: SqliteStore) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(
            store.write_within(0.001, accepted(1)), store.write_within(3600, accepted(2))
        )
        await store.write_within(0.001, accepted(3))
    assert len(await store.states(["r-1", "r-2", "r-3"])) == 3
