"""Questions that share an answer: who shares which one, and whose a failure is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from ksi_tui.engine.errors import StoreUnavailable
from ksi_tui.engine.store.asked_together import MOST_NAMES, AskedTogether


class Reader:
    """Answers each question when told, with the length of each name; `none` is never found."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []
        self.go = asyncio.Semaphore(0)
        self.failing = False

    async def read(self, names: Sequence[str]) -> Mapping[str, int]:
        self.asked.append(names)
        await self.go.acquire()
        if self.failing:
            raise StoreUnavailable("the disk is gone")
        return {name: len(name) for name in names if name != "none"}


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_those_who_ask_meanwhile_share_the_next_answer_and_each_gets_its_own() -> None:
    reader = Reader()
    together = AskedTogether(reader.read, "test")
    first = asyncio.create_task(together(["a"]))
    await _turns()
    others = [asyncio.create_task(together(names)) for names in (["bb", "none"], ["a"], ["ccc"])]
    await _turns()
    assert reader.asked == [["a"]], "nobody shares an answer that was begun before it asked"
    reader.go.release()
    assert await first == {"a": 1}
    reader.go.release()
    assert await asyncio.gather(*others) == [{"bb": 2}, {"a": 1}, {"ccc": 3}]
    assert reader.asked == [["a"], ["bb", "none", "a", "ccc"]]
    reader.go.release()
    assert await together(["d"]) == {"d": 1}


async def test_a_failure_is_theirs_who_asked_and_the_next_are_answered() -> None:
    reader = Reader()
    together = AskedTogether(reader.read, "test")
    reader.failing = True
    failed = [asyncio.create_task(together([name])) for name in "ab"]
    await _turns()
    later = asyncio.create_task(together(["c"]))
    await _turns()
    reader.go.release()
    for task in failed:
        with pytest.raises(StoreUnavailable, match="the disk is gone"):
            await task
    reader.failing = False
    reader.go.release()
    assert await later == {"c": 1}


async def test_one_who_goes_leaves_the_others_their_answer() -> None:
    reader = Reader()
    together = AskedTogether(reader.read, "test")
    gone, stays = (asyncio.create_task(together([name])) for name in "ab")
    await _turns()
    gone.cancel()
    await asyncio.wait([gone])
    assert gone.cancelled()
    reader.go.release()
    assert await stays == {"b": 1}
    assert reader.asked == [["a", "b"]]


async def test_nobody_waits_for_one_who_asks_for_very_many() -> None:
    reader = Reader()
    together = AskedTogether(reader.read, "test")
    many = [f"r-{number}" for number in range(MOST_NAMES + 1)]
    asked = asyncio.create_task(together(many))
    await _turns()
    alone = asyncio.create_task(together(["a"]))
    await _turns()
    assert reader.asked == [many, ["a"]]
    reader.go.release()
    reader.go.release()
    assert len(await asked) == len(many)
    assert await alone == {"a": 1}
