"""Keeps what labels may hold bounded: a name that comes from outside makes a series of its own.

Nothing here knows what is counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

OTHER: Final = "other"
"""What stands for all values beyond the bound."""
_MOST_CHARS: Final = 100


class Bounded:
    """A label's values: the first `most` stand as they are, the others as `other`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: object) -> str:
        """Return the label of a value; one that is missing or empty is `other` too."""
        text = _safe(value)
        if text in self._known:
            return text
        if not text or len(self._known) >= self._most:
            return OTHER
        self._known.add(text)
        return text


class OneOf:
    """A label whose values are all known."""

    def __init__(self, values: Iterable[str]) -> None:
        self._values = frozenset(values)

    def __call__(self, value: object) -> str:
        """Return the label of a value, `other` for one that is none of them."""
        return str(value) if value in self._values else OTHER


def _safe(value: object) -> str:
    """Return a text that can be written as UTF-8 in one line."""
    text = "" if value is None else str(value)
    whole = text[:_MOST_CHARS].encode("utf-8", "replace").decode()
    return "".join(sign if sign.isprintable() else "?" for sign in whole)
