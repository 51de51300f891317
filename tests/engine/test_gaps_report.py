"""The record of one request whose story has turns: backoff, retry by hand, calls without price."""

from __future__ import annotations

from pathlib import Path

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from tests.engine.engine_fixtures import HandClock, answers, config, fails, held, in_turn, running


async def test_the_timeline_tells_a_backoff_and_a_retry_by_hand_in_their_places(
    tmp_path: Path,
) -> None:
    clock = HandClock()
    broken = fails(ErrorKind.NETWORK_ERROR, "refused")
    settings = config(tmp_path, retry={"initial_delay_s": 8, "max_attempts": 2})
    script = in_turn(broken, broken, answers)
    async with running(settings, clock=clock, scripts={"p": script}) as rig:
        request_id = await rig.submit()
        await rig.state(request_id, State.RETRYING)
        rig.advance(8)
        await rig.event("completion:error", request_id)
        clock.now += 60
        await rig.emit("completion:retry", request_id=request_id, by="op1", reason="again")
        clock.now += 1
        await rig.event("completion:result", request_id)
        timeline = (await rig.status(request_id))["timeline"]
        told = [(entry["what"], entry["text"]) for entry in timeline]
        assert ("backoff", "until 2027-01-15T08:00:08.000Z") in told
        retried = told.index(("retry", "op1 · again"))
        assert [what for what, _ in told[:retried]].count("call failed") == 2
        assert ("attempt", "attempt 3") in told[retried:]
        moments = [entry["at"] for entry in timeline]
        assert moments == sorted(moments)


async def test_the_timeline_says_that_a_call_was_stopped(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit()
        await rig.calls(1)
        await rig.emit("completion:cancel", request_id=request_id)
        await rig.event("completion:upstream_closed", request_id)
        timeline = (await rig.status(request_id))["timeline"]
        assert ("call stopped", "p: cancelled") in [(e["what"], e["text"]) for e in timeline]


async def test_calls_without_a_price_are_counted_and_priced_ones_summed(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        request_id = await rig.submit()
        await rig.ended(request_id)
        report = await rig.status(request_id)
        assert (report["cost"], report["unpriced"]) == (None, 1)
    (tmp_path / "priced").mkdir()
    priced = config(tmp_path / "priced", prices={"m1": {"input": 1_000_000, "output": 2_000_000}})
    async with running(priced) as rig:
        request_id = await rig.submit()
        await rig.ended(request_id)
        report = await rig.status(request_id)
        assert (report["cost"], report["unpriced"]) == (13.0, 0)


async def test_an_attempt_that_called_nobody_shares_its_number_with_no_other(
    tmp_path: Path,
) -> None:
    refuses = fails(ErrorKind.AUTH_ERROR, "bad key", status=401)
    async with running(config(tmp_path), clock=HandClock()) as rig:
        rig.p.script = in_turn(refuses, answers)
        await rig.ended(await rig.submit("opens"))
        request_id = await rig.submit("hopeless")
        await rig.event("completion:error", request_id)
        rig.advance(31)
        await rig.emit("completion:retry", request_id=request_id)
        await rig.event("completion:result", request_id)
        attempts = (await rig.status(request_id))["attempts"]
        assert [(each["attempt"], len(each["calls"])) for each in attempts] == [(1, 0), (2, 1)]


async def test_a_run_that_is_stopped_before_its_call_is_no_attempt(tmp_path: Path) -> None:
    async with running(config(tmp_path), clock=HandClock()) as rig:
        request_id = await rig.just_dispatched()
        await rig.emit("completion:cancel", request_id=request_id)
        await rig.event("completion:cancelled", request_id)
        await rig.emit("completion:retry", request_id=request_id)
        await rig.event("completion:result", request_id)
        attempts = (await rig.status(request_id))["attempts"]
        assert [(each["attempt"], len(each["calls"])) for each in attempts] == [(1, 1)]
