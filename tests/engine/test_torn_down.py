"""An engine whose end goes not as planned: its loop is torn down, a handler fails meanwhile."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine
from tests.engine.engine_fixtures import until

HANG = {"prompt": "x", "model": "sim/hang", "request_id": "r-1"}


def settings(folder: Path) -> Config:
    return Config.model_validate(
        {"engine": {"database": str(folder / "ksi.db"), "shutdown_grace_s": 300}}
    )


async def draining(folder: Path) -> tuple[CompletionEngine, asyncio.Task[Any]]:
    """Return an engine that is being left while a request hangs, and its leaving."""
    engine = CompletionEngine(settings(folder))
    await engine.__aenter__()
    assert "error" not in await engine.emit("completion:async", HANG)
    await until(lambda: engine.snapshot().totals.active)
    leaving = asyncio.create_task(engine.__aexit__(None, None, None), name="leaving")
    await until(lambda: engine._parts is not None and engine._parts.core.draining)
    return engine, leaving


def test_a_loop_that_is_torn_down_in_a_drain_leaves_no_thread_and_no_lock(tmp_path: Path) -> None:
    """As a second ctrl+c does it to a host; the process would wait for the database's threads."""
    before = set(threading.enumerate())
    with asyncio.Runner() as runner:
        runner.run(draining(tmp_path))  # and then everything is cancelled at once
    left = [each for each in set(threading.enumerate()) - before if not each.daemon]
    for each in left:
        each.join(30)
    assert not [each for each in left if each.is_alive()]

    async def again() -> dict[str, Any]:
        async with CompletionEngine(settings(tmp_path), resume=False) as engine:
            return await engine.emit("completion:request_status", {"request_id": "r-1"})

    assert asyncio.run(again())["status"] in ("queued", "processing")


async def test_an_end_that_is_asked_for_again_after_it_was_cancelled_is_no_fault(
    tmp_path: Path,
) -> None:
    engine, leaving = await draining(tmp_path)
    assert engine._parts is not None
    dispatcher = engine._parts.dispatcher
    assert engine._ending is not None
    engine._ending.cancel()
    await asyncio.wait([leaving])
    dispatcher.hurry(0)
    assert "error" not in await engine.emit("system:shutdown", {"grace_s": 0})


async def test_a_handler_that_fails_in_a_drain_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, leaving = await draining(tmp_path)

    async def broken(_: object) -> dict[str, Any]:
        raise ZeroDivisionError

    monkeypatch.setattr(engine._router, "handler", lambda _: broken)
    reply = await engine.emit("completion:status", {})
    assert reply == {
        "error": "completion:status: engine fault (ZeroDivisionError)",
        "code": "not_ready",
    }
    monkeypatch.undo()
    assert (await engine.emit("system:shutdown", {"grace_s": 0}))["interrupted"] == 1
    await leaving
