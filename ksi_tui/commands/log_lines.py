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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from ksi_tui.log_file import JsonLines
from ksi_tui.streams import flush_stdout

MOST_WAITING: Final = 10_000
_WAIT_AT_END_S: Final = 2.0


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
            lines = [self.format(record)]
            lost, self._lost = self._lost, 0
            if lost:
                lines.append(self.format(_told_lost(lost)))
            self._send("".join(f"{line}\n" for line in lines).encode())

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
