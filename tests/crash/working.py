"""Rounds on real provider workers: they and their engine are killed over a server on loopback.

The server is the harness's own, so that what it was asked can be held against what was booked.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from tests.crash.home import BOUND_S, Life, gone, must
from tests.crash.judge import Judge
from tests.crash.ledger import Ledger
from tests.crash.load import Gone, Record, at_the_door
from tests.crash.stage import Round, all_ended, clean, ended_well
from tests.servers.misbehaving import MisbehavingServer

_SETTINGS: Final = """
[engine]
workers = {workers}
max_concurrency = 12
[retry]
initial_delay_s = 0.05
[[providers]]
name = "local"
kind = "litellm"
models = ["gpt-*"]
model = "openai/{{model}}"
api_base = "{base}"
api_key_env = "LOCAL_KEY"
"""
_COUNT: Final = 40
_ENDS_S: Final = 10.0
"""How soon a worker without an engine is gone."""
_INPUT: Final = 12
"""What the server says that a prompt has, in tokens."""


async def _under_load(round_: Round, life: Life, record: Record) -> None:
    """Kill the engine while streams run."""
    await _streams(life, record)
    await asyncio.sleep(round_.dice.random() * 0.5)


async def _at_its_start(round_: Round, life: Life, record: Record) -> None:
    """Kill the engine while its workers load what they need."""
    await asyncio.sleep(round_.dice.random() * 1.5)


async def _worker_first(round_: Round, life: Life, record: Record) -> None:
    """Kill a worker while streams run, and the engine while they begin again."""
    await _streams(life, record)
    await asyncio.sleep(round_.dice.random() * 0.3)
    with suppress(ProcessLookupError):
        os.kill(round_.dice.choice(life.workers()), signal.SIGKILL)
    await asyncio.sleep(round_.dice.random() * 2)


_Ends = Callable[[Round, Life, Record], Awaitable[None]]
_MOMENTS: Final[dict[str, _Ends]] = {
    "workers: the engine killed under load": _under_load,
    "workers: the engine killed at its start": _at_its_start,
    "workers: one killed, then the engine": _worker_first,
}


async def worked(round_: Round) -> None:
    """Kill the engine at a moment, see its workers go, and let the next one finish."""
    record = Record()
    home = round_.home
    judge = Judge(home=home, record=record)
    async with MisbehavingServer() as server:
        base = server.base("ok@60")
        home.configure(_SETTINGS.format(base=base, workers=round_.dice.randint(1, 2)))
        home.environ["LOCAL_KEY"] = "sk-none"
        life = await home.start("serve")
        try:
            must(await life.serves(), f"it does not start: {life.err}")
            await _submitted(life, record)
            workers = await _some_workers(life)
            await _MOMENTS[round_.kind](round_, life, record)
            workers |= set(life.workers())
        finally:
            life.kill()
            await life.ended()
        clean(life)
        for pid in workers:
            must(await asyncio.to_thread(gone, pid, _ENDS_S), f"worker {pid} outlives its engine")
        judge.after_a_kill()
        await _finished(await home.start("serve"))
        found = judge.at_the_end()
        judge.in_order(found)
        _asked_for(found, Counter(_of(each.body) for each in server.requests))


KINDS: Final = dict.fromkeys(_MOMENTS, worked)


async def _submitted(life: Life, record: Record) -> None:
    async with at_the_door(life.home.socket) as visitor:
        for number in range(_COUNT):
            request_id, session_id = f"w-{number}", f"s{number % 16}"
            asked = {
                "request_id": request_id,
                "session_id": session_id,
                "prompt": request_id,
                "model": "gpt-4o-mini",
                "history": "none",
                "stream": number % 3 > 0,
            }
            with suppress(Gone):
                await visitor.emit("completion:async", asked)
                record.accepted[request_id] = 0.0
                record.order.setdefault(session_id, []).append(request_id)


async def _some_workers(life: Life) -> set[int]:
    """Return the workers of an engine, once it has started one."""
    async with asyncio.timeout(BOUND_S):
        while not (found := life.workers()):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)
    return set(found)


async def _streams(life: Life, record: Record) -> None:
    """Return when the first answers have come."""
    async with at_the_door(life.home.socket) as visitor, asyncio.timeout(BOUND_S):
        async for name, data in visitor.happens("completion:result"):
            if name == "completion:result":
                record.told[data["request_id"]] = "completed"
                return


async def _finished(life: Life) -> None:
    try:
        must(await life.serves(), f"it does not start again: {life.err}")
        async with at_the_door(life.home.socket) as visitor:
            await all_ended(visitor)
        workers = life.workers()
        await ended_well(life)
    finally:
        life.kill()
    for pid in workers:
        must(await asyncio.to_thread(gone, pid, _ENDS_S), f"worker {pid} outlives its engine")


def _of(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def _asked_for(found: Ledger, asked: Counter[str]) -> None:
    """What was booked is what the server was asked, but for a call that was lost with its engine.

    A call that an interruption ended may not have reached the server.
    """
    for request_id, each in found.requests.items():
        must(each["state"] == "completed", f"{request_id} is {each['state']}")
        calls = found.calls_of(request_id)
        sure = sum(call["outcome"] != "interrupted" for call in calls)
        seen = asked[request_id]
        must(sure <= seen <= len(calls) + 1, f"{request_id}: {seen} asked, {len(calls)} booked")
        used = [call["input"] for call in calls if call["outcome"] == "answered"]
        must(used == [_INPUT], f"{request_id} has used {used}")
