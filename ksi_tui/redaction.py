"""What must never be written down or shown: keys, and what looks like one.

Leaf module. Keys come from the environment only, so their values are known: whatever
text is about to leave the program can be searched for them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

HIDDEN = "(hidden)"

_SECRET_WORDS = frozenset(
    {"apikey", "auth", "authorization", "bearer", "cookie", "credential", "credentials", "key"}
    | {"keys", "passphrase", "passwd", "password", "pwd", "secret", "secrets", "token"}
)
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+")
_USER_INFO = re.compile(r"(?<=://)[^/?#@\s]+@")
_QUERY = re.compile(r"(?<=[?&])([^=&#\s]+)=([^&#\s]+)")
_SHORTEST_SECRET = 8
"""A shorter value in a variable named like a secret is more likely a word of the text."""


@lru_cache(maxsize=1_024)
def looks_secret(name: str) -> bool:
    """Return whether a setting or variable of this name probably holds a secret."""
    return any(word.lower() in _SECRET_WORDS for word in _WORDS.findall(name))


def secrets_of(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of the variables that look secret, the longest first."""
    found = {
        value
        for name, value in environ.items()
        if looks_secret(name) and len(value) >= _SHORTEST_SECRET and not os.path.isabs(value)
    }
    return tuple(sorted(found, key=len, reverse=True))


def redacted(text: str, secrets: tuple[str, ...]) -> str:
    """Return the text without the given secrets, without user info and keys in addresses."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    if "@" in text:
        text = _USER_INFO.sub(f"{HIDDEN}@", text)
    if "=" not in text:
        return text
    return _QUERY.sub(
        lambda pair: f"{pair[1]}={HIDDEN}" if looks_secret(pair[1]) else pair[0], text
    )


def redacted_data(value: Any, secrets: tuple[str, ...]) -> Any:
    """Return plain data with every secret in it hidden, by its key's name or by its value."""
    if isinstance(value, Mapping):
        return {
            key: HIDDEN
            if looks_secret(str(key)) and not isinstance(item, bool | int | float | None)
            else redacted_data(item, secrets)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted_data(item, secrets) for item in value]
    return redacted(value, secrets) if isinstance(value, str) else value
