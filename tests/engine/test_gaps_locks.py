"""What of locks and of hands laid on requests is kept, and what a waiting one is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import Action
from ksi_tui.engine.store.base import ActionTaken, Write
from tests.engine.engine_fixtures import (
    T0,
    HandClock,
    config,
    fails,
    held,
    in_turn,
    running,
    until,
)


async def test_a_renewed_lock_is_kept_as_renewed(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        await rig.submit(session_id="s", agent_id="a", conversation_lock={"timeout_s": 10})
        await rig.calls(1)
        rig.advance(10)
        await until(lambda: (lock := rig.core.locks.get("s")) and lock.expires_at > T0 + 10)
        await rig.core.store.write()
        (kept,) = (await rig.core.store.load()).locks
        assert (kept.session_id, kept.expires_at) == ("s", T0 + 20)


async def test_who_took_a_lock_by_force_is_recorded_with_the_reason(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await rig.emit("conversation:acquire_lock", session_id="s", agent_id="a")
        recorded: list[Action] = []
        write = rig.core.store.write

        def seen(*writes: Write) -> asyncio.Future[None]:
            recorded.extend(each.action for each in writes if isinstance(each, ActionTaken))
            return write(*writes)

        rig.core.store.write = seen  # type: ignore[method-assign]
        reply = await rig.emit(
            "conversation:release_lock", session_id="s", force=True, by="op1", reason="stuck"
        )
        assert reply == {"released": True, "reason": "forced"}
        (action,) = recorded
        assert (action.name, action.target, action.by) == ("force lock", "s", "op1")
        assert (action.reason, action.detail) == ("stuck", "held by a")


async def test_one_that_goes_again_is_no_longer_among_those_that_ended(tmp_path: Path) -> None:
    script = in_turn(fails(ErrorKind.INVALID_REQUEST), held)
    async with running(config(tmp_path), scripts={"p": script}) as rig:
        request_id = await rig.submit()
        await rig.ended(request_id)
        assert [view.request_id for view in rig.engine.snapshot().active] == [request_id]
        await rig.emit("completion:retry", request_id=request_id)
        await rig.calls(2)
        assert [view.request_id for view in rig.engine.snapshot().active] == [request_id]


async def test_a_deadline_that_ends_before_the_wait_is_what_happens_next(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 8})
    script = in_turn(fails(ErrorKind.NETWORK_ERROR), held)
    async with running(settings, clock=clock, scripts={"p": script}) as rig:
        request_id = await rig.submit(timeout_s=60)
        await until(lambda: rig.ticket(request_id).retry_at is not None)
        later = (await rig.status(request_id))["if_nobody_acts"]
        assert later == "in 8 s attempt 2 of 3 begins"
        rig.ticket(request_id).retry_at = T0 + 100
        sooner = (await rig.status(request_id))["if_nobody_acts"]
        assert sooner == "in 60 s its deadline ends it as failed (deadline_exceeded)"


async def test_what_waits_while_the_engine_ends_is_told_so(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"max_concurrency": 1})
    async with running(settings, scripts={"p": held}) as rig:
        await rig.submit()
        (up,) = await rig.calls(1)
        waiting = await rig.submit()
        ending = asyncio.create_task(rig.emit("system:shutdown", grace_s=60))
        await until(lambda: rig.core.draining)
        assert "the engine is ending" in await rig.why(waiting)
        up.go.set()
        await ending
