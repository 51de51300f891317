"""Where the door is: beside its database, its owner's only, and never over somebody else."""

from __future__ import annotations

import os
import socket
import stat
import time
from pathlib import Path

import pytest

from ksi_tui.door import place
from ksi_tui.door.errors import DoorError
from ksi_tui.door.server import Door
from tests.door.visiting import FakeEngine, fake_door, visiting


@pytest.fixture
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose sockets are beside their databases, however long the test's own path."""
    monkeypatch.setattr(place, "LONGEST", len(os.fsencode(tmp_path)) + 20)
    return tmp_path


def test_it_is_beside_the_database(short: Path) -> None:
    assert place.socket_of(short / "ksi.db") == short / "ksi.db.sock"


def test_it_is_one_place_however_the_database_is_named(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (short / "link.db").symlink_to(short / "ksi.db")
    monkeypatch.chdir(short)
    expected = short / "ksi.db.sock"
    assert place.socket_of(Path("ksi.db")) == expected
    assert place.socket_of(short / "link.db") == expected


def test_a_path_that_is_too_long_for_a_socket_is_kept_elsewhere(tmp_path: Path) -> None:
    database = tmp_path / ("long" * 40) / "ksi.db"
    found = place.socket_of(database)
    assert found.parent == place._short_folder()
    assert found != place.socket_of(database.with_name("other.db"))
    assert len(found.stem) == 16


def test_a_folder_in_which_somebody_else_might_stand_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "_short_folder", lambda: tmp_path)
    database = tmp_path / ("long" * 40) / "ksi.db"
    tmp_path.chmod(0o700)
    assert place.socket_of(database).parent == tmp_path
    tmp_path.chmod(0o770)
    assert place.socket_of(database) == database.with_name("ksi.db.sock")


@pytest.mark.parametrize("extra", [0, 1])
def test_the_longest_path_beside_has_a_hundred_bytes(extra: int) -> None:
    database = Path("/") / ("d" * (100 - len("/.sock") + extra))
    beside = Path(f"{database}.sock")
    assert (place.socket_of(database) == beside) is (extra == 0)


async def test_only_its_owner_may_come_in(tmp_path: Path) -> None:
    async with fake_door(tmp_path / ("long" * 40)) as (_, door, _visitor):
        assert stat.S_IMODE(door.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(door.socket.parent.stat().st_mode) == 0o700


async def test_nobody_can_connect_before_the_mode_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    listen = socket.socket.listen

    def listening(self: socket.socket, backlog: int = 0) -> None:
        modes.append(stat.S_IMODE(os.stat(self.getsockname()).st_mode))
        listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", listening)
    place.taken(place.socket_of(tmp_path / "k.db")).close()
    assert modes == [0o600]


async def test_it_is_gone_when_the_door_is_closed(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (_, door, _visitor):
        assert door.socket.exists()
    assert not door.socket.exists()


async def test_what_an_engine_that_died_left_is_taken_over(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(place.socket_of(tmp_path / "k.db")))
    left.close()
    async with fake_door(tmp_path) as (_, _door, visitor):
        status, _ = await visitor.get("/healthz")
    assert status == 200


async def test_one_that_answers_is_never_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "LEAVING_S", 0.0)
    async with fake_door(tmp_path) as (_, door, visitor):
        with pytest.raises(DoorError, match="somebody else answers"):
            async with Door(FakeEngine(), database=tmp_path / "k.db"):
                pass
        assert door.socket.exists()
        assert (await visitor.get("/hello"))[1]["boot"] == door.boot


def test_one_that_is_too_busy_to_answer_counts_as_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "LEAVING_S", 0.0)
    monkeypatch.setattr(place, "_ANSWERS_WITHIN_S", 0.01)
    at = place.socket_of(tmp_path / "k.db")
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(str(at))
        busy.listen(0)
        first.connect(str(at))  # the backlog is full now: the next one waits
        assert place.answers(at)
        with pytest.raises(DoorError, match="somebody else answers"):
            place.taken(at)
    assert at.exists()


def test_one_who_is_about_to_leave_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its database is free before its door is shut."""
    at = place.socket_of(tmp_path / "k.db")
    leaving = socket.socket(socket.AF_UNIX)
    leaving.bind(str(at))
    leaving.listen(8)
    looked: list[float] = []

    def leaves(seconds: float) -> None:
        looked.append(seconds)
        at.unlink()
        leaving.close()

    monkeypatch.setattr(time, "sleep", leaves)
    place.taken(at).close()
    assert len(looked) == 1


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_never_touched(kind: str, tmp_path: Path) -> None:
    at = place.socket_of(tmp_path / "k.db")
    if kind == "file":
        at.write_text("mine")
    elif kind == "folder":
        at.mkdir()
    else:
        at.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DoorError, match="no socket"):
        place.taken(at)
    assert os.path.lexists(at)


def test_a_folder_that_cannot_hold_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(DoorError, match="cannot listen on"):
        place.taken(tmp_path / "missing" / "k.sock")


async def test_a_successors_socket_is_not_removed(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (_, door, _visitor):
        door.socket.unlink()
        successor = place.taken(door.socket)
    assert door.socket.exists()
    successor.close()


async def test_every_life_of_an_engine_has_a_name_of_its_own(tmp_path: Path) -> None:
    boots = set()
    for _ in range(2):
        async with fake_door(tmp_path) as (_, door, _visitor), visiting(door.socket) as again:
            boots.add((await again.get("/hello"))[1]["boot"])
    assert len(boots) == 2
