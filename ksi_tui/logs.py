"""The log: JSON lines in a rotating file, and nothing ever on the screen.

Every module logs through the standard library (`logging.getLogger(__name__)`, keys by
`extra`); this one says where it goes. File and format are `log_file`'s, loaded and made with
the first record, which the dashboard's first frame need not wait for.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from ksi_tui import paths

LEVELS = ("debug", "info", "warning", "error")


def path() -> Path:
    """Return the log file, which need not exist."""
    return paths.state_dir() / "logs" / "ksi-tui.log"


def start(level: str) -> None:
    """Send every record of at least `level` to the file, Python's own warnings included.

    Replaces what an earlier call set up. Never raises and never prints: where the file
    cannot be written, the records are lost.
    """
    logging.raiseExceptions = False
    # Nobody is told where a record comes from: to find that out is a third of its making.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    if not sys.warnoptions:
        logging.captureWarnings(capture=True)
    root = logging.getLogger()
    for handler in [old for old in root.handlers if isinstance(old, _LateFile)]:
        root.removeHandler(handler)
        handler.close()
    root.addHandler(_LateFile())
    root.setLevel(level.upper())


class _LateFile(logging.Handler):
    """Makes folder and file when the first record comes."""

    def __init__(self) -> None:
        super().__init__()
        self._target: logging.Handler | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self._target is None:
            from ksi_tui.log_file import file_handler  # noqa: PLC0415 - with the first record

            self._target = file_handler(path())
        self._target.handle(record)

    def close(self) -> None:
        if self._target is not None:
            self._target.close()
        super().close()
