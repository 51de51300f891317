"""The key in the address: what tells its owner's browser from everybody else on the machine.

Loopback is open to every account, and to every page in a browser there; a visitor acts with the
owner's rights. So the address has a part that only the owner can read. It stays the same, so that
an open page finds its way back.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

from ksi_tui import paths
from ksi_tui.engine.errors import ConfigError

_BYTES: Final = 32
_SHAPE: Final = re.compile(r"[\w-]{43}", re.ASCII)
_MOST_BYTES: Final = 200


class KeyFault(ConfigError):
    """A key file that cannot be used; the message names it and what would be right."""


def key_file() -> Path:
    """Return where the key is kept."""
    return paths.state_dir() / "web.key"


def kept_key(file: Path) -> str:
    """Return the key in a file, made where there is none; raises KeyFault and ConfigError."""
    paths.private_dir(file.parent)
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return _read(file)
    except OSError as error:
        raise KeyFault(f"cannot write {file}: {error.strerror}") from None
    key = secrets.token_urlsafe(_BYTES)
    with open(handle, "w", encoding="ascii") as new:
        new.write(f"{key}\n")
    return key


def _read(file: Path) -> str:
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as kept:
            found = os.fstat(kept.fileno())
            text = kept.read(_MOST_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        raise KeyFault(f"cannot read {file}: {error.strerror}") from None
    if stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid != os.getuid():
        raise KeyFault(f"others may read or write {file}: remove it, and a new key is made")
    if not _SHAPE.fullmatch(text):  # what it holds is not repeated
        raise KeyFault(f"{file} holds no key: remove it, and a new one is made")
    return text


def same(given: str, key: str) -> bool:
    """Return whether a key is the right one, in the same time whichever it is."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), key.encode())
