"""A thousand calls in flight, cancelled at once: how soon each upstream connection is closed.

Measured from the call of `completion:cancel` to the close, by the clock of a server in a process
of its own. Also what is left behind: connections, tasks, slots, locks, tickets.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.providers.factory import build_provider
from ksi_tui.engine.providers.litellm import LitellmProvider
from ksi_tui.engine.providers.pool import WorkerPool
from tests.engine.engine_fixtures import left_over, until
from tests.soak.processes import raise_file_limit
from tests.soak.silent import Silent

IN_FLIGHT = 1000
_BOUND_S = 120.0
_LOOK_EVERY_S = 0.02

Ways = Callable[[CompletionEngine, Sequence[str], dict[str, float]], Awaitable[None]]


def _settings(folder: Path, up: Silent, workers: int, most: int) -> Config:
    return Config.model_validate(
        {
            "engine": {
                "database": str(folder / "cancel.db"),
                "responses_dir": str(folder / "responses"),
                "max_concurrency": most,
                "workers": workers,
                "shutdown_grace_s": 0,
                "first_token_timeout_s": 600,
                "idle_timeout_s": 600,
                "reply_timeout_s": 600,
            },
            "providers": [
                {"name": "up", "models": ["m"], "api_base": up.base, "model": "openai/gpt-4o-mini"}
            ],
        }
    )


async def _bulk(engine: CompletionEngine, ids: Sequence[str], at: dict[str, float]) -> None:
    """Cancel all in one call."""
    at.update(dict.fromkeys(ids, time.monotonic()))
    reply = await engine.emit("completion:cancel", {"request_ids": list(ids)})
    assert all(each["changed"] for each in reply["cancelled"]), reply


async def _one(engine: CompletionEngine, request_id: str, at: dict[str, float]) -> None:
    at[request_id] = time.monotonic()
    reply = await engine.emit("completion:cancel", {"request_id": request_id})
    assert reply.get("status") == "cancelled", reply


async def _together(engine: CompletionEngine, ids: Sequence[str], at: dict[str, float]) -> None:
    """Cancel each in a call of its own, all at once."""
    await asyncio.gather(*(_one(engine, each, at) for each in ids))


async def _one_by_one(engine: CompletionEngine, ids: Sequence[str], at: dict[str, float]) -> None:
    """Cancel each in a call of its own, one after the other."""
    for each in ids:
        await _one(engine, each, at)


WAYS: dict[str, Ways] = {"bulk": _bulk, "together": _together, "one by one": _one_by_one}


async def _begin(engine: CompletionEngine, up: Silent, count: int) -> list[str]:
    """Return the ids of `count` calls that are well under way: each prompt is its id.

    Three of four are streams of which five words have come, the rest wait for their headers.
    """
    assert engine._parts is not None
    parts = engine._parts

    async def one(number: int) -> str:
        request_id = f"c-{number}-{time.monotonic_ns()}"
        asked = {"prompt": request_id, "request_id": request_id, "agent_id": f"a{number}"}
        lock = {"conversation_lock": {"enabled": True}, "model": "m", "stream": number % 4 != 3}
        reply = await engine.emit("completion:async", {**asked, **lock})
        assert "error" not in reply, reply
        return request_id

    def streaming() -> int:
        runs = (ticket.run for ticket in parts.core.tickets.values())
        return sum(1 for run in runs if run and run.call and run.call.first_token_at)

    ids = list(await asyncio.gather(*(one(number) for number in range(count))))
    await up.waits(count, _BOUND_S)
    async with asyncio.timeout(_BOUND_S):
        while streaming() < sum(1 for number in range(count) if number % 4 != 3):  # noqa: ASYNC110 - any condition
            await asyncio.sleep(_LOOK_EVERY_S)
        entry = parts.core.providers.get("up")
        assert entry is not None
        assert isinstance(entry.provider, LitellmProvider)
        await entry.provider.window("gpt-4o-mini")  # its worker has nothing else to do any more
    return ids


async def cancelled(
    folder: Path,
    *,
    count: int = IN_FLIGHT,
    workers: int = 1,
    ways: Sequence[str] = tuple(WAYS),
    pool: WorkerPool | None = None,
) -> dict[str, Any]:
    """Return the ms of every cancel by way, and what was left over after each.

    The calls are those of `pool`, or of as many `workers` of the engine's own.
    """
    raise_file_limit()
    measured: dict[str, Any] = {"in_flight": count, "workers": workers, "ways": {}}
    async with Silent() as up:
        config = _settings(folder, up, workers, count)
        build = None if pool is None else partial(build_provider, pool=pool)
        async with CompletionEngine(config, build=build) as engine:
            assert engine._parts is not None
            parts = engine._parts
            tasks = len(asyncio.all_tasks())
            for way in ways:
                ids = await _begin(engine, up, count)
                gc.collect()  # what made them is not what is measured
                at: dict[str, float] = {}
                await WAYS[way](engine, ids, at)
                closed = await up.closed()
                await until(lambda: not left_over(parts), "nothing is left over")
                measured["ways"][way] = sorted((closed[each] - at[each]) * 1000 for each in ids)
                locks = sum(1 for each in ids if parts.core.locks.get(each) is not None)
                left = {"locks": locks, "tasks": len(asyncio.all_tasks()) - tasks}
                measured.setdefault("left", {})[way] = {k: v for k, v in left.items() if v}
        measured["connections_left"] = (await up.ask())["open"]
    return measured


def p99(values: Sequence[float]) -> float:
    """Return the value that 99 of 100 are not over."""
    return statistics.quantiles(values, n=100, method="inclusive")[98]
