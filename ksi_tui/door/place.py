"""Where the door of a database is, who stands in it, and taking the place.

A socket that answers is never touched, and neither is a file that is no socket. Nothing here
speaks HTTP.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from ksi_tui import paths
from ksi_tui.door.errors import DoorError
from ksi_tui.engine.errors import ConfigError

LONGEST: Final = 100
"""Bytes of a socket's path; the system's own limit is 108 on Linux, 104 elsewhere."""
LEAVING_S: Final = 2.0
"""How long an engine that has given its database back may still stand in its door, in seconds."""
_LOOK_AGAIN_S: Final = 0.02
_BACKLOG: Final = 128
_ANSWERS_WITHIN_S: Final = 2.0
_NOBODY: Final = frozenset(
    {errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR, errno.ELOOP, errno.EPROTOTYPE}
)
"""What connecting fails with where no engine listens."""


def socket_of(database: Path) -> Path:
    """Return where the door of a database is: beside it, where that path is short enough.

    However the database is named and whoever asks, it is one place: links and relative paths are
    followed, and nothing of it comes from the environment.
    """
    try:
        whole = database.resolve()
    except RuntimeError:  # links that lead in a circle: no engine can be there
        whole = database.absolute()
    beside = whole.with_name(f"{whole.name}.sock")
    if len(os.fsencode(beside)) <= LONGEST:
        return beside
    folder = _short_folder()
    name = hashlib.sha256(os.fsencode(whole)).hexdigest()[:16]
    return folder / f"{name}.sock" if _ours(folder) else beside


def _short_folder() -> Path:
    """Return a folder of this user's whose path is short on every system."""
    return Path("/tmp") / f"ksi-tui-{os.getuid()}"  # noqa: S108 - entered only where it is ours


def _ours(folder: Path) -> bool:
    """Return whether nobody else can have put a socket into a folder; one not there is free."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    private = stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
    return private and found.st_uid == os.getuid()


def answers(place: Path) -> bool:
    """Return whether somebody listens there; one too busy to answer counts as there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(_ANSWERS_WITHIN_S)
        try:
            asking.connect(os.fspath(place))
        except OSError as error:
            return error.errno not in _NOBODY
    return True


def taken(place: Path) -> socket.socket:
    """Return a listening socket at a place, readable by its owner only; raises DoorError.

    What an engine that has gone left there is removed. To be called by the database's owner
    only: no other may think of the place as its own. May take a moment: not for a loop.
    """
    _cleared(place)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if place.parent == _short_folder():
            paths.private_dir(place.parent)
        listening.bind(os.fspath(place))
        place.chmod(0o600)
        listening.listen(_BACKLOG)  # not before: until here nobody could connect
        listening.setblocking(False)
    except ConfigError as error:
        listening.close()
        raise DoorError(str(error)) from None
    except OSError as error:
        listening.close()
        raise DoorError(f"cannot listen on {place}: {error.strerror}") from None
    return listening


def _cleared(place: Path) -> None:
    try:
        mode = place.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise DoorError(f"cannot look at {place}: {error.strerror}") from None
    if not stat.S_ISSOCK(mode):
        raise DoorError(f"{place} is in the way: it is no socket, and was not touched")
    until = time.monotonic() + LEAVING_S
    while answers(place):
        if time.monotonic() >= until:
            raise DoorError(f"somebody else answers on {place}; it was not touched")
        time.sleep(_LOOK_AGAIN_S)
    try:
        place.unlink(missing_ok=True)
    except OSError as error:
        raise DoorError(f"cannot remove the old {place}: {error.strerror}") from None


def left(place: Path, inode: int) -> None:
    """Remove the socket at a place if it still is the one of that inode."""
    with suppress(OSError):
        if place.lstat().st_ino == inode:
            place.unlink()
