"""Group reads: who asks the same question while it is being answered shares the next answer.

A crowd of clients that name their requests asks for each name whether it is known: one by one,
each would wait for all before it. Knows no statement; nobody gets an answer that was begun before
it asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

Value = TypeVar("Value")

MOST_NAMES: Final = 100
"""Who asks for more is answered apart: a crowd of single names is not to wait for theirs."""


@dataclass(slots=True, eq=False)
class _Round(Generic[Value]):
    answer: asyncio.Future[Mapping[str, Value]]
    names: dict[str, None] = field(default_factory=dict)


class AskedTogether(Generic[Value]):
    """Asks `read` for the names of all who wait; `what` names the task that does."""

    def __init__(
        self, read: Callable[[Sequence[str]], Awaitable[Mapping[str, Value]]], what: str
    ) -> None:
        self._read = read
        self._what = what
        self._next: _Round[Value] | None = None
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, names: Sequence[str]) -> Mapping[str, Value]:
        """Return what is found of the given names; raises what `read` raises."""
        if len(names) > MOST_NAMES:
            return await self._read(names)
        if self._next is None:
            self._next = _Round(asyncio.get_running_loop().create_future())
        mine = self._next
        mine.names.update(dict.fromkeys(names))
        if self._task is None:
            self._task = asyncio.create_task(self._answer(), name=self._what)
        found = await asyncio.shield(mine.answer)
        return {name: found[name] for name in names if name in found}

    async def _answer(self) -> None:
        try:
            while (asked := self._next) is not None:
                self._next = None
                await self._answered(asked)
        finally:
            self._task = None
            if self._next is not None:  # this was cancelled
                self._next.answer.cancel()
                self._next = None

    async def _answered(self, asked: _Round[Value]) -> None:
        try:
            asked.answer.set_result(await self._read(list(asked.names)))
        except Exception as error:  # the seam to who asked: it is theirs
            asked.answer.set_exception(error)
            asked.answer.exception()  # they may all be gone by now
        finally:
            asked.answer.cancel()  # else it is done
