"""The listener beside an engine that runs: it says where it listens, and never stops the engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from ksi_tui.access import listening
from ksi_tui.access.listening import Place
from ksi_tui.access.opening import opened_listener
from ksi_tui.client import EngineClient
from ksi_tui.door.opening import Host, opened_door
from ksi_tui.door.place import socket_of
from ksi_tui.engine import CompletionEngine
from tests.access.listener import BOUND_S, engine_config, token_file
from tests.engine.engine_fixtures import until


@asynccontextmanager
async def hosted(folder: Path) -> AsyncIterator[Host]:
    config = engine_config(folder)
    async with (
        CompletionEngine(config) as engine,
        opened_door(engine, config, "test") as host,
    ):
        yield host


def notices(client: EngineClient) -> tuple[str, ...]:
    return client.snapshot().notices


async def test_without_a_place_nothing_changes(tmp_path: Path) -> None:
    async with hosted(tmp_path) as host, opened_listener(host, None) as client:
        assert client is host
        assert notices(client) == ()


async def test_it_serves_says_where_and_is_the_engines_client(tmp_path: Path) -> None:
    place = Place.take("127.0.0.1:0", None)
    async with (
        hosted(tmp_path) as host,
        opened_listener(host, place) as client,
        ClientSession() as session,
    ):
        assert notices(client) == (f"listening on {place.url} for everybody on this machine",)
        seen = client.subscribe("queue:*")
        async with asyncio.timeout(BOUND_S):
            url = f"{place.url}/events/queue:pause"
            async with session.post(url, json={"scope": "engine"}) as response:
                assert response.status == 200
            assert (await anext(seen)).name == "engine:snapshot"
            assert (await anext(seen)).name == "queue:paused"
        reply = await client.emit("completion:status", {})
        assert reply["pauses"]["paused"][0]["scope"] == "engine"
    assert place.sock.fileno() == -1


async def test_a_door_that_is_shut_is_told_and_the_engine_works(tmp_path: Path) -> None:
    socket_of(tmp_path / "ksi.db").write_text("in the way")
    file, _ = token_file(tmp_path)
    place = Place.take("127.0.0.1:0", file)
    async with hosted(tmp_path) as host, opened_listener(host, place) as client:
        await until(lambda: "not listening" in str(notices(client)), "it is told")
        assert "in the way" in str(notices(client))
        assert "code" not in await client.emit("completion:status", {})
    assert place.sock.fileno() == -1


async def test_a_fault_of_its_own_is_told_and_the_engine_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("scripted secret")

    monkeypatch.setattr(listening, "serving", broken)
    place = Place.take("127.0.0.1:0", None)
    async with hosted(tmp_path) as host, opened_listener(host, place) as client:
        await until(lambda: "not listening" in str(notices(client)), "it is told")
        assert "RuntimeError" in str(notices(client))
        assert "secret" not in str(notices(client))
        assert "code" not in await client.emit("completion:status", {})
    assert place.sock.fileno() == -1
    assert [each for each in caplog.records if each.levelno == logging.ERROR]
    caplog.clear()


async def test_who_leaves_at_once_leaves_nothing_open(tmp_path: Path) -> None:
    place = Place.take("127.0.0.1:0", None)
    async with hosted(tmp_path) as host, opened_listener(host, place):
        pass
    assert place.sock.fileno() == -1
    assert not {task.get_name() for task in asyncio.all_tasks()} & {"listener", "metrics"}
