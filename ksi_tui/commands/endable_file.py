"""A file whose reading can be ended from another thread, also while a pipe is silent."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from typing import Any, BinaryIO, Final

_BUFFER_BYTES: Final = 64 * 1024


@contextmanager
def endable(file: str | int) -> Iterator[BinaryIO]:
    """Open a path, or read a descriptor that stays open; raises OSError.

    Who still reads when it is left finds the end of the file.
    """
    raw = _Endable(file)
    # The buffer's lock is held by who reads, so that it can be closed only once that has ended.
    with BufferedReader(raw, _BUFFER_BYTES) as buffered:
        try:
            yield buffered
        finally:
            raw.end()


class _Endable(FileIO):
    def __init__(self, file: str | int) -> None:
        super().__init__(file, "rb", closefd=not isinstance(file, int))
        self._awaited, self._held = os.pipe()
        self._poll = select.poll()
        for each in (self.fileno(), self._awaited):
            self._poll.register(each, select.POLLIN)

    def readinto(self, buffer: Any) -> int | None:
        ready = self._poll.poll()
        if any(each == self._awaited for each, _ in ready):
            return 0
        return super().readinto(buffer)

    def end(self) -> None:
        """Let every read from now on, and one that waits, find the end."""
        os.close(self._held)

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._awaited)
