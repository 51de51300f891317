"""Tokens: made, kept as hashes in a private file, and looked up.

A token is 256 random bits, so that a plain SHA-256 keeps it as well as a slow hash would: there
is nothing to guess. Its text exists once, where it is made; nothing here logs or raises it.
What a role allows is `roles`'s.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ksi_tui import paths
from ksi_tui.access.roles import Role
from ksi_tui.engine.errors import ConfigError, InputError

log = logging.getLogger(__name__)

PREFIX: Final = "ksi_"
"""Every token begins so: scanners for leaked secrets find it by that."""
MAX_FILE_BYTES: Final = 4_000_000
_SECRET_BYTES = 32
_WRITABLE_BY_OTHERS = 0o022
_LOCK_TIMEOUT_S = 10.0


class TokenFault(ConfigError):
    """A token file that cannot be used; the message names it and what would be right."""


class TokenRecord(BaseModel):
    """What is kept of a token. `sha256` is that of its whole text, `created` ISO 8601 UTC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    name: Annotated[str, Field(pattern=r"^[\w.@+ -]{1,60}$")]
    role: Role
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    created: Annotated[str, Field(max_length=40)]


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: list[TokenRecord]


def default_file() -> Path:
    """Return where tokens are kept unless somebody says otherwise."""
    return paths.user_config_file().with_name("tokens.json")


def make(role: Role, name: str | None = None) -> tuple[str, TokenRecord]:
    """Return a new token and what is to be kept of it; raises InputError for a bad name."""
    token_id = secrets.token_hex(4)
    token = f"{PREFIX}{token_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    try:
        record = TokenRecord(
            id=token_id,
            name=f"{role}-{token_id}" if name is None else name.strip(),
            role=role,
            sha256=_hash(token),
            created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        )
    except ValidationError:
        raise InputError(
            "a token's name is 1 to 60 letters, digits, spaces and . _ @ + -"
        ) from None
    return token, record


def find(records: Iterable[TokenRecord], token: str) -> TokenRecord | None:
    """Return the record of a token, None where there is none.

    Takes as long whichever it is: digests are compared in constant time, and all of them.
    """
    digest, found = _hash(token), None
    for record in records:
        if hmac.compare_digest(digest, record.sha256):
            found = record
    return found


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


# --- the file -----------------------------------------------------------------------------------


def read(file: Path) -> tuple[TokenRecord, ...]:
    """Return what a token file holds; raises TokenFault. One that is missing is a fault too."""
    try:
        # Not waiting: a pipe that nobody writes to would be waited for without end.
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise TokenFault(f"{file} is no token file: it is no plain file")
            text = opened.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise TokenFault(
            f"there is no token file {file}; `ksi-tui token new --role operate --tokens {file}` "
            "makes one with a token in it"
        ) from None
    except OSError as error:
        raise TokenFault(f"cannot read the token file {file}: {error.strerror}") from None
    if mode & _WRITABLE_BY_OTHERS:
        raise TokenFault(f"others may write the token file {file}; `chmod 600` it")
    try:
        if len(text) > MAX_FILE_BYTES:
            raise ValueError
        return tuple(_File.model_validate_json(text).tokens)
    except ValueError:  # what it holds is not repeated: it may be a token
        raise TokenFault(
            f"{file} is no token file: it holds what `ksi-tui token new` did not write"
        ) from None


def read_any(file: Path) -> tuple[TokenRecord, ...]:
    """Return what a token file holds, nothing where there is none; raises TokenFault."""
    return read(file) if os.path.lexists(file) else ()


def add(file: Path, record: TokenRecord) -> None:
    """Keep a token; the file is made where it is missing. Raises TokenFault and InputError."""
    with _changing(file):
        records = read_any(file)
        if any(each.name == record.name for each in records):
            raise InputError(
                f"there is a token called {record.name!r} already: what is done with it is "
                "recorded by that name; choose another, or revoke it first"
            )
        _write(file, [*records, record])


def revoke(file: Path, token_id: str) -> TokenRecord:
    """Forget a token by its id or its name and return what was kept of it; raises InputError."""
    read(file)
    with _changing(file):
        records = read(file)
        named = (
            each for key in ("id", "name") for each in records if getattr(each, key) == token_id
        )
        gone = next(named, None)
        if gone is None:
            raise InputError("no token has that id; `ksi-tui token list` names them")
        _write(file, [each for each in records if each is not gone])
    return gone


@contextmanager
def _changing(file: Path) -> Iterator[None]:
    """Hold the lock under which a token file is read and written anew."""
    if not os.path.isdir(file.parent):
        paths.private_dir(file.parent)
    lock = FileLock(f"{file}.lock", timeout=_LOCK_TIMEOUT_S, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise TokenFault(f"another process holds the token file {file}; try again") from None
    except OSError as error:
        raise TokenFault(f"cannot write beside the token file {file}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


def _write(file: Path, records: Sequence[TokenRecord]) -> None:
    """Put a whole file in the place of the one before, so that nobody ever reads a half."""
    text = json.dumps({"tokens": [each.model_dump(mode="json") for each in records]}, indent=1)
    beside = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(handle, "w", encoding="utf-8") as out:
                out.write(f"{text}\n")
                out.flush()
                os.fsync(out.fileno())
            os.replace(beside, file)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise TokenFault(f"cannot write the token file {file}: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What tells one state of a file from another."""

    changed_ns: int
    inode: int
    size: int


class Tokens:
    """The tokens of a file as they are now: one that is made or revoked counts at once.

    A file that can no longer be read has no tokens: nobody is let in by what once stood there.
    """

    def __init__(self, file: Path) -> None:
        """Read the file; raises TokenFault, also where it holds no token."""
        self._file = file
        self._stamp = self._look()
        self._records = read(file)
        if not self._records:
            raise TokenFault(
                f"the token file {file} has no token in it; "
                f"`ksi-tui token new --role operate --tokens {file}` makes one"
            )

    def of(self, token: str) -> TokenRecord | None:
        """Return whose token this is, None where it is nobody's."""
        self._refresh()
        return find(self._records, token)

    def role_of(self, token: str) -> Role | None:
        """Return what a token may do, None where it is nobody's."""
        record = self.of(token)
        return record.role if record is not None else None

    def holds(self, record: TokenRecord) -> bool:
        """Return whether a token that was found before still counts, and for the same role."""
        self._refresh()
        return record in self._records

    def _refresh(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._records = read(self._file)
        except TokenFault as fault:
            self._records = ()
            log.error("nobody is let in any more: %s", fault)  # noqa: TRY400 - its words say all

    def _look(self) -> _Stamp | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return _Stamp(found.st_ctime_ns, found.st_ino, found.st_size)
