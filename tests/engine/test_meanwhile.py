"""What ends, enters or comes free while somebody's question or write is on its way."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine import events
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.payloads import Retry
from ksi_tui.engine.store import writer
from ksi_tui.engine.store.base import LockSaved, Write
from tests.engine.engine_fixtures import (
    Rig,
    answers,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
    until,
    until_turn,
)


def two(folder: Path, **more: Any) -> Any:
    return config(folder, providers=[provider("p"), provider("q", priority=2)], **more)


async def idle(rig: Rig) -> None:
    """Wait until nothing runs and whoever may go on has been looked at."""
    await until(lambda: not rig.core.queue.running_count and not rig.core.finishing)
    await rig.core.store.write()
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("followed", [False, True])
async def test_an_id_that_enters_and_ends_between_two_look_ups_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, followed: bool
) -> None:
    async with running(config(tmp_path)) as rig:
        store, looked, go = rig.core.store, 0, asyncio.Event()
        named = store.sessions_named

        async def sessions_named(names: Sequence[str]) -> frozenset[str]:
            nonlocal looked
            looked += 1
            if looked == 2:
                await go.wait()
            return await named(names)

        monkeypatch.setattr(store, "sessions_named", sessions_named)
        following = rig.engine.subscribe("request:x") if followed else None
        first = asyncio.create_task(rig.emit("completion:async", prompt="p", request_id="x"))
        again = asyncio.create_task(rig.emit("completion:async", prompt="p", request_id="x"))
        await rig.ended("x")
        go.set()
        assert (await first)["status"] == "queued"
        reply = await again
        assert (reply["duplicate"], reply["status"]) == (True, "completed")
        if following is not None:
            following.end()
        await rig.settled()
        assert (await rig.status("x"))["status"] == "completed"
        assert rig.p.prompts == ["p"]
        counts = (await rig.emit("completion:status"))["status_counts"]
        assert (counts["completed"], counts["queued"]) == (1, 0)


async def test_many_that_are_sent_elsewhere_leave_one_that_ends_meanwhile_its_answer(
    tmp_path: Path,
) -> None:
    async with running(two(tmp_path), scripts={"p": held}) as rig:
        await rig.submit(request_id="a")
        await rig.submit(request_id="b")
        first, second = await rig.calls(2)
        first.go.set()
        await until_turn(lambda: "a" in rig.core.finishing)
        acting = asyncio.create_task(
            rig.emit("completion:retry", request_ids=["a", "b"], avoid=["p"])
        )
        await asyncio.sleep(0)
        second.go.set()
        reply = await acting
        told = {each["request_id"]: each for each in reply["retried"]}
        for request_id in ("a", "b"):
            status = await rig.status(request_id)
            elsewhere = told[request_id].get("changed")
            await rig.ended(request_id)
            assert elsewhere or (status["status"], status["result"] is None) == (
                "completed",
                False,
            )
        await rig.settled()
        results = (await rig.emit("completion:results"))["results"]
        assert {each["request_id"] for each in results} == {"a", "b"}
    async with running(two(tmp_path), scripts={"p": held}) as rig:
        await rig.settled()
        assert rig.p.calls == []


async def test_one_that_has_just_ended_is_sent_nowhere(tmp_path: Path) -> None:
    async with running(two(tmp_path), scripts={"p": held}) as rig:
        await rig.submit(request_id="a")
        (call,) = await rig.calls(1)
        call.go.set()
        await until_turn(lambda: "a" in rig.core.finishing)
        ticket = rig.core.tickets["a"]
        bulk = rig.engine._parts.bulk  # type: ignore[union-attr]
        refused: dict[str, Any] = {}
        data = Retry(request_ids=["a"], avoid=["p"])
        with bulk._interventions.deed(data) as deed:
            bulk._hurry(ticket, data, refused, deed)
        assert refused["a"]["code"] == "conflict"
        assert "has just ended" in refused["a"]["error"]


async def test_a_session_s_retry_goes_on_with_those_that_can(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        providers=[provider("p", "m1", "m2"), provider("q", "m1", priority=2)],
        retry={"max_attempts": 1},
    )
    async with running(settings, scripts={"p": fails(ErrorKind.INVALID_REQUEST)}) as rig:
        await rig.submit("a", request_id="a", session_id="s", model="m1")
        await rig.submit("b", request_id="b", session_id="s", model="m2")
        await rig.submit("c", request_id="c", session_id="t", model="m2")
        await rig.ended("a", "b", "c")
        reply = await rig.emit("completion:retry", session_id="s", avoid=["p"])
        assert [each["request_id"] for each in reply["retried"]] == ["a"]
        await until(lambda: rig.providers["q"].prompts == ["a"])
        assert (await rig.status("b"))["status"] == "failed"
        none = await rig.emit("completion:retry", session_id="t", avoid=["p"])
        assert none["code"] == "conflict"


async def test_one_that_waits_is_not_refused_while_a_lock_is_on_its_way_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(tmp_path, engine={"max_concurrency": 1})
    async with running(settings, scripts={"p": held}) as rig:
        busy = await rig.submit("busy")
        (call,) = await rig.calls(1)
        waits = await rig.submit("waits", session_id="s", agent_id="a2")
        write, on_disk = rig.core.store.write, asyncio.get_running_loop().create_future()

        def slow(*writes: Write) -> asyncio.Future[None]:
            done = write(*writes)
            return on_disk if any(isinstance(each, LockSaved) for each in writes) else done

        monkeypatch.setattr(rig.core.store, "write", slow)
        acquire = rig.emit("conversation:acquire_lock", session_id="s", agent_id="a1")
        locking = asyncio.create_task(acquire)
        await until(lambda: rig.core.locks.get("s"))
        call.go.set()
        await rig.ended(busy)
        await idle(rig)
        assert (await rig.why(waits)).startswith("lock held by a1")
        on_disk.set_result(None)
        assert (await locking)["locked"] is True


async def test_a_restored_lock_is_waited_for(tmp_path: Path) -> None:
    async with running(config(tmp_path / "a")) as rig:
        await rig.emit("conversation:acquire_lock", session_id="s", agent_id="a1", timeout_s=3600)
        saved = await rig.emit("checkpoint:collect")
    settings = config(tmp_path / "b", engine={"max_concurrency": 1})
    async with running(settings, scripts={"p": held}) as rig:
        busy = await rig.submit("busy")
        (call,) = await rig.calls(1)
        waits = await rig.submit("waits", session_id="s", agent_id="a2")
        await rig.emit("checkpoint:restore", **saved)
        call.go.set()
        await rig.ended(busy)
        await idle(rig)
        assert (await rig.why(waits)).startswith("lock held by a1")


async def test_terms_for_one_that_ends_meanwhile_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit("x")
        (call,) = await rig.calls(1)
        asked = rig.core.store.request

        async def request(name: str) -> Any:
            found = await asked(name)
            call.go.set()
            await rig.ended(request_id)
            return found

        monkeypatch.setattr(rig.core.store, "request", request)
        to = {"target_sessions": ["t"]}
        reply = await rig.emit("injection:queue", request_id=request_id, injection_config=to)
        assert reply["request_status"] == "completed"
        monkeypatch.undo()
        done = await rig.emit("injection:execute", request_id=request_id)
        assert done["stored"] == 1, done


async def test_a_look_at_what_would_be_sent_forgets_no_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(config(tmp_path), scripts={"p": in_turn(held, answers)}) as rig:
        said = [{"role": "user", "content": "my name is Ann"}]
        one = (await rig.emit("completion:async", messages=said, session_id="s"))["request_id"]
        (call,) = await rig.calls(1)
        read = rig.core.store.turns

        async def turns(session_id: str, most_chars: int) -> Any:
            found = await read(session_id, most_chars)
            call.go.set()
            await rig.ended(one)
            return found

        monkeypatch.setattr(rig.core.store, "turns", turns)
        await rig.emit("completion:preview", prompt="who am I?", session_id="s")
        monkeypatch.undo()
        await rig.ended(await rig.submit("who am I?", session_id="s"))
        assert rig.p.calls[-1].spec.history[0]["content"] == "my name is Ann"


async def test_the_third_lost_worker_lets_those_who_wait_go_to_the_next(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p"), provider("q", priority=2)])
    async with running(settings) as rig:
        rig.core.providers.workers._starting = lambda: True
        entry = rig.core.providers.known("p")
        assert entry is not None
        parts = rig.engine._parts
        assert parts is not None
        freed: list[int] = []
        parts.wires.on_freed = lambda: freed.append(1)  # type: ignore[method-assign]
        for _ in range(3):
            parts.wires.on_worker(events.WORKER_LOST, {"worker": 1, "reason": "killed"})
        assert freed == [1]


async def test_of_those_that_were_refused_while_the_disk_failed_a_bounded_number_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_MOST_DROPPED", 10)
    async with running(config(tmp_path)) as rig:
        kept = rig.core.store._writer  # type: ignore[attr-defined]

        async def full(_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(kept, "_commit", full)
        replies = await asyncio.gather(
            *(rig.emit("completion:async", prompt="x") for _ in range(30))
        )
        assert {reply["code"] for reply in replies} == {"not_ready"}
        assert len(kept._dropped) <= 10
        monkeypatch.undo()
        await rig.ended(await rig.submit("ok"))
