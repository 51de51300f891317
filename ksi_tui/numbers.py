"""Which numbers JSON from outside may hold: a time beyond the calendar, or an endless one, shows
nothing.
"""

from __future__ import annotations

from typing import Final, NoReturn

LEAST: Final = -62_135_596_800.0
"""The first second of year 1 as epoch seconds; no duration is less either."""
MOST: Final = 253_402_300_799.0
"""The last second of year 9999 as epoch seconds; no duration, rate or cost is more."""
_MOST_DIGITS: Final = 18


def whole(text: str) -> int:
    """Return an integer of JSON; ValueError for one of more digits than any counter."""
    if len(text) > _MOST_DIGITS:
        raise ValueError("too many digits")
    return int(text)


def decimal(text: str) -> float:
    """Return a decimal number of JSON; ValueError for one that is out of bounds."""
    return in_bounds(float(text))


def in_bounds(value: float) -> float:
    """Return a number; ValueError for one that is neither a time nor a duration."""
    if not LEAST <= value <= MOST:
        raise ValueError(f"{value:g} is out of bounds")
    return value


def nothing_else(text: str) -> NoReturn:
    """Refuse what is a number in no JSON but Python's."""
    raise ValueError(f"{text} is no JSON")
