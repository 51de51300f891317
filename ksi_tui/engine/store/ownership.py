"""One engine owns a database: a lock that the kernel frees with the process.

Only the lock and the message about who holds it; the database itself is not touched here.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ksi_tui.engine.errors import ConfigError, DatabaseOwned, StoreUnavailable
from ksi_tui.named_file import read_text

_NO_NOTE = (OSError, ConfigError, ValueError, RecursionError, KeyError, TypeError, OverflowError)
"""What reading an owner's note may raise where it is none."""


class Ownership:
    """The right to write one database, held until `release` or the end of the process.

    The lock file stays behind on purpose: what counts is the lock on it, and removing it
    would let two processes hold locks on two files of one name. A child process does not
    inherit the lock.
    """

    def __init__(self, database: Path) -> None:
        """Take the lock of `database`; raises DatabaseOwned or StoreUnavailable."""
        self._path = database.with_name(database.name + ".lock")
        self._lock = FileLock(self._path, timeout=0, mode=0o600, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout:
            raise DatabaseOwned(
                f"the database {database} is in use by {_owner(self._path)};"
                " end that one first, or name another database with --db"
            ) from None
        except OSError as error:
            raise StoreUnavailable(
                f"cannot lock the database {database}: {self._path} cannot be written"
                f" ({error.strerror}); check the permissions of its folder"
            ) from None
        self._note({"pid": os.getpid(), "host": socket.gethostname(), "since": _now()})

    def release(self) -> None:
        """Give the lock back; harmless when it is no longer held."""
        if self._lock.is_locked:
            self._note({})
            self._lock.release()

    def _note(self, owner: dict[str, object]) -> None:
        # It serves the message only: a full disk must not keep an engine from starting.
        with suppress(OSError):
            self._path.write_text(json.dumps(owner), encoding="utf-8")


def owner_of(database: Path) -> str | None:
    """Return who runs an engine on `database`, in words; None when nobody does.

    Reads the note beside the lock and asks whether that process lives: trying the lock
    itself could refuse an engine that starts in this instant.
    """
    path = database.with_name(database.name + ".lock")
    try:
        owner = json.loads(read_text(path))
        if owner["host"] == socket.gethostname():
            os.kill(int(owner["pid"]), 0)
    except PermissionError:
        return _owner(path)  # it lives, and belongs to somebody else
    except ConfigError:  # what is there and may not be read is somebody else's too
        return _owner(path) if path.exists() and not os.access(path, os.R_OK) else None
    except _NO_NOTE:
        return None
    return _owner(path)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _owner(path: Path) -> str:
    try:
        owner = json.loads(read_text(path))
        return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except _NO_NOTE:
        return "another process"
