"""Cancelled calls are unwound after the last of a moment is cut, a few at a time, and soon."""

from __future__ import annotations

import asyncio

import pytest

from ksi_tui.engine.providers import unwinding
from ksi_tui.engine.providers.unwinding import Unwinding

COUNT = 20


async def _wait(_: int) -> None:
    await asyncio.Event().wait()


def tasks(count: int) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(_wait(number), name=f"call-{number}") for number in range(count)]


def cancelled(calls: list[asyncio.Task[None]]) -> int:
    return sum(1 for each in calls if each.cancelling())


async def test_nobody_is_unwound_while_others_are_still_being_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unwinding, "QUIET_S", 60.0)
    monkeypatch.setattr(unwinding, "LATEST_S", 60.0)
    calls = tasks(COUNT)
    waiting = Unwinding()
    for call in calls:
        waiting.add(call)
        await asyncio.sleep(0)
    assert cancelled(calls) == 0
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_once_it_is_quiet_all_are_unwound_and_the_loop_turns_in_between() -> None:
    calls = tasks(COUNT)
    waiting = Unwinding()
    for call in calls:
        waiting.add(call)
    seen: set[int] = set()
    while (count := cancelled(calls)) < COUNT:
        seen.add(count)
        await asyncio.sleep(0)
    assert seen == {0, 8, 16}
    await asyncio.gather(*calls, return_exceptions=True)
    assert all(call.cancelled() for call in calls)


async def test_the_first_does_not_wait_for_ever_while_others_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unwinding, "QUIET_S", 60.0)
    monkeypatch.setattr(unwinding, "LATEST_S", 0.0)
    (first,) = tasks(1)
    loop = asyncio.get_running_loop()
    waiting = Unwinding()
    waiting.add(first)
    waiting._look()  # as its timer will
    assert first.cancelling()
    await asyncio.gather(first, return_exceptions=True)
    (later,) = tasks(1)
    waiting.add(later)  # it goes on to work for those that come later
    assert waiting._handle is not None
    waiting._latest = loop.time()
    waiting._look()
    await asyncio.gather(later, return_exceptions=True)
    assert later.cancelled()


async def test_a_call_that_ended_meanwhile_or_was_cancelled_is_left_alone() -> None:
    ended = asyncio.create_task(asyncio.sleep(0), name="ended")
    (stopped, alive) = tasks(2)
    waiting = Unwinding()
    for call in (ended, stopped, alive):
        waiting.add(call)
    stopped.cancel()
    await asyncio.gather(ended, stopped, alive, return_exceptions=True)
    assert not ended.cancelled()
    assert (stopped.cancelling(), alive.cancelling()) == (1, 1)
