"""Whether a file is a database of ours, and how it becomes one of this version.

Blocking: `open_store` and `open_reader` run it in a thread. Refusals leave the file as it
is, byte for byte. The file is only ever opened through SQLite: closing a descriptor of our
own on it would drop the locks that SQLite holds for this process.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from ksi_tui.engine.errors import NewerDatabase, NotADatabase, StoreUnavailable

APPLICATION_ID: Final = 0x6B736974
"""Marks a file as ours in SQLite's header: "ksit"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema; `number` is the version that it leads to."""

    number: int
    sql: str


@lru_cache(maxsize=1)
def migrations() -> tuple[Migration, ...]:
    """Return all migrations, oldest first; their files are numbered from 1 without gaps."""
    folder = files("ksi_tui.engine.store") / "schema"
    found = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    return tuple(
        Migration(number=int(entry.name.split("_")[0]), sql=entry.read_text(encoding="utf-8"))
        for entry in found
    )


def latest() -> int:
    """Return the version of the schema that this program knows."""
    return migrations()[-1].number


def uri(path: Path, options: str) -> str:
    """Return the SQLite URI of a file, whatever characters are in its name."""
    return f"{path.absolute().as_uri()}?{options}"


def check(path: Path) -> int:
    """Return the version of the database, 0 for an empty file.

    Raises NotADatabase, NewerDatabase or StoreUnavailable, and changes nothing.
    """
    check_plain(path)
    if path.stat().st_size == 0:
        return 0
    version = _version(path)
    if version > latest():
        raise NewerDatabase(
            f"{path} was written by a later version of ksi-tui (schema {version}, this one knows"
            f" {latest()}); update ksi-tui, or name another database with --db"
        )
    return version


def check_plain(path: Path) -> None:
    """Raise StoreUnavailable for what is there and no plain file, OSError where nobody can look.

    To be asked before anything is made beside it: SQLite would take a device for an empty file.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no plain file"
        raise StoreUnavailable(f"{path} is {what}; name a database file with --db")


def _version(path: Path) -> int:
    """Return the version in a file of ours, 0 for an empty SQLite file; or raise NotADatabase.

    The file alone tells whose it is: ours carries its mark from the first transaction on. So
    what lies beside a foreign one is not touched. A log of ours, left by a crash, is read but
    not written into the file, and where there is none, none is made; a journal of ours, left
    by a crash in the first migration, is played back.
    """
    logged, journaled = _beside(path, "-wal"), _beside(path, "-journal")
    with closing(_connect(path, "mode=ro&immutable=1")) as connection:
        # A kill in a checkpoint leaves a file that is shorter than its header says: no damage,
        # since the log has the rest. Without this SQLite would refuse even the header.
        connection.execute("PRAGMA writable_schema=ON")
        mark = _number(path, connection, "PRAGMA application_id")
        version = _number(path, connection, "PRAGMA user_version")
        if mark != APPLICATION_ID:
            tables = mark or _number(path, connection, "SELECT COUNT(*) FROM sqlite_master")
            if mark or tables or logged or journaled:
                raise _not_ours(path, "it is an SQLite database of another program")
            return 0
    if not logged and not journaled:
        return version
    with closing(_connect(path, "mode=rw" if journaled else "mode=ro")) as connection:
        return _number(path, connection, "PRAGMA user_version")


def _beside(path: Path, ending: str) -> bool:
    """Return whether SQLite has left something of a file in one beside it."""
    beside = path.with_name(path.name + ending)
    return beside.exists() and beside.stat().st_size > 0


def _number(path: Path, connection: sqlite3.Connection, question: str) -> int:
    try:
        return int(connection.execute(question).fetchone()[0])
    except sqlite3.OperationalError as error:
        raise unavailable(path, "open", error) from None
    except sqlite3.DatabaseError as error:
        raise _not_ours(path, str(error)) from None


def _connect(path: Path, options: str) -> sqlite3.Connection:
    try:
        return sqlite3.connect(uri(path, options), uri=True, isolation_level=None)
    except sqlite3.Error as error:
        raise unavailable(path, "open", error) from None


def _not_ours(path: Path, why: str) -> NotADatabase:
    return NotADatabase(
        f"{path} is no database of ksi-tui ({why}); it was left as it is:"
        " name another file with --db"
    )


def prepare(path: Path) -> None:
    """Create or check the database at `path` and bring it to the latest version.

    Raises NotADatabase, NewerDatabase or StoreUnavailable.
    """
    try:
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        version = check(path)
        mode = path.stat().st_mode
        if mode & 0o077:
            path.chmod(mode & 0o700)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot open the database {path}: {error.strerror};"
            " check its permissions, or name another one with --db"
        ) from None
    with closing(_connect(path, "mode=rw")) as connection:
        try:
            migrate(connection, version)
        except sqlite3.Error as error:
            raise unavailable(path, "prepare", error) from None


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Run every migration above `version`, each in its own transaction; raises sqlite3.Error."""
    for migration in migrations():
        if migration.number > version:
            mark = f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={migration.number}"
            connection.executescript(f"BEGIN IMMEDIATE; {migration.sql}; {mark}; COMMIT")
    # Only now, so that the mark of a new database is in the file itself and not in its log.
    connection.execute("PRAGMA journal_mode=WAL")
    # A file that cannot be written shows here, at the start, and not with the first request.
    connection.executescript("BEGIN IMMEDIATE; ROLLBACK")


_REASONS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_READONLY: "it is read-only; check the permissions of the file and its folder",
    sqlite3.SQLITE_PERM: "permission denied; check the permissions of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check the file, its folder and its permissions",
    sqlite3.SQLITE_BUSY: "another program holds it locked; end that one",
    sqlite3.SQLITE_LOCKED: "another program holds it locked; end that one",
    sqlite3.SQLITE_CORRUPT: "it is damaged; move it away or put a copy in its place",
    sqlite3.SQLITE_NOTADB: "it is damaged; move it away or put a copy in its place",
    sqlite3.SQLITE_IOERR: "the disk reports an error; check the disk and its free space",
}


def reason(error: sqlite3.Error) -> str:
    """Return why SQLite failed, in words, and what to do."""
    code = getattr(error, "sqlite_errorcode", None)
    return _REASONS.get(code & 0xFF, str(error)) if code is not None else str(error)


_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def damaged(error: sqlite3.Error) -> bool:
    """Return whether SQLite failed for what is in the file, so that no waiting helps."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def unreadable(path: Path, error: Exception) -> StoreUnavailable:
    """Return the error for a question that failed, by SQLite or by what it found."""
    if isinstance(error, sqlite3.Error):
        return unavailable(path, "read", error)
    return StoreUnavailable(f"cannot read the database {path}: {error}")


def unavailable(path: Path, verb: str, error: sqlite3.Error) -> StoreUnavailable:
    """Return the error for a database that cannot be used now."""
    return StoreUnavailable(f"cannot {verb} the database {path}: {reason(error)}")
