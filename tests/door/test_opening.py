"""The door beside an engine's life: open while it lives, and never in its way."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.door import opening, place
from ksi_tui.door.opening import Host, opened_door
from ksi_tui.door.server import Door
from ksi_tui.engine import CompletionEngine
from tests.door.visiting import visiting
from tests.engine.engine_fixtures import Rig, config, held, running, until


@asynccontextmanager
async def opened(rig: Rig, **options: Any) -> AsyncIterator[tuple[Host, Door]]:
    async with opened_door(rig.engine, rig.engine.config, "ksi-tui here", **options) as host:
        door = await host.door()
        assert door is not None
        yield host, door


async def test_it_is_open_while_the_engine_lives(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        async with opened(rig) as (host, door), visiting(door.socket) as visitor:
            assert door.socket == place.socket_of(tmp_path / "ksi.db")
            assert (await visitor.get("/hello"))[1]["name"] == "ksi-tui here"
            reply = await host.emit("completion:async", {"prompt": "hello"})
            assert reply["status"] == "queued"
            assert host.subscribe().drain()[0].name == "engine:snapshot"
        assert not door.socket.exists()
        assert await host.door() is None


async def test_who_is_attached_sees_the_engine_drain(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"shutdown_grace_s": 20})
    async with running(settings, scripts={"p": held}) as rig:
        is_open, leaving = asyncio.Event(), asyncio.Event()

        async def life() -> None:
            async with opened(rig):
                is_open.set()
                await leaving.wait()

        living = asyncio.create_task(life())
        await is_open.wait()
        request_id = await rig.submit()
        (call,) = await rig.calls(1)
        async with (
            visiting(place.socket_of(tmp_path / "ksi.db")) as visitor,
            await visitor.events(params={"pattern": "completion:*"}) as events,
        ):
            await events.next()
            leaving.set()
            await until(lambda: rig.core.draining)
            assert (await visitor.get("/readyz"))[0] == 503
            assert (await visitor.get("/healthz"))[0] == 200
            status, reply = await visitor.emit("completion:async", {"prompt": "late"})
            assert (status, reply["code"]) == (503, "not_ready")
            call.go.set()
            while (told := await events.next()).name != "completion:result":
                pass
            assert told.data["request_id"] == request_id
            assert await events.raw() is None
        await living


async def test_whoever_opened_it_is_attached_too_where_they_look(tmp_path: Path) -> None:
    remote = {"X-Ksi-Operator": "op2", "X-Ksi-Kind": "dashboard"}
    async with (
        running(config(tmp_path)) as rig,
        opened(rig, operator="op1") as (host, door),
        visiting(door.socket, remote) as visitor,
    ):
        assert host.snapshot().attached == ()
        async with await visitor.events():
            assert host.snapshot().attached == ("op2",)
            assert (await visitor.get("/snapshot"))[1]["attached"] == ["op1"]


async def test_who_opens_it_without_looking_is_not_attached(tmp_path: Path) -> None:
    async with (
        running(config(tmp_path)) as rig,
        opened(rig) as (host, door),
        visiting(door.socket) as visitor,
    ):
        assert (await visitor.get("/hello"))[1]["attached"] == []
        async with await visitor.events(headers={"X-Ksi-Kind": "dashboard"}):
            assert host.snapshot().attached == ("",)


async def test_one_that_cannot_open_is_told_and_harms_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    at = place.socket_of(tmp_path / "ksi.db")
    at.write_text("mine")
    async with (
        running(config(tmp_path)) as rig,
        opened_door(rig.engine, rig.engine.config, "x", operator="op1") as host,
    ):
        assert await host.door() is None
        assert "no socket" in host.fault
        assert host.snapshot().notices == (host.fault,)
        request_id = (await host.emit("completion:async", {"prompt": "hello"}))["request_id"]
        await rig.ended(request_id)
    assert at.read_text() == "mine"
    assert any(record.levelname == "WARNING" for record in caplog.records)


async def test_a_fault_of_its_own_is_recorded_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ImportError("no such thing")

    monkeypatch.setattr(opening, "_loaded", broken)
    async with (
        running(config(tmp_path)) as rig,
        opened_door(rig.engine, rig.engine.config, "x") as host,
    ):
        assert await host.door() is None
        assert "ImportError" in host.snapshot().notices[0]
    assert any(record.exc_info for record in caplog.records)


async def test_what_is_over_before_the_door_opens_does_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[bool] = []
    monkeypatch.setattr(opening, "_loaded", lambda: loaded.append(True))
    async with running(config(tmp_path)) as rig:
        async with opened_door(rig.engine, rig.engine.config, "x", after_s=3600) as host:
            assert host.snapshot().notices == ()
        assert await host.door() is None
    assert loaded == []


async def test_the_loop_goes_on_while_the_code_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    threads: list[str] = []

    def slow() -> None:
        threads.append(threading.current_thread().name)
        assert go.wait(20)

    monkeypatch.setattr(opening, "_loaded", slow)
    async with (
        running(config(tmp_path)) as rig,
        opened_door(rig.engine, rig.engine.config, "x") as host,
    ):
        await rig.ended((await host.emit("completion:async", {"prompt": "p"}))["request_id"])
        go.set()
        assert await host.door() is not None
    assert threads != [threading.main_thread().name]


async def test_a_restarted_engine_has_its_door_at_the_same_place(tmp_path: Path) -> None:
    boots = []
    for _ in range(2):
        engine = CompletionEngine(config(tmp_path))
        async with engine, opened_door(engine, engine.config, "x") as host:
            door = await host.door()
            assert door is not None
            boots.append(door.boot)
    assert boots[0] != boots[1]
    assert "aiohttp" in sys.modules
