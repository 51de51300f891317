"""The whole engine against real servers on loopback, through real litellm workers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.events import Event, Subscription
from tests.servers.calling import BOUND_S
from tests.servers.misbehaving import MisbehavingServer
from tests.servers.modes import USAGE

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("warm_workers"),
]

SILENT_S = 0.3
FINAL = ("completion:result", "completion:error", "completion:cancelled")


def _provider(name: str, base: str, models: str, **more: Any) -> dict[str, Any]:
    model = "openai/gpt-4o-mini"
    return {"name": name, "models": [models], "model": model, "api_base": base, **more}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine(
    server: MisbehavingServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[CompletionEngine]:
    folder: Path = tmp_path_factory.mktemp("engine")
    config = Config.model_validate(
        {
            "engine": {
                "database": str(folder / "ksi.db"),
                "max_concurrency": 64,
            },
            "retry": {"initial_delay_s": 0.01},
            "providers": [
                _provider("whole", server.base("ok"), "whole"),
                _provider("paced", server.base("ok@50"), "paced"),
                _provider("once", server.base("stall_once"), "once"),
                _provider("overloaded", server.base("503"), "walked", priority=1),
                _provider(
                    "silent",
                    server.base("hang"),
                    "walked",
                    priority=2,
                    circuit={"fail_max": 99},
                    first_token_timeout_s=SILENT_S,
                ),
                _provider("good", server.base("ok"), "walked", priority=3),
            ],
        }
    )
    async with CompletionEngine(config) as engine:
        yield engine


async def _next(events: Subscription, *names: str, request_id: str | None = None) -> Event:
    async with asyncio.timeout(BOUND_S):
        async for event in events:
            if event.name in names and request_id in (None, event.data.get("request_id")):
                return event
    raise AssertionError("the subscription ended")


async def _submit(engine: CompletionEngine, **data: Any) -> str:
    reply = await engine.emit("completion:async", {"prompt": "hello", **data})
    assert "error" not in reply, reply
    return str(reply["request_id"])


async def _finished(engine: CompletionEngine, **data: Any) -> dict[str, Any]:
    async with engine.subscribe("completion:*") as events:
        request_id = await _submit(engine, **data)
        await _next(events, *FINAL, request_id=request_id)
    return await engine.emit("completion:request_status", {"request_id": request_id})


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_answer_comes_with_usage_and_cost(engine: CompletionEngine, stream: bool) -> None:
    status = await _finished(engine, model="whole", stream=stream)
    assert (status["status"], status["provider"]) == ("completed", "whole")
    assert status["model"] == "gpt-4o-mini"
    (call,) = status["attempts"][0]["calls"]
    assert call["raw_usage"] == USAGE
    assert status["usage"] == {
        "input": 12,
        "cache_read": 8,
        "cache_write": 0,
        "output": 10,
        "reasoning": 4,
        "estimated": False,
    }
    assert status["cost"] == pytest.approx((12 * 0.15 + 8 * 0.075 + 14 * 0.6) / 1e6)


async def test_a_walk_reaches_the_third_within_one_clock_and_the_first_opens(
    engine: CompletionEngine, server: MisbehavingServer
) -> None:
    for _ in range(5):
        status = await _finished(engine, model="walked")
        (attempt,) = status["attempts"]
        assert [call["provider"] for call in attempt["calls"]] == ["overloaded", "silent", "good"]
        assert [call["outcome"] for call in attempt["calls"]] == ["failed", "failed", "answered"]
        assert attempt["calls"][1]["error"]["kind"] == "timeout"
        assert status["text"]
    asked_before = server.counts["503"]
    status = await _finished(engine, model="walked")
    verdicts = {v["provider"]: v["kind"] for v in status["attempts"][0]["verdicts"]}
    assert verdicts == {"overloaded": "open", "silent": "taken", "good": "taken"}
    assert server.counts["503"] == asked_before
    provider = await engine.emit("completion:provider_status", {"provider": "overloaded"})
    assert provider["circuit_breaker"]["state"] == "open"


async def test_cancelling_closes_every_stream_at_the_server(
    engine: CompletionEngine, server: MisbehavingServer
) -> None:
    first = len(server.requests)
    async with engine.subscribe("completion:*") as events:
        ids = [await _submit(engine, model="paced", max_tokens=5000) for _ in range(20)]
        streaming: set[str] = set()
        while streaming != set(ids):
            event = await _next(events, "completion:progress")
            if event.data["status"] == "first_token":
                streaming.add(event.data["request_id"])
        replies = await asyncio.gather(
            *(engine.emit("completion:cancel", {"request_id": i, "by": "op1"}) for i in ids)
        )
        assert {reply["status"] for reply in replies} == {"cancelled"}
        closed: set[str] = set()
        while closed != set(ids):
            event = await _next(events, "completion:upstream_closed")
            assert event.data["confirmed"] is True
            closed.add(event.data["request_id"])
    await server.wait_for(lambda seen: all(one.closed for one in seen[first:]))
    snapshot = engine.snapshot()
    assert snapshot.totals.active == 0
    assert {view.name: view.in_flight for view in snapshot.providers}["paced"] == 0
    status = await engine.emit("completion:request_status", {"request_id": ids[0]})
    assert status["text"]
    assert status["usage"]["estimated"] is True


async def test_a_killed_worker_costs_no_attempt_and_the_request_completes(
    engine: CompletionEngine,
) -> None:
    async with engine.subscribe("*:*") as events:
        request_id = await _submit(engine, model="once")
        await _next(events, "completion:progress", request_id=request_id)
        while True:
            progress = await _next(events, "completion:progress", request_id=request_id)
            if progress.data["status"] == "first_token":
                break
        pool = engine._parts.pool  # type: ignore[union-attr]
        assert pool is not None
        pid = pool.workers[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        lost = await _next(events, "worker:lost")
        assert lost.data["pid"] == pid
        await _next(events, *FINAL, request_id=request_id)
    status = await engine.emit("completion:request_status", {"request_id": request_id})
    assert (status["status"], status["attempts_spent"]) == ("completed", 1)
    assert status["interruptions"] == 1
    assert [a["error_kind"] for a in status["attempts"]] == ["worker_lost", None]
    assert status["attempts"][0]["calls"][0]["waste"] is True


async def test_a_provider_added_later_brings_the_workers_it_needs(
    server: MisbehavingServer, tmp_path: Path
) -> None:
    simulated = {"name": "sim", "kind": "simulated", "models": ["sim/*"], "model": "{model}"}
    config = Config.model_validate(
        {"engine": {"database": str(tmp_path / "ksi.db")}, "providers": [simulated]}
    )
    async with CompletionEngine(config) as engine:
        assert engine._parts is not None
        assert engine._parts.pool is None
        assert engine.snapshot().simulated_only
        async with engine.subscribe("*:*") as events:
            added = await engine.emit("provider:add", _provider("late", server.base("ok"), "late"))
            assert added["status"] == "added"
            assert not engine.snapshot().simulated_only
            assert engine._parts.pool is not None
            assert engine._parts.pool.starting
            request_id = await _submit(engine, model="late")
            assert (await _next(events, "worker:started")).data["worker"] == 1
            await _next(events, "completion:result", request_id=request_id)
        pool = engine._parts.pool
        assert pool is not None
        pid = pool.workers[0].pid
        assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
