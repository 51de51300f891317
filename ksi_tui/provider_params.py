"""What a provider's `params` may hold: what JSON can, and references to the environment.

Plain data only; which parameters there are is the providers' to say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, time
from typing import Any, Final

ENV_REFERENCE: Final = "os.environ/"
"""What a value begins with that stands for the environment variable of the name that follows."""

Way = tuple[str | int, ...]
"""Keys and indices that lead to a value."""


def references(value: Any) -> list[str]:
    """Return the environment variables that `os.environ/NAME` in plain data names."""
    if isinstance(value, Mapping):
        return [name for item in value.values() for name in references(item)]
    if isinstance(value, list | tuple):
        return [name for item in value for name in references(item)]
    if isinstance(value, str) and value.startswith(ENV_REFERENCE):
        return [value.removeprefix(ENV_REFERENCE)]
    return []


def unsendable(value: Any) -> tuple[Way, str] | None:
    """Return the way to the first value that JSON cannot hold, and what to do; None without."""
    match value:
        case None | str() | int():
            return None
        case float():
            return None if math.isfinite(value) else ((), f"{value} is no number that can be sent")
        case date() | time():
            return (), f"a date or time is no text; put it in quotes: {str(value)!r}"
        case Mapping():
            return _first(value.items())
        case list() | tuple():
            return _first(enumerate(value))
        case _:
            return (), f"a {type(value).__name__} cannot be sent; write a text or a number"


def _first(items: Any) -> tuple[Way, str] | None:
    for key, item in items:
        if not isinstance(key, str | int | float | None):
            return (str(key),), "a key is a text; put it in quotes"
        if (found := unsendable(item)) is not None:
            way, said = found
            return (key if isinstance(key, int) else str(key), *way), said
    return None
