"""Where files live on this platform. Creates nothing by itself except through `private_dir`."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import PlatformDirs

from ksi_tui.engine.errors import ConfigError

_DIRS = PlatformDirs("ksi-tui", appauthor=False)


def state_dir() -> Path:
    """Return the folder of database, responses and logs."""
    return Path(_DIRS.user_state_dir)


def user_config_file() -> Path:
    """Return the user's own settings file, which need not exist."""
    return Path(_DIRS.user_config_dir) / "ksi-tui.toml"


def from_home(path: Path) -> Path:
    """Return a path whose `~` is the home folder; ValueError when there can be none such."""
    if "\0" in str(path):
        raise ValueError("a NUL stands in it, which no name of a file may hold")
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"the home folder of {path.parts[0]} is not known") from None


def private_dir(path: Path) -> Path:
    """Create a folder that only its owner can enter (0700) and return it.

    So are those above it that are missing; an existing one is left as it is. Raises
    ConfigError when it cannot be made.
    """
    try:
        for folder in reversed([path, *path.parents]):
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot create the folder {path}: {error.strerror}") from None
    if not os.access(path, os.X_OK):
        raise ConfigError(f"cannot enter the folder {path}: permission denied")
    return path
