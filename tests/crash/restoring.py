"""Rounds on checkpoints: one engine's work taken over by another, which is killed meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from tests.crash import load
from tests.crash.home import Home, Life, must
from tests.crash.judge import Judge
from tests.crash.load import Gone, Record, Visitor, at_the_door
from tests.crash.points import RESTORING, Point
from tests.crash.stage import MEETS_S, Round, all_ended, clean, ended_well, killed_in, met

POINTS: Final = {point.name: point for point in RESTORING}
COLLECTING: Final = RESTORING[0]
_COUNT: Final = 24


async def restored(round_: Round) -> None:
    """Collect from one engine, restore into another, each killed on the way where it is due."""
    point = POINTS[round_.kind]
    giving = Home(folder=round_.home.folder / "giving")
    giving.configure(load.SETTINGS)
    checkpoint = await _collected(round_, giving, point)
    taking = round_.home
    taking.configure(load.SETTINGS)
    record = Record(restored=_ids(checkpoint))
    judge = Judge(home=taking, record=record)
    if point is not COLLECTING:
        life = await taking.start("serve", traps=[point.drawn(round_.dice)])
        await _asks(round_, point, life, "checkpoint:restore", checkpoint)
        judge.after_a_kill()
    life = await taking.start("serve")
    try:
        must(await life.serves(), f"it does not start again: {life.err}")
        async with at_the_door(taking.socket) as visitor:
            reply = await visitor.emit("checkpoint:restore", checkpoint)
            must("code" not in reply, f"not restored: {reply}")
            await all_ended(visitor)
        await ended_well(life)
    finally:
        life.kill()
    found = judge.at_the_end()
    must(record.restored <= found.requests.keys(), "a part of the checkpoint is missing")
    for session_id in {each["session_id"] for each in found.requests.values()}:
        ends = [each["finish_seq"] for each in found.in_session(session_id)]
        must(ends == sorted(ends), f"{session_id} ended out of order")
    round_.home.lives += giving.lives


async def _collected(round_: Round, giving: Home, point: Point) -> dict[str, Any]:
    """Return the checkpoint of an engine in mid-course; it is killed after that."""
    due = point is COLLECTING
    record = Record()
    judge = Judge(home=giving, record=record)
    life = await giving.start("serve", traps=[point.drawn(round_.dice)] if due else [])
    must(await life.serves(), f"it does not start: {life.err}")
    async with at_the_door(giving.socket) as visitor:
        await _submitted(visitor, record)
        if not due:
            return await _taken(life, visitor)
    await _asks(round_, point, life, "checkpoint:collect", {})
    judge.after_a_kill()
    life = await giving.start("serve")
    must(await life.serves(), f"it does not start again: {life.err}")
    async with at_the_door(giving.socket) as visitor:
        return await _taken(life, visitor)


async def _taken(life: Life, visitor: Visitor) -> dict[str, Any]:
    try:
        return await visitor.emit("checkpoint:collect")
    finally:
        life.kill()
        await life.ended()


async def _asks(round_: Round, point: Point, life: Life, name: str, data: dict[str, Any]) -> None:
    """Send an event that ends the engine's life."""
    killing = asyncio.create_task(killed_in(life, MEETS_S), name="killer")
    try:
        if await life.serves():
            async with at_the_door(life.home.socket) as visitor:
                await visitor.emit(name, data)
    except Gone:
        pass
    round_.note(point.name, met=await met(life, killing))
    clean(life)


async def _submitted(visitor: Visitor, record: Record) -> None:
    for number in range(_COUNT):
        request_id = f"c-{number}"
        asked = {
            "request_id": request_id,
            "session_id": f"s{number % 5}",
            "prompt": request_id,
            "model": "sim/slow",
            "extra_body": {"sim": {"delay_ms": 150}},
        }
        await visitor.emit("completion:async", asked)
        record.accepted[request_id] = 0.0


def _ids(checkpoint: dict[str, Any]) -> set[str]:
    queues = checkpoint["session_queues"].values()
    return {item["request_id"] for queue in queues for item in queue["items"]}
