"""A search and the end of its database: no connection is left, whose thread would never end."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import aiosqlite
import pytest

from ksi_tui.engine.errors import StoreUnavailable
from ksi_tui.engine.filter import parse
from ksi_tui.engine.store.found import Find, NamesOf
from ksi_tui.engine.store.reader import connect_reader
from ksi_tui.engine.store.sqlite import open_reader, open_store

ALL = Find(wanted=parse(""), now=0.0)


@pytest.fixture
async def database(tmp_path: Path) -> Path:
    path = tmp_path / "ksi.db"
    await (await open_store(path)).aclose()
    return path


def _new(before: set[threading.Thread]) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread not in before]


async def _ended(threads: list[threading.Thread]) -> None:
    async with asyncio.timeout(20):
        while any(thread.is_alive() for thread in threads):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.001)


async def test_a_question_that_waits_while_it_is_closed_opens_nothing(database: Path) -> None:
    reader = await open_reader(database)
    opened: list[Path] = []
    connect = reader._finder._connect

    async def noted(path: Path) -> aiosqlite.Connection:
        opened.append(path)
        return await connect(path)

    reader._finder._connect = noted
    running = asyncio.create_task(reader.find(ALL))
    waiting = asyncio.create_task(reader.names(NamesOf.SESSION, "", 9))
    await asyncio.sleep(0)
    closing = asyncio.create_task(reader.aclose())
    assert (await running).total == 0
    with pytest.raises(StoreUnavailable, match="is closed"):
        await waiting
    await closing
    with pytest.raises(StoreUnavailable, match="is closed"):
        await reader.find(ALL)
    assert opened == [database]


async def test_whoever_is_cancelled_while_it_opens_leaves_no_connection(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(threading.enumerate())
    during: list[threading.Thread] = []

    async def never(*_: object) -> None:
        during.extend(_new(before))
        await asyncio.Event().wait()

    monkeypatch.setattr(aiosqlite.Connection, "execute", never)
    opening = asyncio.create_task(connect_reader(database))
    async with asyncio.timeout(20):
        while not during:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.001)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await _ended(during)
