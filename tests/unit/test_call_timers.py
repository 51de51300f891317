"""The clocks of calls: they end what they should, when they should, and leave nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ksi_tui.engine.call_timers import CallTimer, CallTimers

FAR_S = 1_000.0


async def _call(timers: CallTimers, started: list[CallTimer]) -> str:
    """Wait for ever, as a call that hangs; return what ended it."""
    timer = timers.start()
    started.append(timer)
    own = False
    try:
        try:
            await asyncio.Event().wait()
        finally:
            own = timer.stop()
    except asyncio.CancelledError:
        if own:
            return "clock"
        return "somebody"
    return "nobody"


async def _begun(timers: CallTimers) -> tuple[asyncio.Task[str], CallTimer, Callable[[], float]]:
    started: list[CallTimer] = []
    task = asyncio.create_task(_call(timers, started), name="call")
    await asyncio.sleep(0)
    return task, started[0], asyncio.get_running_loop().time


async def test_a_clock_whose_time_has_come_ends_its_call() -> None:
    task, timer, time = await _begun(CallTimers())
    timer.reschedule(time())
    assert await task == "clock"
    assert timer.expired()
    assert task.cancelling() == 0


async def test_a_clock_that_moved_later_does_not_end_it_at_the_earlier_time() -> None:
    task, timer, time = await _begun(CallTimers())
    timer.reschedule(time())
    timer.reschedule(time() + FAR_S)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not timer.expired()
    timer.reschedule(time())  # and one that moves sooner is heard at once
    assert await task == "clock"


async def test_each_call_has_its_own_clock() -> None:
    timers = CallTimers()
    first, slow, time = await _begun(timers)
    second, quick, _ = await _begun(timers)
    slow.reschedule(time() + FAR_S)
    quick.reschedule(time())
    assert await second == "clock"
    assert not slow.expired()
    slow.reschedule(time())
    assert await first == "clock"


async def test_a_cancellation_by_somebody_else_is_not_taken_for_the_clocks() -> None:
    task, timer, time = await _begun(CallTimers())
    timer.reschedule(time() + FAR_S)
    task.cancel()
    assert await task == "somebody"
    assert not timer.expired()


async def test_calls_that_are_over_leave_no_clocks_behind() -> None:
    timers = CallTimers()
    loop = asyncio.get_running_loop()
    for _ in range(5_000):
        timer = timers.start()
        timer.reschedule(loop.time() + FAR_S)
        timer.stop()
    assert len(timers._heap) < 1_000
