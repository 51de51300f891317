"""A run that finds less room, or more unfinished work, than it was told of."""

from __future__ import annotations

import asyncio

from ksi_tui.commands.request_lines import BadLine, RequestLine
from ksi_tui.commands.runner import LineRun, ResumedRun
from tests.unit.test_runner import Printed, ScriptedEngine, line


async def test_what_found_no_room_keeps_its_order() -> None:
    engine = ScriptedEngine(depth=2)
    engine.after_batch = engine.finish
    printed, complaints = Printed(), list[BadLine]()
    lines: list[RequestLine] = [line(number) for number in range(5)]
    run = LineRun(
        engine,
        printed,
        first=lines,
        more=iter(()),
        complain=complaints.append,
        specs=engine.asked,
        again=False,
    )
    async with asyncio.timeout(10):
        await run.complete()
    assert printed == [f"q{number}" for number in range(5)]
    assert not complaints


async def test_a_resumed_run_also_waits_for_what_was_brought_forth_meanwhile() -> None:
    engine = ScriptedEngine()
    engine.waiting = ["left", "born of it"]
    engine.recovery = {"unfinished": 1, "cursor": 0}
    printed = Printed()
    run = ResumedRun(engine, printed)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        ends = group.create_task(run.complete())
        await asyncio.sleep(0)
        engine.finish(1)
        await printed.news.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not ends.done()
        engine.finish(1)
    assert printed == ["left", "born of it"]
