"""What the end of a store leaves on the disk."""

from __future__ import annotations

from pathlib import Path

from ksi_tui.engine.models import State
from ksi_tui.engine.store.sqlite import open_reader, open_store
from tests.engine.store_values import accepted


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
