"""What a store keeps of strange text, what its end leaves, and who is said to have it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from ksi_tui.engine.models import State
from ksi_tui.engine.store.ownership import owner_of
from ksi_tui.engine.store.sqlite import open_reader, open_store
from tests.engine.store_values import accepted, finished, started


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
