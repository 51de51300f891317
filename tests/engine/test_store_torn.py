"""Databases whose own file is between two states, as a kill leaves them: they are whole again.

SQLite's log or journal beside the file has the rest; whoever looks at the file alone is misled.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ksi_tui.engine.errors import NotADatabase, StoreUnavailable
from ksi_tui.engine.store import migrations
from ksi_tui.engine.store.sqlite import open_reader, open_store
from tests.engine.store_values import accepted

pytestmark = pytest.mark.usefixtures("own_migrations")

PAGE = 4096


def _copied(path: Path, to: Path, *beside: str) -> Path:
    to.mkdir()
    for name in (path.name, *(path.name + each for each in beside)):
        shutil.copyfile(path.with_name(name), to / name)
    return to / path.name


async def _half_checkpointed(tmp_path: Path, pages: int) -> Path:
    """Return a database that was killed in a checkpoint, so many pages of which are done."""
    path = tmp_path / "living" / "ksi.db"
    await (await open_store(path)).aclose()
    store = await open_store(path)
    for number in range(1, 60):
        await store.write(accepted(number, prompt="x" * 3_000))
    killed = _copied(path, tmp_path / "killed", "-wal")
    await store.aclose()
    whole, old = path.read_bytes(), killed.read_bytes()
    assert len(whole) > len(old) + 20 * PAGE
    killed.write_bytes(whole[: pages * PAGE] + old[pages * PAGE :])
    return killed


@pytest.mark.parametrize("pages", [0, 1, 5, 90])
async def test_one_killed_in_a_checkpoint_is_taken(tmp_path: Path, pages: int) -> None:
    path = await _half_checkpointed(tmp_path, pages)
    async with await open_reader(path) as reader:
        assert sum((await reader.counts()).values()) == 59
    store = await open_store(path)
    assert len((await store.load()).unfinished) == 59
    await store.aclose()


def _hot(tmp_path: Path) -> Path:
    """Return a new database whose first migration was killed when all but its journal was done."""
    path = tmp_path / "ksi.db"
    sql = migrations.migrations()[0].sql
    mark = f"PRAGMA application_id={migrations.APPLICATION_ID}; PRAGMA user_version=1"
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA cache_size=5")  # so that the journal is on disk before the commit
        raw.executescript(f"BEGIN IMMEDIATE; {sql}; {mark}")
        hot = _copied(path, tmp_path / "killed", "-journal")
        raw.execute("COMMIT")
    shutil.copyfile(path, hot)
    return hot


async def test_one_killed_in_the_commit_of_its_first_migration_is_taken(tmp_path: Path) -> None:
    path = _hot(tmp_path)
    assert path.with_name("ksi.db-journal").stat().st_size > 0
    store = await open_store(path)
    await store.write(accepted(1))
    await store.aclose()
    with closing(sqlite3.connect(path)) as raw:
        tables = {row[0] for row in raw.execute("SELECT name FROM sqlite_master")}
    assert {"requests", "payloads", "pauses"} <= tables


async def test_a_reader_of_that_one_is_told_to_start_an_engine(tmp_path: Path) -> None:
    path = _hot(tmp_path)
    with pytest.raises(StoreUnavailable, match="start ksi-tui on it once"):
        await open_reader(path)


async def test_a_foreign_one_with_a_hot_journal_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("CREATE TABLE t (x)")
        raw.execute("PRAGMA cache_size=2")
        raw.execute("BEGIN")
        raw.executemany("INSERT INTO t VALUES (?)", [("x" * 3_000,)] * 50)
        hot = _copied(path, tmp_path / "killed", "-journal")
    before = hot.read_bytes(), hot.with_name("other.db-journal").read_bytes()
    for opened in (open_store, open_reader):
        with pytest.raises(NotADatabase):
            await opened(hot)
    assert (hot.read_bytes(), hot.with_name("other.db-journal").read_bytes()) == before


async def test_an_empty_one_is_told_apart_from_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "ksi.db"
    path.touch()
    with pytest.raises(StoreUnavailable, match="holds nothing yet; start ksi-tui on it once"):
        await open_reader(path)
