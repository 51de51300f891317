"""A wall clock that was set back between two lives: nothing waits for the hours that are gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from tests.engine.engine_fixtures import (
    HandClock,
    Rig,
    config,
    fails,
    held,
    in_turn,
    running,
    until,
)

HOURS_S = 3 * 3600.0
FAILS = fails(ErrorKind.NETWORK_ERROR, "refused")


def _settings(folder: Path) -> Any:
    return config(folder, retry={"initial_delay_s": 30, "jitter": 0})


async def _in_backoff(rig: Rig) -> str:
    request_id = await rig.submit("x", session_id="s")
    await rig.state(request_id, State.RETRYING)
    return request_id


@pytest.mark.parametrize("resume", [True, False])
async def test_a_backoff_takes_as_long_as_it_was_to_take(tmp_path: Path, resume: bool) -> None:
    clock, settings = HandClock(), _settings(tmp_path)
    async with running(settings, clock=clock, scripts={"p": FAILS}) as rig:
        request_id = await _in_backoff(rig)
    clock.now -= HOURS_S
    async with running(settings, clock=clock, resume=resume) as rig:
        if not resume:
            await rig.emit("completion:async", prompt="x", request_id=request_id, session_id="s")
        assert (await rig.status(request_id))["why"] == "backoff 30 s (network_error)"
        rig.advance(30)
        await rig.ended(request_id)
        assert (await rig.status(request_id))["status"] == "completed"


async def test_a_clock_that_went_on_changes_nothing(tmp_path: Path) -> None:
    clock, settings = HandClock(), _settings(tmp_path)
    async with running(settings, clock=clock, scripts={"p": FAILS}) as rig:
        request_id = await _in_backoff(rig)
    clock.now += 12
    async with running(settings, clock=clock) as rig:
        assert (await rig.status(request_id))["why"] == "backoff 18 s (network_error)"
        assert rig.core.set_back_s == 0


async def test_a_lock_by_hand_ends_when_it_was_to_end(tmp_path: Path) -> None:
    clock, settings = HandClock(), _settings(tmp_path)
    async with running(settings, clock=clock) as rig:
        lock = {"session_id": "s", "agent_id": "a7", "timeout_s": 300}
        await rig.emit("conversation:acquire_lock", **lock)
    clock.now -= HOURS_S
    async with running(settings, clock=clock) as rig:
        request_id = await rig.submit("x", session_id="s", agent_id="a1")
        assert await rig.why(request_id) == "lock held by a7, 5 min left"
        rig.advance(300)
        await rig.ended(request_id)


async def test_a_request_that_ran_and_its_lock_go_on(tmp_path: Path) -> None:
    clock, settings = HandClock(), _settings(tmp_path)
    terms = {"agent_id": "a1", "conversation_lock": {"timeout_s": 300}}
    async with running(settings, clock=clock, scripts={"p": held}) as rig:
        request_id = await rig.submit("x", session_id="s", **terms)
        await rig.calls(1)
    clock.now -= HOURS_S
    async with running(settings, clock=clock, scripts={"p": in_turn(held)}) as rig:
        (up,) = await rig.calls(1)
        lock = rig.core.locks.get("s")
        assert lock is not None
        assert lock.expires_at == clock.now + 300
        up.go.set()
        await rig.ended(request_id)
        assert rig.core.locks.get("s") is None


async def test_an_injection_waits_as_long_as_it_was_to_wait(tmp_path: Path) -> None:
    clock, settings = HandClock(), _settings(tmp_path)
    async with running(settings, clock=clock) as rig:
        given = {"session_id": "s", "content": "note", "mode": "next", "ttl_s": 60}
        await rig.emit("injection:inject", **given)
        lock = {"session_id": "t", "agent_id": "a7"}  # so that something tells of the time
        await rig.emit("conversation:acquire_lock", **lock)
    clock.now -= HOURS_S
    async with running(settings, clock=clock) as rig:
        assert rig.core.injections.pending == 1
        rig.advance(59)
        assert rig.core.injections.pending == 1
        rig.advance(1)
        await until(lambda: rig.core.injections.pending == 0)


async def test_a_restored_backoff_is_by_the_present_clock(tmp_path: Path) -> None:
    clock, here, there = HandClock(), _settings(tmp_path / "here"), _settings(tmp_path / "there")
    async with running(here, clock=clock, scripts={"p": FAILS}) as rig:
        await _in_backoff(rig)
    clock.now -= HOURS_S
    async with running(there, clock=clock, scripts={"p": FAILS}) as rig:
        taken_over = await rig.submit("x", session_id="t", request_id="other")
        await rig.state(taken_over, State.RETRYING)
        kept = await rig.emit("checkpoint:collect")
    async with running(here, clock=clock, scripts={"p": FAILS}) as rig:
        assert rig.core.set_back_s == HOURS_S
        await rig.emit("checkpoint:restore", **kept)
        assert (await rig.status(taken_over))["why"] == "backoff 30 s (network_error)"
