"""A whole file system is synced where that is a promise, and told apart where it is none."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ksi_tui.engine.store import syncing
from ksi_tui.engine.store.syncing import sync_at_once, syncs_at_once

linux = pytest.mark.skipif(sys.platform != "linux", reason="a call of Linux")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield opened
    os.close(opened)


@pytest.fixture
def anew() -> Iterator[None]:
    syncing._libc.cache_clear()
    yield
    syncing._libc.cache_clear()


@linux
def test_a_folder_is_synced_and_what_is_none_raises(folder: int) -> None:
    sync_at_once(folder)
    with pytest.raises(OSError, match="Bad file descriptor") as raised:
        sync_at_once(-1)
    assert raised.value.errno == errno.EBADF


@linux
def test_memory_that_looks_like_files_is_no_disk_that_is_known() -> None:
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert not syncs_at_once(proc)
    finally:
        os.close(proc)
    assert not syncs_at_once(-1)


@linux
@pytest.mark.usefixtures("anew")
def test_the_kind_of_file_system_decides(folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Libc:
        kind = 0x6969  # NFS

        def fstatfs(self, _: int, found: bytearray) -> int:
            found[0:8] = self.kind.to_bytes(8, sys.byteorder)
            return 0

    libc = Libc()
    monkeypatch.setattr(syncing, "_libc", lambda: libc)
    assert not syncs_at_once(folder)
    libc.kind = 0xEF53
    assert syncs_at_once(folder)


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize("release", ["5.7.19-generic", "4.19", "unknown"])
def test_a_kernel_that_does_not_tell_of_failures_is_not_trusted(
    folder: int, monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    found = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*found[:2], release, *found[3:])))
    assert not syncs_at_once(folder)


@pytest.mark.parametrize(
    ("release", "expected"),
    [("6.18.44-fc-v669", (6, 18)), ("5.8-rc1", (5, 8)), ("5.10.0-21-amd64", (5, 10))],
)
def test_a_release_is_read(
    monkeypatch: pytest.MonkeyPatch, release: str, expected: tuple[int, int]
) -> None:
    found = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*found[:2], release, *found[3:])))
    assert syncing._release() == expected
