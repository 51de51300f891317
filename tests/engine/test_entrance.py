"""Who is followed begins while it is on its way to disk; nothing is told before it is there."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from ksi_tui.engine.store import writer
from ksi_tui.engine.store.writer import GroupConnection
from tests.engine.engine_fixtures import Rig, config, fails, held, running, until


class Disk:
    """The disk of a test: transactions wait while it is `slow`, and fail while it has a fault."""

    def __init__(self) -> None:
        self.slow = threading.Event()
        self.fault: Exception | None = None
        self.commits = 0

    @contextmanager
    def waited_for(self) -> Iterator[None]:
        """Let transactions wait."""
        self.slow.clear()
        try:
            yield
        finally:
            self.slow.set()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made, commit = Disk(), GroupConnection.commit
    made.slow.set()

    def committed(self: GroupConnection) -> None:
        if self.batch is not None:
            made.slow.wait(20)
            made.commits += 1
            if made.fault is not None:
                self.batch = None
                raise made.fault
        commit(self)

    monkeypatch.setattr(GroupConnection, "commit", committed)
    monkeypatch.setattr(writer, "FIRST_DELAY_S", 0.01)
    return made


def _submitted(rig: Rig, **data: Any) -> asyncio.Task[dict[str, Any]]:
    data = {"prompt": "x", "request_id": "mine", **data}
    return asyncio.create_task(rig.emit("completion:async", **data), name="submit")


def _on_disk(folder: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(folder / "ksi.db") as database:
        return database.execute("SELECT request_id, state FROM requests").fetchall()


async def test_a_followed_request_is_called_before_and_told_after_it_is_on_disk(
    tmp_path: Path, disk: Disk
) -> None:
    async with running(config(tmp_path)) as rig, rig.engine.subscribe("request:mine") as told:
        with disk.waited_for():
            submitting = _submitted(rig)
            await until(lambda: rig.p.calls and rig.p.calls[0].over)
            for _ in range(50):
                await asyncio.sleep(0)
            assert not submitting.done()
            assert "completion:result" not in [event.name for event in told.drain()]
            assert _on_disk(tmp_path) == []
        reply = await submitting
        assert (reply["status"], reply["position"], reply["session_active"]) == ("queued", 1, False)
        await rig.ended("mine")
        assert _on_disk(tmp_path) == [("mine", "completed")]
        assert "completion:result" in [event.name for event in told.drain()]
        assert not rig.left_over()


async def test_it_is_written_down_with_its_beginning_in_one_transaction(
    tmp_path: Path, disk: Disk
) -> None:
    async with (
        running(config(tmp_path), scripts={"p": held}) as rig,
        rig.engine.subscribe("request:mine"),
    ):
        before = disk.commits
        await _submitted(rig)
        assert disk.commits == before + 1
        assert _on_disk(tmp_path) == [("mine", "processing")]
        rig.p.of("x").go.set()
        await rig.ended("mine")


async def test_one_that_is_answered_soon_and_whole_takes_one_transaction(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ksi_tui.engine.entrance.UNHURRIED_S", 3600.0)
    monkeypatch.setattr("ksi_tui.engine.dispatch.UNHURRIED_S", 3600.0)
    async with running(config(tmp_path)) as rig, rig.engine.subscribe("request:mine"):
        before = disk.commits
        await _submitted(rig, stream=False)
        await rig.ended("mine")
        assert disk.commits == before + 1
        assert _on_disk(tmp_path) == [("mine", "completed")]
        await rig.settled()


async def test_one_that_is_not_is_on_disk_all_the_same(tmp_path: Path, disk: Disk) -> None:
    async with (
        running(config(tmp_path), scripts={"p": held}) as rig,
        rig.engine.subscribe("request:mine"),
    ):
        assert (await _submitted(rig, stream=False))["queued"]
        assert _on_disk(tmp_path) == [("mine", "processing")]
        rig.p.of("x").go.set()
        await rig.ended("mine")


@pytest.mark.parametrize(
    "more",
    [
        {"request_id": "other"},
        {"session_id": "s"},
        {"agent_id": "a", "conversation_lock": {"enabled": True}},
        {"injection_config": {"enabled": True, "mode": "next"}},
    ],
    ids=["nobody follows it", "a session", "a lock", "an injection"],
)
async def test_any_other_is_called_once_it_is_on_disk(
    tmp_path: Path, disk: Disk, more: dict[str, Any]
) -> None:
    async with running(config(tmp_path)) as rig, rig.engine.subscribe("request:mine"):
        with disk.waited_for():
            submitting = _submitted(rig, **more)
            await until(lambda: rig.core.entering)
            for _ in range(50):
                await asyncio.sleep(0)
            assert not rig.p.calls
        reply = await submitting
        await rig.ended(reply["request_id"])


@pytest.mark.parametrize("script", [held, fails(ErrorKind.NETWORK_ERROR), None])
async def test_one_that_cannot_be_written_down_is_taken_back(
    tmp_path: Path, disk: Disk, script: Any
) -> None:
    scripts = {"p": script} if script is not None else {}
    async with (
        running(config(tmp_path), scripts=scripts) as rig,
        rig.engine.subscribe("request:mine") as told,
    ):
        with disk.waited_for():
            submitting = _submitted(rig)
            await until(lambda: rig.p.calls)
            disk.fault = sqlite3.OperationalError("disk I/O error")
        reply = await submitting
        assert reply["code"] == "not_ready"
        assert "nothing was accepted" in reply["error"]
        await until(lambda: rig.p.calls[0].over)
        await until(lambda: not rig.left_over())
        assert (await rig.emit("completion:async", prompt="y"))["code"] == "not_ready"
        disk.fault = None
        await until(lambda: rig.core.store.fault is None)
        assert _on_disk(tmp_path) == []
        assert not any(rig.core.counts.values())
        assert not rig.core.recently_ended()
        ends = {"completion:result", "completion:error", "completion:cancelled"}
        assert not ends & {event.name for event in told.drain()}
        rig.p.script = held
        so_far = len(rig.p.calls)
        again = _submitted(rig)
        await until(lambda: len(rig.p.calls) > so_far)
        rig.p.calls[-1].go.set()
        assert (await again)["queued"]
        await rig.ended("mine")
        assert _on_disk(tmp_path) == [("mine", "completed")]


async def test_nobody_else_hears_of_one_before_it_is_on_disk(tmp_path: Path, disk: Disk) -> None:
    async with (
        running(config(tmp_path)) as rig,
        rig.engine.subscribe("request:mine") as followed,
        rig.engine.subscribe("*") as others,
    ):
        with disk.waited_for():
            submitting = _submitted(rig)
            await until(lambda: rig.p.calls and rig.p.calls[0].over)
            at_once = [event.name for event in followed.drain()]
            assert at_once[:3] == ["engine:snapshot", "completion:queued", "completion:progress"]
            assert [event.name for event in others.drain()] == ["engine:snapshot"]
        await submitting
        await rig.ended("mine")
        told = [event for event in others.drain() if event.data["request_id"] == "mine"]
        names = [event.name for event in told]
        assert (names[0], names[-1]) == ("completion:queued", "completion:result")
        assert set(names[1:-1]) == {"completion:progress"}
        assert [event.seq for event in told] == list(range(told[0].seq, told[0].seq + len(told)))
        assert [event.name for event in followed.drain()][-1] == "completion:result"
        once = [*at_once, *names].count("completion:queued")
        assert once == 2, "each is told once"


async def test_nobody_else_hears_of_one_that_is_taken_back(tmp_path: Path, disk: Disk) -> None:
    async with (
        running(config(tmp_path), scripts={"p": held}) as rig,
        rig.engine.subscribe("request:mine"),
        rig.engine.subscribe("*") as others,
    ):
        with disk.waited_for():
            submitting = _submitted(rig)
            await until(lambda: rig.p.calls)
            disk.fault = sqlite3.OperationalError("disk I/O error")
        assert (await submitting)["code"] == "not_ready"
        await until(lambda: rig.p.calls[0].over and not rig.left_over())
        disk.fault = None
        await until(lambda: rig.core.store.fault is None)
        await rig.settled()
        assert [event.name for event in others.drain()] == ["engine:snapshot"]


async def test_while_the_disk_fails_nobody_is_called_early(tmp_path: Path, disk: Disk) -> None:
    async with running(config(tmp_path)) as rig, rig.engine.subscribe("request:mine"):
        disk.fault = sqlite3.OperationalError("disk I/O error")
        assert (await rig.emit("completion:async", prompt="y"))["code"] == "not_ready"
        assert (await _submitted(rig))["code"] == "not_ready"
        assert not rig.p.calls
        disk.fault = None


async def test_one_that_queues_early_is_counted_once(tmp_path: Path, disk: Disk) -> None:
    full = config(tmp_path, engine={"max_queue_depth": 2, "max_concurrency": 1})
    async with (
        running(full, scripts={"p": held}) as rig,
        rig.engine.subscribe("request:mine"),
    ):
        await rig.submit("first", request_id="first")
        await until(lambda: rig.p.calls)
        with disk.waited_for():
            early = _submitted(rig)
            await until(lambda: rig.core.counts[State.QUEUED])
            other = _submitted(rig, request_id="other")
            await until(lambda: len(rig.core.entering) == 2)
            full_up = await rig.emit("completion:async", prompt="z")
            assert full_up["code"] == "queue_full"
            assert "2 requests wait" in full_up["error"]
        assert (await early)["queued"]
        assert (await other)["queued"]
        rig.p.script = _in_no_time
        rig.p.of("first").go.set()
        await rig.ended("first", "mine", "other")


async def _in_no_time(_: object) -> str:
    return "done"
