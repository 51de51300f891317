"""The log's file: JSON lines, rotated, readable by its owner only, without secrets.

The rendering is a few lines of our own: structlog costs 104 ms of import, brings rich into
the engine and would serve for nothing else here.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from ksi_tui import paths
from ksi_tui.engine.errors import ConfigError
from ksi_tui.redaction import redacted, redacted_data, secrets_of

_FILE_BYTES = 5_000_000
_FILES_KEPT = 4
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record carries; the rest came by `extra`."""


class JsonLines(logging.Formatter):
    """One record as one line of JSON, without secrets; `said` is the key of its message."""

    def __init__(self, said: str = "event") -> None:
        super().__init__()
        self._said = said
        self._secrets = secrets_of(os.environ)

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            self._said: record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        # Before it is JSON: an escaped secret would not be found, and what is taken out of a
        # finished line may leave one that is no JSON.
        line = redacted_data(line, self._secrets)
        return json.dumps(line, default=lambda value: redacted(str(value), self._secrets))


class _PrivateFile(RotatingFileHandler):
    """A log file that only its owner can read."""

    def _open(self) -> Any:
        return open(
            self.baseFilename,
            self.mode,
            encoding=self.encoding,
            opener=lambda name, flags: os.open(name, flags, 0o600),
        )

    def shouldRollover(self, _: logging.LogRecord) -> bool:  # noqa: N802 - logging's name
        """Whether the file is full; logging's own formats every record a second time for that.

        What is no file has no size, and is never rotated.
        """
        return self.stream is None or os.fstat(self.stream.fileno()).st_size >= self.maxBytes


def file_handler(file: Path) -> logging.Handler:
    """Return the handler of a file; one that loses every record where it cannot be written."""
    try:
        paths.private_dir(file.parent)
        handler = _PrivateFile(
            file, maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8"
        )
    except (ConfigError, OSError):
        return logging.NullHandler()
    handler.setFormatter(JsonLines())
    return handler
