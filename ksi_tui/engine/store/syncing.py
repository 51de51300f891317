"""Has a whole file system written to its disk at once, where that is known to be a promise.

Each `fsync` makes the disk empty its cache: of a thousand new files that is most of what writing
them costs, and the log of the database waits in the same row. Knows no file and no folder's
meaning. Where anything is unknown (another system, a file system over a network or in a process)
the answer is no, and whoever asks syncs file by file.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Final

_KEEPS_ITS_WORD: Final = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994})
"""ext2 to ext4, XFS, Btrfs, F2FS, tmpfs, as statfs(2) names them."""
_REPORTS_SINCE: Final = (5, 8)
"""The first Linux whose syncfs(2) tells that something could not be written."""
_STATFS_BYTES: Final = 256


def syncs_at_once(folder: int) -> bool:
    """Return whether `sync_at_once` is as good as an `fsync` of each file on the same disk."""
    libc = _libc()
    if libc is None:
        return False
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    if libc.fstatfs(folder, found) != 0:
        return False
    kind = ctypes.c_long.from_buffer(found).value
    return kind & 0xFFFFFFFF in _KEEPS_ITS_WORD


def sync_at_once(folder: int) -> None:
    """Wait until all that was written to the file system of an open folder is on its disk.

    Raises OSError when something written since the folder was opened could not be.
    """
    libc = _libc()
    if libc is None or libc.syncfs(folder) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


@cache
def _libc() -> ctypes.CDLL | None:
    """Return the C library where it has what is needed here, and Linux is new enough."""
    if sys.platform != "linux" or _release() < _REPORTS_SINCE:
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    needed: tuple[Callable[..., int] | None, ...]
    needed = (getattr(libc, "syncfs", None), getattr(libc, "fstatfs", None))
    return libc if all(needed) else None


def _release() -> tuple[int, int]:
    major, _, rest = os.uname().release.partition(".")
    minor = "".join(digit for digit in rest.partition(".")[0][:3] if digit.isdigit())
    return (int(major), int(minor or 0)) if major.isdigit() else (0, 0)
