"""Ids that were handed out before their requests came: known to be new without a look at the disk.

Whoever follows a request from its beginning needs its id first. The look is what an id of the
caller's own costs, and half of what a small request costs in all.
"""

from __future__ import annotations

MOST = 10_000
"""The oldest are forgotten beyond so many; they are then looked up like a caller's own."""


class Reservations:
    """The ids that wait for their requests, oldest first."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}

    def add(self, request_id: str) -> None:
        """Keep an id that nobody has."""
        self._ids[request_id] = None
        if len(self._ids) > MOST:
            del self._ids[next(iter(self._ids))]

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._ids

    def use(self, request_id: str) -> None:
        """Take note that a request of this id enters: it is new no more."""
        self._ids.pop(request_id, None)


def number_of(name: str) -> int:
    """Return n of a name of the form r-n; 0 of any other, and of one that is out of reach."""
    prefix, _, digits = name.partition("-")
    if prefix != "r" or not (digits.isascii() and digits.isdigit()) or len(digits) > 12:
        return 0
    return int(digits)
