"""Each why in the contract's own words, and another as soon as its cause is another."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from ksi_tui.engine.views import SnapshotQuery
from tests.engine.engine_fixtures import (
    HandClock,
    Rig,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
    until,
)


async def whys(rig: Rig, request_id: str) -> str:
    """Return the one why that every front end is told."""
    status = await rig.status(request_id)
    live = rig.engine.snapshot(SnapshotQuery(request_id=request_id)).live
    assert live is not None
    assert live.chain is not None
    assert status["why"] == status["cause"]["text"] == status["chain"][0]["why"]
    assert live.chain.links[0].why == status["why"]
    session = await rig.emit("completion:session_status", session_id=status["session_id"])
    row = next(each for each in session["completions"] if each["request_id"] == request_id)
    assert row["why"] == status["why"]
    return str(status["why"])


async def test_behind(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.submit("1", session_id="s", request_id="r-80")
        await rig.calls(1)
        await rig.submit("2", session_id="s", request_id="r-81")
        last = await rig.submit("3", session_id="s")
        assert await whys(rig, last) == "behind r-81 in its session"
        await rig.emit("completion:cancel", request_id="r-81")
        assert await whys(rig, last) == "behind r-80 in its session"
        rig.p.calls[0].go.set()
        await rig.calls(2)
        assert await whys(rig, last) == "calling p"


async def test_lock(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        given = {"session_id": "s", "agent_id": "a7"}
        await rig.emit("conversation:acquire_lock", timeout_s=50, **given)
        request_id = await rig.submit(session_id="s")
        clock.now += 9
        assert await whys(rig, request_id) == "lock held by a7, 41 s left"
        await rig.emit("conversation:acquire_lock", timeout_s=600, **given)
        assert await whys(rig, request_id) == "lock held by a7, 10 min left"
        await rig.emit("conversation:release_lock", **given)
        await rig.calls(1)
        assert await whys(rig, request_id) == "calling p"


async def test_engine_and_slot(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p"), provider("q", "n*", max_concurrency=1)])
    async with running(settings, scripts={"p": held, "q": held}) as rig:
        await rig.submit("holds the slot", model="n1")
        await rig.calls(1, "q")
        slot = await rig.submit("x", model="n1")
        assert await whys(rig, slot) == "q at 1 of 1"
        for number in range(31):
            await rig.submit(f"{number}")
        await rig.calls(31)
        waits = await rig.submit("x")
        assert await whys(rig, waits) == "engine at 32 of 32"
        rig.p.calls[0].go.set()
        await rig.calls(32)
        assert await whys(rig, waits) == "calling p"


async def test_circuit(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(
        tmp_path, providers=[provider("openai", circuit={"fail_max": 1, "reset_timeout_s": 30})]
    )
    async with running(settings, clock=clock) as rig:
        rig.providers["openai"].script = in_turn(fails(ErrorKind.PROVIDER_ERROR), held)
        await rig.ended(await rig.submit(max_attempts=1))
        clock.now += 22
        request_id = await rig.submit()
        other = await rig.submit()
        assert await whys(rig, request_id) == "openai open, probe in 8 s"
        rig.advance(8)
        (await rig.calls(2, "openai"))[1].say("x")
        assert await whys(rig, request_id) == "openai answers"
        assert await whys(rig, other) == "openai probing"


async def test_backoff_and_cooldown(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 12})
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(
            fails(ErrorKind.API_RATE_LIMIT), fails(ErrorKind.API_RATE_LIMIT, retry_after_s=40), held
        )
        request_id = await rig.submit()
        await rig.state(request_id, State.RETRYING)
        assert await whys(rig, request_id) == "backoff 12 s (api_rate_limit)"
        rig.advance(12)
        await rig.calls(2)
        await rig.state(request_id, State.RETRYING)
        assert await whys(rig, request_id) == "backoff 40 s (api_rate_limit)"
        await rig.emit("completion:retry", request_id=request_id)
        await until(lambda: rig.ticket(request_id).retry_at is None)
        assert await whys(rig, request_id) == "p cooling (429), 40 s left"


@pytest.mark.parametrize(("silent_s", "text"), [(34, "34 s"), (119, "119 s"), (300, "5 min")])
async def test_no_token(tmp_path: Path, silent_s: float, text: str) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        request_id = await rig.submit()
        (up,) = await rig.calls(1)
        up.say("a word")
        assert await whys(rig, request_id) == "p answers"
        clock.now += silent_s
        assert await whys(rig, request_id) == f"no token for {text}"
        up.say("another")
        assert await whys(rig, request_id) == "p answers"
