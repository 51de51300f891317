"""Files of the store: who may open which, and that what is refused stays as it is."""

# Blocking calls are fine here: nothing else runs on these loops.
# ruff: noqa: ASYNC220, ASYNC221, ASYNC240

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ksi_tui.engine.errors import DatabaseOwned, NewerDatabase, NotADatabase, StoreUnavailable
from ksi_tui.engine.filter import Filter, Pattern, TextTerm, parse
from ksi_tui.engine.filter.match import labels
from ksi_tui.engine.models import State
from ksi_tui.engine.store import migrations
from ksi_tui.engine.store.base import Admitted
from ksi_tui.engine.store.found import Find, NamesOf
from ksi_tui.engine.store.sqlite import open_reader, open_store
from tests.engine.store_values import accepted

pytestmark = pytest.mark.usefixtures("own_migrations")

ROOT = Path(__file__).parents[2]
OWNER = """
import asyncio, sys
from pathlib import Path
from ksi_tui.engine.store.sqlite import open_store
from tests.engine.store_values import accepted

async def main():
    store = await open_store(Path(sys.argv[1]))
    await store.write(accepted(1))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ksi.db"


@pytest.fixture
def owner(database: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs an engine's store on the database, with one request in it."""
    command = [sys.executable, "-c", OWNER, str(database)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _look(path: Path) -> tuple[bytes, int, int]:
    return path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode


# --- a new one --------------------------------------------------------------------------------


async def test_folder_and_files_are_private(database: Path) -> None:
    store = await open_store(database)
    await store.write(accepted(1))
    files = {path.name: oct(_mode(path)) for path in database.parent.iterdir()}
    await store.aclose()
    assert _mode(database.parent) == 0o700
    assert files == dict.fromkeys(["ksi.db", "ksi.db-wal", "ksi.db-shm", "ksi.db.lock"], "0o600")


async def test_an_open_file_is_made_private(database: Path) -> None:
    await (await open_store(database)).aclose()
    database.chmod(0o644)
    await (await open_store(database)).aclose()
    assert _mode(database) == 0o600


async def test_closing_leaves_one_whole_file(database: Path) -> None:
    store = await open_store(database)
    await store.write(accepted(1))
    await store.aclose()
    assert {path.name for path in database.parent.iterdir()} == {"ksi.db", "ksi.db.lock"}
    with closing(sqlite3.connect(database)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert raw.execute("PRAGMA application_id").fetchone() == (migrations.APPLICATION_ID,)
        assert raw.execute("PRAGMA user_version").fetchone() == (migrations.latest(),)


async def test_the_disk_is_waited_for(database: Path) -> None:
    store = await open_store(database)
    raw = store._writer._connection
    settings = [
        await (await raw.execute(f"PRAGMA {name}")).fetchone()
        for name in ("journal_mode", "synchronous")
    ]
    await store.aclose()
    assert settings == [("wal",), (2,)]


@pytest.mark.parametrize("name", ["a ? b#c%20d.db", "ümlaut.db"])
async def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    store = await open_store(tmp_path / name)
    await store.write(accepted(1))
    await store.aclose()
    reader = await open_reader(tmp_path / name)
    counts = await reader.counts()
    await reader.aclose()
    assert counts[State.QUEUED] == 1
    assert all(path.name.startswith(name) for path in tmp_path.iterdir())


@pytest.mark.parametrize("empty", ["file", "sqlite"])
async def test_an_empty_file_is_taken(tmp_path: Path, empty: str) -> None:
    path = tmp_path / "ksi.db"
    path.touch()
    if empty == "sqlite":
        with closing(sqlite3.connect(path)) as raw:
            raw.execute("VACUUM")
    await (await open_store(path)).aclose()
    assert migrations.check(path) == migrations.latest()


# --- ownership ------------------------------------------------------------------------------------


async def test_a_second_engine_is_told_who_has_it(
    database: Path, owner: subprocess.Popen[str]
) -> None:
    alias = database.with_name("alias.db")
    alias.symlink_to(database)
    for path in (database, alias):
        with pytest.raises(DatabaseOwned) as refused:
            await open_store(path)
        assert f"process {owner.pid} on {socket.gethostname()} since 20" in str(refused.value)
        assert str(database) in str(refused.value)


async def test_a_second_engine_in_one_process_is_refused(database: Path) -> None:
    store = await open_store(database)
    with pytest.raises(DatabaseOwned, match=f"process {os.getpid()} "):
        await open_store(database)
    await store.write(accepted(1))
    await store.aclose()
    await (await open_store(database)).aclose()


async def test_a_killed_owner_leaves_nothing_locked(
    database: Path, owner: subprocess.Popen[str]
) -> None:
    owner.send_signal(signal.SIGKILL)
    owner.wait(timeout=30)
    store = await open_store(database)
    recovery = await store.load()
    await store.aclose()
    assert [one.request_id for one in recovery.unfinished] == ["r-1"]


async def test_a_child_process_does_not_keep_the_database(database: Path) -> None:
    store = await open_store(database)
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, close_fds=False) as child:
        await store.aclose()
        again = await open_store(database)
        await again.aclose()
        assert child.poll() is None
        child.kill()


# --- what is refused stays as it is ---------------------------------------------------------------


def _text(path: Path) -> None:
    path.write_text("dear diary, " * 100)


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript("PRAGMA journal_mode=WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1)")


def _foreign_mark(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript("PRAGMA application_id=7; VACUUM")


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        migrations.migrate(raw, 0)
        raw.execute(f"PRAGMA user_version={migrations.latest() + 1}")


@pytest.mark.parametrize("opened", [open_store, open_reader])
@pytest.mark.parametrize(
    ("make", "error"),
    [
        (_text, NotADatabase),
        (_foreign, NotADatabase),
        (_foreign_mark, NotADatabase),
        (_newer, NewerDatabase),
    ],
)
async def test_a_refused_file_is_not_touched(
    tmp_path: Path, make: object, error: type[Exception], opened: object
) -> None:
    assert callable(make)
    assert callable(opened)
    path = tmp_path / "ksi.db"
    make(path)
    path.chmod(0o644)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    before = _look(path)
    with pytest.raises(error, match=r"ksi\.db") as refused:
        await opened(path)
    assert _look(path) == before
    assert "--db" in str(refused.value)
    assert not path.with_name("ksi.db-wal").exists()


async def test_a_newer_one_whose_log_was_left_by_a_crash_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "ksi.db"
    script = (
        "import os, sqlite3, sys\n"
        "from ksi_tui.engine.store import migrations\n"
        "raw = sqlite3.connect(sys.argv[1])\n"
        "migrations.migrate(raw, 0)\n"
        "raw.execute('PRAGMA user_version=99')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, check=False)
    assert path.with_name("ksi.db-wal").stat().st_size > 0
    before = _look(path), path.with_name("ksi.db-wal").read_bytes()
    for opened in (open_store, open_reader):
        with pytest.raises(NewerDatabase, match="99"):
            await opened(path)
    assert (_look(path), path.with_name("ksi.db-wal").read_bytes()) == before


async def test_a_folder_is_refused(tmp_path: Path) -> None:
    for opened in (open_store, open_reader):
        with pytest.raises(StoreUnavailable, match="is a folder"):
            await opened(tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_no_place_for_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="cannot create the folder"):
        await open_store(tmp_path / "file" / "ksi.db")


async def test_a_damaged_one_is_named(database: Path) -> None:
    await (await open_store(database)).aclose()
    whole = database.read_bytes()
    database.write_bytes(whole[:100] + b"\x55" * (len(whole) - 100))
    with pytest.raises((StoreUnavailable, NotADatabase), match=str(database)):
        await open_store(database)


async def test_a_full_disk_at_the_first_start(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(connection: sqlite3.Connection, version: int) -> None:
        connection.executescript("PRAGMA max_page_count=3")
        real(connection, version)

    real = migrations.migrate
    monkeypatch.setattr(migrations, "migrate", full)
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        await open_store(database)
    monkeypatch.undo()
    await (await open_store(database)).aclose()


UNPRIVILEGED = """
import asyncio, os, sys
from pathlib import Path
from ksi_tui.engine.store import migrations
from ksi_tui.engine.store.sqlite import open_store
migrations.migrations()
if os.getuid() == 0:  # which may do everything; it may even be the only one to read the library
    os.setuid(65534)
try:
    asyncio.run(open_store(Path(sys.argv[1])))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that others may enter: pytest shuts the one of all its runs whenever one begins."""
    with tempfile.TemporaryDirectory() as place:
        for path in [Path(place), *Path(place).parents]:
            if path.stat().st_uid == os.getuid() and path.stat().st_mode & 0o055 != 0o055:
                path.chmod(0o755)
        yield Path(place)


@pytest.mark.parametrize("forbidden", ["file", "folder"])
async def test_what_may_not_be_written_is_named(open_place: Path, forbidden: str) -> None:
    folder = open_place / "state"
    database = folder / "ksi.db"
    if forbidden == "file":
        await (await open_store(database)).aclose()
    else:
        folder.mkdir()
    for path in folder.iterdir():
        path.chmod(0o666 if path.suffix == ".lock" else 0o444)
    folder.chmod(0o555 if forbidden == "folder" or os.getuid() else 0o777)
    command = [sys.executable, "-c", UNPRIVILEGED, str(database)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    folder.chmod(0o755)
    assert run.stdout.startswith("StoreUnavailable"), run.stderr
    assert str(database) in run.stdout
    assert "check" in run.stdout


# --- reading beside an engine and without one ---------------------------------------------------


async def test_a_missing_file_is_named(database: Path) -> None:
    with pytest.raises(StoreUnavailable, match=str(database)):
        await open_reader(database)
    assert not database.parent.exists()


async def test_a_reader_sees_what_a_running_engine_has_committed(database: Path) -> None:
    store = await open_store(database)
    reader = await open_reader(database)
    await store.write(accepted(1))
    assert await reader.states(["r-1"]) == {"r-1": State.QUEUED}
    await store.write(accepted(2))
    assert (await reader.counts())[State.QUEUED] == 2
    await store.aclose()
    assert (await reader.counts())[State.QUEUED] == 2
    await reader.aclose()


async def test_a_reader_beside_another_process(
    database: Path, owner: subprocess.Popen[str]
) -> None:
    reader = await open_reader(database)
    assert await reader.states(["r-1"]) == {"r-1": State.QUEUED}
    owner.send_signal(signal.SIGKILL)
    owner.wait(timeout=30)
    assert await reader.states(["r-1"]) == {"r-1": State.QUEUED}
    await reader.aclose()
    # Nobody has tidied up: the request is only in the log that the killed process left.
    before = _look(database)
    late = await open_reader(database)
    assert await late.states(["r-1"]) == {"r-1": State.QUEUED}
    await late.aclose()
    assert _look(database) == before


async def test_a_reader_takes_no_ownership_and_cannot_write(database: Path) -> None:
    await (await open_store(database)).aclose()
    async with await open_reader(database) as reader:
        store = await open_store(database)
        await store.write(accepted(1))
        await store.aclose()
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await reader._reads.execute("DELETE FROM requests")


async def test_a_reader_never_migrates(tmp_path: Path) -> None:
    path = tmp_path / "ksi.db"
    with closing(sqlite3.connect(path)) as raw:
        mark = f"PRAGMA application_id={migrations.APPLICATION_ID}; PRAGMA user_version=1"
        raw.executescript(f"{migrations.migrations()[0].sql}; {mark}; VACUUM")
    before = _look(path)
    with pytest.raises(StoreUnavailable, match="earlier version"):
        await open_reader(path)
    assert _look(path) == before
    await (await open_store(path)).aclose()
    await (await open_reader(path)).aclose()


async def test_questions_after_the_end_are_refused(database: Path) -> None:
    store = await open_store(database)
    await store.aclose()
    with pytest.raises(StoreUnavailable):
        await store.counts()
    with pytest.raises(StoreUnavailable):
        await store.request("r-1")


def test_migrations_are_numbered_without_gaps() -> None:
    numbers = [migration.number for migration in migrations.migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_a_database_from_before_the_pauses_keeps_its_data(tmp_path: Path) -> None:
    path = tmp_path / "ksi.db"
    first = [migration for migration in migrations.migrations() if migration.number == 1]
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        mark = f"PRAGMA application_id={migrations.APPLICATION_ID}; PRAGMA user_version=1"
        raw.executescript(f"BEGIN; {first[0].sql}; {mark}; COMMIT")
        raw.execute("INSERT INTO providers VALUES ('p', '{}')")
        raw.execute(
            'INSERT INTO turns VALUES (1, \'s\', 2, \'[{"role": "user"}, {"role": "assistant"}]\')'
        )
        raw.execute("UPDATE counters SET value = 7 WHERE name = 'next_place'")
    store = await open_store(path)
    recovery = await store.load()
    turns = await store.turns("s", 100)
    await store.aclose()
    assert migrations.check(path) == migrations.latest()
    assert (recovery.providers, recovery.next_place, recovery.pauses) == ({"p": {}}, 7, [])
    assert list(turns) == [{"role": "user"}, {"role": "assistant"}]


async def test_a_database_from_before_the_limits_keeps_its_data(tmp_path: Path) -> None:
    path = tmp_path / "ksi.db"
    first = migrations.migrations()[0]
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        mark = f"PRAGMA application_id={migrations.APPLICATION_ID}; PRAGMA user_version=1"
        raw.executescript(f"BEGIN; {first.sql}; {mark}; COMMIT")
        raw.execute("INSERT INTO providers (provider, state) VALUES ('openai', '{\"a\": 1}')")
    store = await open_store(path)
    recovery = await store.load()
    assert recovery.providers == {"openai": {"a": 1}}
    assert recovery.admissions == {}
    await store.write(Admitted(provider="openai", number=0, at=1.0, tokens=2))
    assert (await store.load()).admissions == {"openai": [(0, 1.0, 2)]}
    await store.aclose()


async def test_a_database_from_before_the_finding_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "ksi.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        for migration in migrations.migrations()[:6]:
            mark = f"PRAGMA application_id={migrations.APPLICATION_ID}"
            number = f"PRAGMA user_version={migration.number}"
            raw.executescript(f"BEGIN; {migration.sql}; {mark}; {number}; COMMIT")
        for row in (1, 2):
            raw.execute(
                "INSERT INTO requests (row, request_id, session_id, asked_model, model, state,"
                " rank, place, queued_at, max_attempts, timeout_s, needs_mcp, lock_fails)"
                " VALUES (?1, 'r-' || ?1, 's', 'm', 'm', 'queued', 3, ?1, 5, 3, 900, 0, 0)",
                (row,),
            )
        asked = {"prompt": "x", "max_attempts": 3}
        meta = {"a b": "globex", "n": 1.5, "yes": True, "none": None, "list": ["x", 1], "e": "é"}
        raw.execute("INSERT INTO payloads VALUES (1, ?)", (json.dumps(asked | {"metadata": meta}),))
        raw.execute("INSERT INTO payloads VALUES (2, ?)", (json.dumps(asked),))
        add = (
            "INSERT INTO calls (request_id, attempt, ordinal, provider, model, session_id,"
            " started_at, finished_at, outcome, asked_model, input, cache_read, cache_write,"
            " output, reasoning, estimated, cost)"
            " VALUES ('r-1', 1, 1, 'p', 'm', 's', 1, 2, ?, 'm', ?, 0, 0, ?, 0, ?, ?)"
        )
        raw.execute(add, ("failed", 10, 5, 1, 0.5))
        raw.execute(add, ("answered", 20, 5, 0, None))
        raw.execute("UPDATE counters SET value = 2 WHERE name = 'queued'")
    store = await open_store(path)
    found = await store.find(Find(wanted=parse(""), now=6.0))
    sums = [(r.request_id, r.tokens, r.cost, r.unpriced, r.estimated) for r in found.requests]
    assert sums == [("r-2", None, None, 0, 0), ("r-1", 40, 0.5, 1, 1)]
    for key, value in labels(meta):
        assert list(await store.names(NamesOf.META, "", 20, key)) == [value]
        wanted = Filter((TextTerm(field="meta", key=key, patterns=(Pattern(parts=(value,)),)),))
        again = await store.find(Find(wanted=wanted, now=6.0))
        assert [each.request_id for each in again.requests] == ["r-1"]
    assert {r.request_id: r.used_tokens for r in (await store.load()).unfinished} == {
        "r-1": 40,
        "r-2": 0,
    }
    await store.aclose()
