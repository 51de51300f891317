"""Ids to be handed out, and those that were before their requests came.

Such a one is known to be new without a look at the disk. Whoever follows a request from its
beginning needs its id first. The look is what an id of the caller's own costs, and half of what a
small request costs in all.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from ksi_tui.engine.core import Core
from ksi_tui.engine.store.numbering import NumbersGiven

STEP: Final = 1_000
"""So many numbers are given away on disk at once; a crash leaves out what is left of them."""
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


class Numbers:
    """Generates ids from `core.next_number`.

    One that leaves before its request comes is given away on disk first: a later life that did
    not know would give it to another request.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._kept = 0
        self._writing: asyncio.Future[None] | None = None

    def new_id(self) -> str:
        """Return an id for a request that is written down before anybody is told of it."""
        return f"r-{self._take()}"

    async def reserved(self) -> str:
        """Return an id that may leave at once; raises StoreUnavailable."""
        number = self._take()
        while number >= self._kept:
            await asyncio.shield(self._keep())
        if number >= self._kept - STEP // 2:
            self._keep()
        return f"r-{number}"

    def settle(self) -> None:
        """Let the next life go on with the first number that nobody was given."""
        if self._kept or self._writing is not None:
            self._core.store.write(NumbersGiven(next_number=self._core.next_number))

    def _take(self) -> int:
        number = self._core.next_number
        self._core.next_number += 1
        return number

    def _keep(self) -> asyncio.Future[None]:
        """Give numbers away on disk, from the next one on; who comes meanwhile waits with it."""
        if self._writing is None:
            upto = self._core.next_number + STEP
            self._writing = self._core.store.write(NumbersGiven(next_number=upto))
            self._writing.add_done_callback(partial(self._written, upto))
        return self._writing

    def _written(self, upto: int, future: asyncio.Future[None]) -> None:
        self._writing = None
        if not future.cancelled() and future.exception() is None:
            self._kept = upto


def number_of(name: str) -> int:
    """Return n of a name of the form r-n; 0 of any other, and of one that is out of reach."""
    prefix, _, digits = name.partition("-")
    if prefix != "r" or not (digits.isascii() and digits.isdigit()) or len(digits) > 12:
        return 0
    return int(digits)
