"""What a store keeps of strange text, what its end leaves, and who is said to have it."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ksi_tui.engine.models import State
from ksi_tui.engine.store import reader
from ksi_tui.engine.store.base import SessionSeen
from ksi_tui.engine.store.ownership import owner_of
from ksi_tui.engine.store.sqlite import open_reader, open_store
from tests.engine.store_values import T0, accepted, finished, spec, started


async def test_the_file_alone_holds_everything_at_the_end_also_while_it_is_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ksi.db"
    store = await open_store(path)
    async with await open_reader(path) as reader:
        await store.write(accepted(1))
        assert (await reader.counts())[State.QUEUED] == 1
        await store.aclose()
        log = path.with_name("ksi.db-wal")
        assert not log.exists() or log.stat().st_size == 0
        copy = tmp_path / "copy.db"
        copy.write_bytes(path.read_bytes())
    async with await open_reader(copy) as reader:
        assert (await reader.counts())[State.QUEUED] == 1


async def test_half_of_a_surrogate_pair_is_replaced_and_refuses_nothing(tmp_path: Path) -> None:
    async with await open_store(tmp_path / "ksi.db") as store:
        await store.write(accepted(1), started(1))
        await store.write(
            finished(
                1, 1, State.FAILED, error_message="bad \ud800!", text="half \udc00", result=None
            )
        )
        found = await store.request("r-1")
    assert found is not None
    assert (found.error_message, found.text) == ("bad ?!", "half ?")


def test_a_process_that_is_gone_is_not_named_as_the_owner(tmp_path: Path) -> None:
    database = tmp_path / "ksi.db"
    note = tmp_path / "ksi.db.lock"
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": "2026-11-22 08:00:00 UTC"}
    note.write_text(json.dumps(owner))
    assert f"process {os.getpid()} on" in str(owner_of(database))
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(30)
    note.write_text(json.dumps({**owner, "pid": child.pid}))
    assert owner_of(database) is None


async def test_the_end_of_a_session_is_kept_until_it_goes_on(tmp_path: Path) -> None:
    def ended_at() -> float | None:
        with closing(sqlite3.connect(tmp_path / "ksi.db")) as connection:
            ((at,),) = connection.execute("SELECT ended_at FROM sessions").fetchall()
        return None if at is None else float(at)

    session_id = spec(1).session_id
    async with await open_store(tmp_path / "ksi.db") as store:
        await store.write(accepted(1))
        assert ended_at() is None
        seen = SessionSeen(
            session_id=session_id, created_at=T0, last_activity=T0, ended_at=T0 + 3_600
        )
        await store.write(seen)
        assert ended_at() == T0 + 3_600
        await store.write(accepted(2, at=T0 + 7_200, session_id=session_id))
        assert ended_at() is None


async def test_results_of_many_ids_come_in_the_order_in_which_they_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_CHUNK", 2)
    async with await open_store(tmp_path / "ksi.db") as store:
        for number in range(1, 6):
            await store.write(accepted(number), started(number), finished(number, 6 - number))
        found = await store.results_of([f"r-{number}" for number in range(1, 6)])
    assert [seq for seq, _ in found] == [1, 2, 3, 4, 5]
    assert [record["request_id"] for _, record in found] == ["r-5", "r-4", "r-3", "r-2", "r-1"]
