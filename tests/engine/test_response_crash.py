"""Response files under crashes: every result exactly once and in order, wherever it is cut off."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksi_tui.engine.core import Core
from ksi_tui.engine.errors import StoreUnavailable
from ksi_tui.engine.store import response_files
from ksi_tui.engine.store.response_files import ResponseFolder, file_name
from ksi_tui.engine.store.upkeep import FilesMarked, Filing, ResultsFiled, Unfiled
from ksi_tui.engine.upkeep import response_writer
from ksi_tui.engine.upkeep.response_writer import ResponseWriter
from ksi_tui.engine.upkeep.state import Upkeep

SESSIONS = ("a", "b", "../c")
real_write = os.write


class Killed(Exception):
    """The process ended here."""


@dataclass
class Disk:
    """What outlives a crash in the database, and the moment of the next crash."""

    results: list[tuple[str, str]] = field(default_factory=list)
    filed_seq: int = 0
    marked_seq: int = 0
    lengths: dict[str, int] = field(default_factory=dict)
    steps_left: int = 10**9
    fault: str | None = None

    def step(self) -> None:
        self.steps_left -= 1
        if self.steps_left < 0:
            raise Killed

    def add(self, *sessions: str) -> None:
        for session in sessions:
            number = len(self.results) + 1
            self.results.append((session, f'{{"n":{number},"text":"{"x" * (number % 7)}"}}'))

    def expected(self, session: str) -> bytes:
        return b"".join(line.encode() + b"\n" for of, line in self.results if of == session)

    # --- the store, as far as the writer uses it ---

    async def unfiled(
        self, after: int, *, upto: int | None = None, limit: int, max_chars: int
    ) -> Unfiled:
        self.step()
        last = min(len(self.results), after + limit) if upto is None else upto
        return Unfiled(results=self.results[after:last], upto=last)

    def write(self, *writes: Any) -> asyncio.Future[None]:
        self.step()
        for write in writes:
            match write:
                case FilesMarked():
                    self.marked_seq, self.lengths = write.finish_seq, dict(write.lengths)
                case ResultsFiled():
                    self.filed_seq = self.marked_seq = write.finish_seq
                    self.lengths = {}
        self.step()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def writer(self, folder: Path) -> ResponseWriter:
        """Return the writer of a new process."""
        core = SimpleNamespace(
            store=self, upkeep=Upkeep(), next_finish_seq=len(self.results) + 1, counts={}
        )
        writer = ResponseWriter(cast(Core, core), ResponseFolder(folder))
        pending = len(self.results) - self.filed_seq
        writer.take_up(
            Filing(
                filed_seq=self.filed_seq,
                marked_seq=self.marked_seq,
                lengths=self.lengths,
                pending=pending,
            ),
            len(self.results),
        )
        return writer

    async def live(self, folder: Path) -> None:
        """Write all there is, or die on the way."""
        writer = self.writer(folder)
        while writer._core.upkeep.filed_seq < len(self.results):
            await writer.write_batch()


def torn(disk: Disk, part: int) -> Callable[[int, bytes], int]:
    """Return a write that may be the process's last, after a part of its bytes."""

    def write(file: int, data: bytes) -> int:
        try:
            disk.step()
        except Killed:
            real_write(file, data[: part % (len(data) + 1)])
            raise
        return real_write(file, data)

    return write


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(SESSIONS), max_size=12),  # what finished before this life
            st.integers(0, 25),  # after how many steps it is killed
            st.integers(0, 200),  # how much of its last write arrives
            st.integers(1, 6),  # how many lines a batch has
        ),
        min_size=1,
        max_size=6,
    )
)
def test_every_result_is_in_its_file_once_and_in_order(
    lives: list[tuple[list[str], int, int, int]],
) -> None:
    disk = Disk()
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name) / "responses"
        for finished, steps, part, lines in lives:
            disk.add(*finished)
            disk.steps_left = steps
            patch.setattr(response_writer, "BATCH_LINES", lines)
            patch.setattr(os, "write", torn(disk, part))
            patch.setattr(os, "fsync", lambda _: disk.step())
            try:
                asyncio.run(disk.live(folder))
            except Killed:
                pass
            finally:
                patch.undo()
        disk.steps_left = 10**9
        asyncio.run(disk.live(folder))
        written = {path.name: path.read_bytes() for path in folder.glob("*")}
    expected = {file_name(each): disk.expected(each) for each in SESSIONS}
    assert written == {name: text for name, text in expected.items() if text}


def test_a_batch_has_as_many_steps_as_the_crashes_above_know() -> None:
    disk = Disk()
    disk.add("a", "b", "a")
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", torn(disk, 0))
        patch.setattr(os, "fsync", lambda _: disk.step())
        asyncio.run(disk.live(Path(name)))
    # one question, two writes to the database, two to files, their syncs and the folder's
    assert 10**9 - disk.steps_left == 1 + 2 * 2 + 2 + 2 + 1


@pytest.mark.parametrize("behind", [b"", b"a note of mine\n", b"a note without an end"])
@pytest.mark.parametrize("arrived", [0, 1, 7, 8, 9, 15, 16])
def test_what_somebody_else_wrote_stays_and_ours_is_complete(
    tmp_path: Path, behind: bytes, arrived: int
) -> None:
    lines = [b"line-01", b"line-02"]
    whole = b"line-01\nline-02\n"
    path = tmp_path / "f.jsonl"
    begun = b"\n" if arrived and behind and not behind.endswith(b"\n") else b""
    path.write_bytes(b"old\n" + behind + begun + whole[:arrived])
    ResponseFolder(tmp_path).complete({"f.jsonl": 4}, {"f.jsonl": lines})
    found = path.read_bytes()
    assert found.startswith(b"old\n" + behind)
    assert [line for line in found.splitlines() if line in lines] == lines
    assert found.endswith(b"line-02\n")
    again = path.read_bytes()
    ResponseFolder(tmp_path).complete({"f.jsonl": 4}, {"f.jsonl": lines})
    assert path.read_bytes() == again


def test_a_file_made_by_a_try_that_failed_has_its_folder_synced_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []

    def full(file: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(file).st_mode))
        if len(synced) == 1:
            raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(os, "fsync", full)
    folder = ResponseFolder(tmp_path)
    with pytest.raises(StoreUnavailable):
        folder.complete({"f.jsonl": 0}, {"f.jsonl": [b"line-01"]})
    folder.complete({"f.jsonl": 0}, {"f.jsonl": [b"line-01"]})
    assert synced == [False, False, True]


MANY = {f"{number}.jsonl": [b"line-01", b"line-02"] for number in range(65)}


def _synced(patch: pytest.MonkeyPatch, *, able: bool) -> list[str]:
    """Note how what is synced, and what its folder held by then."""
    synced: list[str] = []

    def whole(folder: int) -> None:
        files = [os.stat(name, dir_fd=folder).st_size for name in os.listdir(folder)]
        synced.append(f"all of {sum(files)} bytes")

    patch.setattr(response_files, "syncs_at_once", lambda _: able)
    patch.setattr(response_files, "sync_at_once", whole)
    kinds = {False: "file", True: "folder"}
    patch.setattr(os, "fsync", lambda file: synced.append(kinds[os.path.isdir(file)]))
    return synced


def test_many_files_are_synced_at_once_after_the_last_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = _synced(monkeypatch, able=True)
    ResponseFolder(tmp_path).complete({}, MANY)
    assert synced == [f"all of {65 * 16} bytes"]


def test_few_files_do_not_have_all_of_the_disk_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = _synced(monkeypatch, able=True)
    ResponseFolder(tmp_path).complete({}, {name: MANY[name] for name in list(MANY)[:64]})
    assert synced == ["file"] * 64 + ["folder"]


def test_many_files_are_synced_one_by_one_where_a_whole_disk_promises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = _synced(monkeypatch, able=False)
    ResponseFolder(tmp_path).complete({}, MANY)
    assert synced == ["file"] * 65 + ["folder"]


def test_many_files_that_do_not_reach_the_disk_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(response_files, "syncs_at_once", lambda _: True)
    monkeypatch.setattr(response_files, "sync_at_once", full)
    with pytest.raises(StoreUnavailable, match="the disk is full; free some space"):
        ResponseFolder(tmp_path).complete({}, MANY)


def test_zeros_of_a_lost_power_supply_are_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_bytes(b"old\nline-0" + b"\0" * 4000)
    ResponseFolder(tmp_path).complete({"f.jsonl": 4}, {"f.jsonl": [b"line-01", b"line-02"]})
    assert path.read_bytes() == b"old\nline-01\nline-02\n"


def test_a_full_disk_is_told_and_leaves_nothing_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, data: bytes) -> int:
        os.pwrite(file, data[:10], 0)
        raise OSError(errno.ENOSPC, "No space left on device")

    lines = {"f.jsonl": [b"line-01", b"line-02"]}
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StoreUnavailable, match=r"f\.jsonl: the disk is full; free some space"):
            ResponseFolder(tmp_path).complete({"f.jsonl": 0}, lines)
    assert (tmp_path / "f.jsonl").read_bytes() == b"line-01\nli"
    ResponseFolder(tmp_path).complete({"f.jsonl": 0}, lines)
    assert (tmp_path / "f.jsonl").read_bytes() == b"line-01\nline-02\n"


# --- names ----------------------------------------------------------------------------------------


@given(st.text())
def test_a_name_is_safe_whatever_the_session_is_called(session_id: str) -> None:
    name = file_name(session_id)
    assert name.isascii()
    assert name == os.path.basename(name)
    assert set(name) & set('/\\ \0\n*?:"<>|') == set()
    assert name[0] not in ".-"
    assert name.endswith(".jsonl")
    assert len(name) <= 64


@given(st.text(), st.text())
def test_two_sessions_never_share_a_file(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) is (one == other)


@pytest.mark.parametrize(
    ("session_id", "prefix"),
    [
        ("acme-7", "acme-7-"),
        ("../../etc/passwd", "_.._etc_passwd-"),
        ("..", "session-"),
        ("", "session-"),
        ("häh \ud800", "h_h_-"),
        ("A" * 5000, "A" * 40 + "-"),
    ],
)
def test_how_a_file_is_called(session_id: str, prefix: str) -> None:
    name = file_name(session_id)
    assert name.startswith(prefix)
    assert len(name) == len(prefix) + 16 + len(".jsonl")
