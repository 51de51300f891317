"""Retention: what is over goes, in small bites; what is unfinished, wanted or unwritten stays."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from ksi_tui.engine.store.base import Write
from ksi_tui.engine.store.records import UsageQuery
from ksi_tui.engine.store.sqlite import open_store
from ksi_tui.engine.store.upkeep import RequestsRemoved
from ksi_tui.engine.upkeep import cleanup, housekeeping, response_writer
from ksi_tui.engine.upkeep.cleanup import CleanUp
from tests.engine.engine_fixtures import (
    BOUND_S,
    HandClock,
    Rig,
    answers,
    config,
    fails,
    held,
    in_turn,
    running,
    until,
)
from tests.engine.store_values import T0, accepted, finished, moved, started

DAY_S = 86_400.0
TABLES = (
    *("requests", "payloads", "replies", "attempts", "calls", "actions"),
    *("sessions", "session_agents", "turns", "usage_sessions"),
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_writer, "LOOK_EVERY_S", 0.001)
    # No round but those that a test asks for.
    monkeypatch.setattr(housekeeping, "LOOK_EVERY_S", 3600)


def clean_up(rig: Rig) -> CleanUp:
    parts = rig.engine._parts
    assert parts is not None
    return parts.cleanup


async def filed(rig: Rig) -> None:
    """Wait until no result is without its file."""
    await until(lambda: rig.engine.snapshot().housekeeping.unfiled == 0, "all are in files")


def rows(folder: Path) -> dict[str, int]:
    """Return how many rows each table has."""
    with closing(sqlite3.connect(folder / "ksi.db")) as raw:
        return {
            table: raw.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in TABLES
        }


async def counts_are_true(rig: Rig) -> None:
    """The counts in memory, the counters on disk and the rows say the same."""
    await rig.core.store.write()
    with closing(sqlite3.connect(rig.engine.config.engine.database_path)) as raw:
        found = dict(raw.execute("SELECT state, COUNT(*) FROM requests GROUP BY state").fetchall())
    there = {state: found.get(state, 0) for state in State}
    assert dict(await rig.core.store.counts()) == there
    assert rig.core.counts == there


async def one_of_each(rig: Rig) -> tuple[str, str, str]:
    """Return a completed, a failed and a cancelled request, each in a session of its own."""
    done = await rig.submit("q", session_id="done", agent_id="a")
    await rig.ended(done)
    bad = await rig.submit(session_id="bad", agent_id="a", max_attempts=1)
    await rig.ended(bad)
    gone = await rig.submit(session_id="gone", agent_id="b")
    await rig.calls(3)
    await rig.emit("completion:cancel", request_id=gone, by="op1", reason="enough")
    await rig.ended(gone)
    await rig.settled()
    await filed(rig)
    return done, bad, gone


EACH = (answers, fails(ErrorKind.INVALID_REQUEST), held)


async def test_what_is_over_goes_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, engine={"retention_days": 7})
    async with running(settings, clock=clock, scripts={"p": in_turn(*EACH)}) as rig:
        done, bad, gone = await one_of_each(rig)
        used = await rig.core.store.usage(UsageQuery())
        before = rows(tmp_path)
        assert all(before.values()), before
        rig.engine._parts.end_idle_sessions(clock.now + 7200, 3600)  # type: ignore[union-attr]
        clock.now += 7 * DAY_S
        await clean_up(rig).round()
        assert rows(tmp_path)["requests"] == 3
        clock.now += 1
        await clean_up(rig).round()
        left = rows(tmp_path)
        # What somebody did to a session or a lock is old too.
        assert left == dict.fromkeys(TABLES, 0)
        assert await rig.core.store.usage(UsageQuery()) == used
        await counts_are_true(rig)
        status = await rig.emit("completion:status")
        assert set(status["status_counts"].values()) == {0}
        assert status["housekeeping"] == {
            "last_cleanup_at": "2027-01-22T08:00:01.000Z",
            "removed": {"requests": 3, "sessions": 3},
            "response_files": {"pending": 0, "fault": None},
        }
        shown = rig.engine.snapshot()
        assert shown.active == ()
        assert shown.housekeeping.removed_requests == 3
        for request_id in (done, bad, gone):
            reply = await rig.emit("completion:request_status", request_id=request_id)
            assert reply["code"] == "not_found"
        rig.p.script = answers
        again = await rig.emit(
            "completion:async", prompt="new", request_id=done, session_id="another"
        )
        assert "duplicate" not in again
        await until(lambda: len(rig.events("completion:result", done)) == 2)
    # Files are their user's: the line of the removed one stays.
    assert len(list((tmp_path / "responses").iterdir())) == 2


async def test_nothing_unfinished_nor_its_session_goes(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        runs = await rig.submit(session_id="s")
        waits = await rig.submit(session_id="s")
        await rig.calls(1)
        clock.now += 31 * DAY_S
        await clean_up(rig).round()
        assert rows(tmp_path)["requests"] == 2
        assert rows(tmp_path)["sessions"] == 1
        assert rig.core.tickets.keys() == {runs, waits}
        await counts_are_true(rig)


async def test_a_result_that_is_in_no_file_yet_stays(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": in_turn(*EACH)}) as rig:
        (tmp_path / "responses").write_text("in the way")
        done = await rig.submit(session_id="done")
        await rig.ended(done)
        await rig.ended(await rig.submit(session_id="bad", max_attempts=1))
        await rig.settled()
        await until(lambda: rig.core.upkeep.response_fault)
        clock.now += 31 * DAY_S
        await clean_up(rig).round()
        assert dict(await rig.core.store.states([done])) == {done: State.COMPLETED}
        assert rows(tmp_path)["requests"] == 1
        (tmp_path / "responses").unlink()
        await filed(rig)
        await clean_up(rig).round()
        assert rows(tmp_path)["requests"] == 0
        await counts_are_true(rig)


async def test_one_that_goes_again_stays(tmp_path: Path) -> None:
    clock = HandClock()
    script = in_turn(fails(ErrorKind.INVALID_REQUEST), held)
    async with running(config(tmp_path), clock=clock, scripts={"p": script}) as rig:
        bad = await rig.submit(session_id="s", max_attempts=1)
        await rig.ended(bad)
        await rig.settled()
        clock.now += 31 * DAY_S
        await rig.emit("completion:retry", request_id=bad)
        await clean_up(rig).round()
        await rig.calls(2)
        assert (await rig.status(bad))["status"] == "processing"
        await counts_are_true(rig)


async def test_a_retry_and_a_removal_never_meet(tmp_path: Path) -> None:
    clock = HandClock()
    script = in_turn(fails(ErrorKind.INVALID_REQUEST), answers)
    async with running(config(tmp_path), clock=clock, scripts={"p": script}) as rig:
        bad = await rig.submit(session_id="s", max_attempts=1)
        await rig.ended(bad)
        await rig.settled()
        clock.now += 31 * DAY_S
        read = rig.core.store.request
        looked, go_on = asyncio.Event(), asyncio.Event()

        async def slow(request_id: str) -> Any:
            found = await read(request_id)
            looked.set()
            await go_on.wait()
            return found

        rig.core.store.request = slow  # type: ignore[method-assign]
        retry = asyncio.create_task(rig.emit("completion:retry", request_id=bad))
        await looked.wait()
        removal = asyncio.create_task(clean_up(rig).round())
        # It has had every chance to remove what the retry has just looked at.
        for _ in range(20):
            await rig.core.store.write()
        go_on.set()
        assert (await retry)["changed"] is True
        await removal
        rig.core.store.request = read  # type: ignore[method-assign]
        await rig.event("completion:result", bad)
        await rig.settled()
        await counts_are_true(rig)
        assert rows(tmp_path)["requests"] == 1


async def test_sessions_that_hold_something_stay_and_empty_ones_go(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        for session_id in ("locked", "empty", "live"):
            await rig.ended(await rig.submit(session_id=session_id))
        await rig.emit("conversation:acquire_lock", session_id="only a lock", agent_id="a")
        await rig.emit("conversation:release_lock", session_id="only a lock", agent_id="a")
        await rig.settled()
        await filed(rig)
        parts = rig.engine._parts
        assert parts is not None
        clock.now += 31 * DAY_S
        hold = {"session_id": "locked", "agent_id": "a", "timeout_s": 9 * DAY_S}
        await rig.emit("conversation:acquire_lock", **hold)
        rig.core.sessions.seen("live", None, clock.now)
        parts.end_idle_sessions(clock.now, 3600)
        await clean_up(rig).round()
        known = [await rig.core.store.session(s) for s in ("locked", "live", "empty")]
        assert [session is not None for session in known] == [True, True, False]
        assert await rig.core.store.session("only a lock") is None
        assert rows(tmp_path)["requests"] == 0


async def test_a_bite_is_small_and_a_backlog_takes_many(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        batch = [{"prompt": "x", "session_id": f"s{n % 7}"} for n in range(200)]
        reply = await rig.emit("completion:batch", requests=batch)
        await rig.ended(*(each["request_id"] for each in reply["accepted"]))
        await rig.settled()
        await filed(rig)
        clock.now += 31 * DAY_S
        removed: list[int] = []
        write = rig.core.store.write

        def seen(*writes: Write) -> asyncio.Future[None]:
            removed.extend(len(w.expired) for w in writes if isinstance(w, RequestsRemoved))
            return write(*writes)

        rig.core.store.write = seen  # type: ignore[method-assign]
        clean_up(rig)._bite.took(3600)
        await clean_up(rig).round()
        assert sum(removed) == 200
        assert removed[0] == 32
        assert len(removed) >= 3
        assert rows(tmp_path)["requests"] == 0


def test_a_bite_follows_the_disk() -> None:
    bite = cleanup.Bite()
    for _ in range(20):
        bite.took(1.0)
    assert bite.rows == bite.LEAST
    bite.took(bite.LONG_S / 2)
    assert bite.rows == bite.LEAST
    for _ in range(20):
        bite.took(0.001)
    assert bite.rows == bite.MOST


async def test_terms_for_a_request_go_with_it(tmp_path: Path) -> None:
    clock, no = HandClock(), fails(ErrorKind.INVALID_REQUEST)
    async with running(config(tmp_path), clock=clock, scripts={"p": no}) as rig:
        terms = {"mode": "next", "target_sessions": ["z"]}
        await rig.emit("injection:queue", request_id="gone", injection_config=terms)
        await rig.ended(await rig.submit(request_id="gone"))
        clock.now += 40 * DAY_S
        await clean_up(rig).round()
        assert (await rig.emit("injection:status"))["queued_terms"] == 0
        assert (await rig.core.store.load()).injection_terms == {}


async def test_a_lock_whose_alarm_was_not_heard_ends(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await rig.emit("conversation:acquire_lock", session_id="s", agent_id="a", timeout_s=60)
        rig.core.alarms.clear(("lock", "s"))
        waits = await rig.submit(session_id="s", agent_id="b")
        clock.now += 59
        await clean_up(rig).round()
        assert rig.core.locks.get("s") is not None
        clock.now += 1
        await clean_up(rig).round()
        assert rig.core.locks.get("s") is None
        await rig.ended(waits)
        await rig.core.store.write()
        assert (await rig.core.store.load()).locks == []


async def test_a_step_that_fails_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await rig.ended(await rig.submit(session_id="s"))
        await rig.settled()
        await filed(rig)
        clock.now += 31 * DAY_S

        def broken(session_id: str, now: float) -> None:
            raise RuntimeError("broken")

        rig.core.locks.acquire("s", "a", 10 * DAY_S, clock.now, None)
        clean_up(rig)._locks.settle = broken  # type: ignore[method-assign]
        await clean_up(rig).round()
        assert rows(tmp_path)["requests"] == 0
        assert "clean-up: a step failed" in caplog.text
        assert rig.core.upkeep.last_cleanup_at == clock.now


async def test_it_runs_every_five_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "LOOK_EVERY_S", 0.001)
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        began = clock.now
        await until(lambda: rig.core.upkeep.last_cleanup_at == began)
        clock.now += 299
        looks = 0

        def looked() -> bool:
            nonlocal looks
            looks += 1
            return looks > 20

        await until(looked)
        assert rig.core.upkeep.last_cleanup_at == began
        clock.now += 1
        await until(lambda: rig.core.upkeep.last_cleanup_at == began + 300)


def test_what_is_due() -> None:
    every = housekeeping.Every(60)
    assert [every.due(now) for now in (10.0, 69.9, 70.0, 70.0, 300.0, 359.0)] == [
        *(True, False, True),
        *(False, True, False),
    ]


# --- the size of the files ------------------------------------------------------------------------


async def test_a_long_log_is_emptied_but_waited_for_is_nobody(tmp_path: Path) -> None:
    path = tmp_path / "ksi.db"
    log = tmp_path / "ksi.db-wal"
    async with running(config(tmp_path)) as rig:
        store = rig.core.store
        await store._writer._connection.execute("PRAGMA wal_autocheckpoint=0")  # type: ignore[attr-defined]
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT COUNT(*) FROM requests").fetchone()
            await rig.ended(*[await rig.submit("x" * 50_000, session_id="s") for _ in range(5)])
            await rig.settled()
            await filed(rig)  # that too is written to the log
            size = log.stat().st_size
            assert size > 250_000
            await store.shrink_log(size)
            assert log.stat().st_size == size
            async with asyncio.timeout(BOUND_S):
                await store.shrink_log(1000)
            assert log.stat().st_size >= size
            reader.execute("ROLLBACK")
        await store.shrink_log(1000)
        assert log.stat().st_size == 0
        await rig.ended(await rig.submit(session_id="s"))


async def test_freed_room_is_used_again(tmp_path: Path) -> None:
    clock = HandClock()
    sizes = []
    async with running(config(tmp_path), clock=clock) as rig:
        for _ in range(4):
            sent = [await rig.submit("x" * 20_000, session_id="s") for _ in range(20)]
            await rig.ended(*sent)
            await rig.settled()
            await filed(rig)
            await rig.core.store.shrink_log(0)
            sizes.append((tmp_path / "ksi.db").stat().st_size)
            clock.now += 31 * DAY_S
            rig.engine._parts.end_idle_sessions(clock.now, 3600)  # type: ignore[union-attr]
            await clean_up(rig).round()
    assert sizes[0] > 400_000
    assert sizes[-1] < sizes[0] * 1.2


async def test_the_store_leaves_alone_what_has_ended_anew(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "ksi.db")
    await store.write(accepted(1), started(1), finished(1, 1, State.FAILED))
    (old,) = await store.expired(T0 + 100, 0, 10, now=T0 + 100)
    again = moved(1, State.FAILED, State.QUEUED, queued_at=T0 + 50)
    await store.write(again, started(1), finished(1, 2))
    await store.write(RequestsRemoved(expired=[old]))
    assert await store.states(["r-1"]) == {"r-1": State.COMPLETED}
    assert (await store.counts())[State.COMPLETED] == 1
    assert await store.expired(T0 + 100, 1, 10, now=T0 + 100) == []
    assert len(await store.expired(T0 + 100, 2, 10, now=T0 + 100)) == 1
    assert await store.expired(T0 + 2.5, 2, 10, now=T0 + 100) == []
    await store.aclose()


async def test_those_that_ended_while_a_clock_was_ahead_keep_nobody_who_came_later(
    tmp_path: Path,
) -> None:
    store = await open_store(tmp_path / "ksi.db")
    ahead_s = 365 * DAY_S
    for number in range(1, 8):
        at = T0 + number + (ahead_s if number <= 4 else 0)
        await store.write(accepted(number), started(number), finished(number, number, at=at))
    now = T0 + 31 * DAY_S
    found = await store.expired(now - DAY_S, 7, 2, now=now)
    assert [each.request_id for each in found] == ["r-5", "r-6"]
    await store.aclose()
