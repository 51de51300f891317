"""The response files: a folder with one file of JSON lines for each session.

Blocking; whoever calls runs it in a thread. It knows files and bytes, not what is in the
database: `response_writer` says what belongs where. Nothing in the folder is ever removed
or shortened but what a lost power supply left of a line.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

from ksi_tui.engine.errors import ConfigError, StoreUnavailable
from ksi_tui.engine.store.syncing import sync_at_once, syncs_at_once
from ksi_tui.paths import private_dir

_PREFIX_CHARS: Final = 40
_HASH_CHARS: Final = 16
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_OPEN_AT_ONCE: Final = 64
"""Over so many, the file system is synced once, in place of each file, where that can be."""
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
"""Never through a link; and a pipe with nobody at its other end is an error, not a wait."""
_REASONS: Final = {
    errno.ELOOP: "it is a symbolic link, which is not followed; move it away",
    errno.EISDIR: "it is a folder; move it away",
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EACCES: "permission denied; check the permissions of the folder and the file",
    errno.EPERM: "permission denied; check the permissions of the folder and the file",
    errno.EROFS: "the disk is read-only",
    errno.ENOTDIR: "it is no folder; move it away, or name another one in engine.responses_dir",
}


def file_name(session_id: str) -> str:
    """Return the name of a session's file: a safe part of the id, and a hash of all of it."""
    whole = hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()
    # No leading dot: the file is not hidden, and no name of a folder.
    prefix = _UNSAFE.sub("_", session_id)[:_PREFIX_CHARS].lstrip(".-")
    return f"{prefix or 'session'}-{whole[:_HASH_CHARS]}.jsonl"


class ResponseFolder:
    """The folder at `path`, made when it is first written to. Raises StoreUnavailable."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self) -> None:
        """Raise ConfigError where something stands that is no folder, which no waiting mends."""
        try:
            fine = stat.S_ISDIR(self.path.stat().st_mode)
        except FileNotFoundError:
            fine = not self.path.is_symlink()
        except OSError as error:
            fine = error.errno not in (errno.ELOOP, errno.ENOTDIR)
        if not fine:
            raise ConfigError(
                f"no place for the response files: {self.path} is no folder; "
                "move it away, or name another one in engine.responses_dir"
            )

    def lengths(self, names: Sequence[str]) -> dict[str, int]:
        """Return how long files are, in bytes; 0 of those that are not there."""
        with self._folder() as folder:
            return {name: self._length(folder, name) for name in names}

    def complete(self, before: Mapping[str, int], lines: Mapping[str, Sequence[bytes]]) -> None:
        """Let every file hold its lines exactly once behind `before` bytes, and be on the disk.

        `lines` come without their ends, and no two are the same. What of them is there already,
        whole or in part, is not written again: so it may be repeated after it failed, and after
        a crash. What others have written stays.
        """
        with self._folder() as folder:
            names = iter(lines)
            at_once = len(lines) > _OPEN_AT_ONCE and syncs_at_once(folder)
            made = False
            while some := list(islice(names, _OPEN_AT_ONCE)):
                opened: dict[str, int] = {}
                try:
                    for name in some:
                        opened[name] = file = self._open(folder, name)
                        with self._told(name):
                            made = _complete(file, before.get(name, 0), lines[name]) or made
                    if not at_once:
                        self._sync(opened)
                finally:
                    for file in opened.values():
                        os.close(file)
            with self._told():
                if at_once:
                    sync_at_once(folder)
                elif made:
                    os.fsync(folder)

    def _sync(self, opened: Mapping[str, int]) -> None:
        """Sync files, all of which are written by now: the disk takes them together."""
        for name, file in opened.items():
            with self._told(name):
                os.fsync(file)

    @contextmanager
    def _folder(self) -> Iterator[int]:
        try:
            private_dir(self.path)
        except ConfigError as error:
            raise StoreUnavailable(f"no place for the response files: {error}") from None
        with self._told():
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield folder
        finally:
            os.close(folder)

    def _length(self, folder: int, name: str) -> int:
        with self._told(name):
            try:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                return 0
            _check_plain(found.st_mode)
            return found.st_size

    def _open(self, folder: int, name: str) -> int:
        with self._told(name):
            file = os.open(name, _FLAGS, 0o600, dir_fd=folder)
            try:
                _check_plain(os.fstat(file).st_mode)
            except BaseException:
                os.close(file)
                raise
            return file

    @contextmanager
    def _told(self, name: str = "") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
            path = self.path / name
            raise StoreUnavailable(f"cannot write the response file {path}: {reason}") from None


def _check_plain(mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "")
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, "")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no plain file; move it away")


def _complete(file: int, before: int, lines: Sequence[bytes]) -> bool:
    """Append those of `lines` that are not yet behind `before` bytes; True for a file that is new.

    New to its batch: also where an earlier try has made it, and may not have synced its folder.
    """
    size = os.fstat(file).st_size
    missing, begun = list(lines), b""
    if size > before:
        behind = os.pread(file, size - before, before)
        kept = behind.rstrip(b"\0")
        if len(kept) < len(behind):
            # A disk that lost its power gives back zeros for what it had not written.
            os.ftruncate(file, before + len(kept))
        whole, _, begun = kept.rpartition(b"\n")
        there = set(whole.split(b"\n"))
        missing = [line for line in lines if line not in there]
    rest = b"".join(line + b"\n" for line in missing)
    if begun and rest.startswith(begun):
        rest = rest[len(begun) :]
    elif rest and size and os.pread(file, 1, os.fstat(file).st_size - 1) != b"\n":
        rest = b"\n" + rest
    while rest:
        rest = rest[os.write(file, rest) :]
    return before == 0
