"""Where files live on this platform. Creates nothing by itself except through `private_dir`."""

from __future__ import annotations

import logging
import os
import stat
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from platformdirs import PlatformDirs

from ksi_tui.engine.errors import ConfigError

_log = logging.getLogger(__name__)
_OTHERS: Final = 0o077
_OTHERS_WRITE: Final = 0o022
_DIRS = PlatformDirs("ksi-tui", appauthor=False)


def state_dir() -> Path:
    """Return the folder of database, responses and logs."""
    return Path(_DIRS.user_state_dir)


def user_config_file() -> Path:
    """Return the user's own settings file, which need not exist."""
    return Path(_DIRS.user_config_dir) / "ksi-tui.toml"


def from_home(path: Path) -> Path:
    """Return a path whose `~` is the home folder; ValueError when there can be none such."""
    if path == Path():
        raise ValueError("it is empty; leave it out for the default")
    if "\0" in str(path):
        raise ValueError("a NUL stands in it, which no name of a file may hold")
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"the home folder of {path.parts[0]} is not known") from None


def private_dir(path: Path) -> Path:
    """Create a folder that only its owner can enter (0700) and return it.

    So are those above it that are missing. An existing one is left as it is, unless it lies in
    the state folder, which is ours: that is closed to others. Raises ConfigError when it cannot
    be made.
    """
    try:
        for folder in reversed([path, *path.parents]):
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot create the folder {path}: {error.strerror}") from None
    if not os.access(path, os.X_OK):
        raise ConfigError(f"cannot enter the folder {path}: permission denied")
    _close_to_others(path)
    return path


def _close_to_others(folder: Path) -> None:
    """Take what others may do in a folder away from them; of one that is not ours only tell."""
    found = folder.stat()
    ours = state_dir()
    if ours in (folder, *folder.parents) and found.st_uid == os.getuid():
        # From the top: what is told of the log's own folder goes into it.
        for each in (ours, folder):
            mode = stat.S_IMODE(each.stat().st_mode)
            if mode & _OTHERS:
                with suppress(OSError):
                    each.chmod(mode & ~_OTHERS)
                    _log.warning("others could enter the folder %s; no longer", each)
    elif found.st_mode & _OTHERS_WRITE and not found.st_mode & stat.S_ISVTX:
        _tell_of(folder)


@lru_cache(maxsize=16)
def _tell_of(folder: Path) -> None:
    """Once for each: response files are written all the time."""
    _log.warning("others may write in the folder %s, and take away what is kept there", folder)
