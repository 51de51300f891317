"""Reads a small text file that somebody named: a plain file, of bounded size, in UTF-8.

What a path leads to is anybody's guess: a pipe that nobody writes to would be waited for without
end, a device read without end. What stands in the file is for whoever asked.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from ksi_tui.engine.errors import ConfigError

MOST_BYTES: Final = 1_000_000
"""Settings are written by hand; what is longer is something else."""


def read_text(file: Path, most_bytes: int = MOST_BYTES) -> str:
    """Return what a plain file holds, its line ends as `\\n`.

    Raises FileNotFoundError, and ConfigError for everything else that is wrong with it.
    """
    data = read_bytes(file, most_bytes)
    try:
        return data.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 text (byte {error.start})") from None


def read_bytes(file: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """Return the bytes of a plain file; raises as `read_text` does."""
    with _opened(file) as opened:
        data = opened.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ConfigError(f"{file}: holds more than {most_bytes:,} bytes")
    return data


def read_end(file: Path, most_bytes: int) -> bytes:
    """Return the last bytes of a plain file, however long it is; raises as `read_text` does."""
    with _opened(file) as opened:
        opened.seek(max(0, os.fstat(opened.fileno()).st_size - most_bytes))
        return opened.read(most_bytes)


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{str(file)!r}: cannot be read: no file has such a name") from None
    try:
        _check_plain(file, os.fstat(handle).st_mode)
        with open(handle, "rb", closefd=False) as opened:
            yield opened
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    finally:
        os.close(handle)


def _check_plain(file: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        what = "Is a directory" if stat.S_ISDIR(mode) else "it is no plain file"
        raise ConfigError(f"{file}: cannot be read: {what}")
