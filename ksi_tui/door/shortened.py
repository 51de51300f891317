"""Plain JSON with its long texts cut, for those who look over a slow line. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def shortened(value: Any, most_chars: int) -> Any:
    """Return a value of plain JSON in which no text is longer than `most_chars` and a mark.

    The mark tells how many characters the whole text has.
    """
    if isinstance(value, str):
        if len(value) <= most_chars:
            return value
        return f"{value[:most_chars]}… ({len(value):,} characters)"
    if isinstance(value, Mapping):
        return {key: shortened(item, most_chars) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shortened(item, most_chars) for item in value]
    return value
