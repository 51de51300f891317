"""The log of a service: JSON lines on stdout, written by a thread.

A reader who is slow, or a terminal that has gone, holds nothing up: what finds no room is
counted and told with the next line. The form of a record is `log_file`'s.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from ksi_tui.log_file import JsonLines
from ksi_tui.streams import flush_stdout

MOST_WAITING: Final = 10_000
_WAIT_AT_END_S: Final = 2.0
_GATHER_S: Final = 0.05
"""So long lines gather for one write: to wake a thread for each one holds up the engine's."""
_MOST_AT_ONCE: Final = 256


@contextmanager
def lines_on_stdout(*, only_there: Iterable[str] = ()) -> Iterator[None]:
    """Send every record that is logged to stdout too, until the block ends.

    Those of the loggers named in `only_there` go nowhere else.
    """
    flush_stdout()
    handler = _ByThread(sys.stdout.fileno())
    root, apart = logging.getLogger(), [logging.getLogger(name) for name in only_there]
    for logger in (root, *apart):
        logger.addHandler(handler)
    for logger in apart:
        logger.propagate = False
    try:
        yield
    finally:
        for logger in (root, *apart):
            logger.removeHandler(handler)
            logger.propagate = True
        handler.close()


class _ByThread(logging.Handler):
    """Writes to a file descriptor from a thread of its own.

    Not by `sys.stdout`: a thread that waits in it for a reader would hold its lock for good,
    and the interpreter could not end.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.setFormatter(JsonLines(said="message"))
        self._descriptor = descriptor
        self._waiting: queue.Queue[logging.LogRecord | None] = queue.Queue(MOST_WAITING)
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="stdout-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self._lost += 1

    def close(self) -> None:
        """Write what waits, as far as the reader takes it in a moment."""
        try:
            self._waiting.put(None, timeout=_WAIT_AT_END_S)
        except queue.Full:
            return
        self._thread.join(_WAIT_AT_END_S)
        super().close()

    def _write(self) -> None:
        while (record := self._waiting.get()) is not None:
            time.sleep(_GATHER_S)
            lines = self._lines_of(record)
            ended = False
            while not ended and len(lines) < _MOST_AT_ONCE and not self._waiting.empty():
                more = self._waiting.get()
                ended = more is None
                lines += self._lines_of(more) if more is not None else ()
            self._send("".join(lines).encode())
            if ended:
                return

    def _lines_of(self, record: logging.LogRecord) -> list[str]:
        """Return a record as a line, and what found no room before it was taken out as another."""
        records, lost = [record], self._lost
        if lost:
            self._lost = 0
            records.append(_told_lost(lost))
        return [f"{self.format(each)}\n" for each in records]

    def _send(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            return  # the reader has gone; what matters stands in the log file too


def _told_lost(lost: int) -> logging.LogRecord:
    return logging.LogRecord(
        __name__, logging.WARNING, __file__, 0, "%d lines found no room here", (lost,), None
    )
