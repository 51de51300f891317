"""Every clock of a request: what it measures, what ends when it is over, when it stands still."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from tests.engine.engine_fixtures import (
    HandClock,
    Upstream,
    answers,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
    until,
)

TINY_S = 0.03
ONCE = {"max_attempts": 1}


# --- the clocks of one call ----------------------------------------------------------------


async def test_first_token(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"first_token_timeout_s": TINY_S}, retry=ONCE)
    async with running(settings, scripts={"p": held}) as rig:
        request_id = await rig.submit()
        told = await rig.event("completion:error", request_id)
        assert told["kind"] == "timeout"
        assert "no first token in 0.03 s" in told["error"]
        assert rig.p.calls[0].cancelled
        await rig.event("completion:upstream_closed", request_id)
        await rig.settled()
        call = (await rig.status(request_id))["attempts"][0]["calls"][0]
        assert (call["error"]["kind"], call["upstream_closed_ms"]) == ("timeout", 1.0)


async def test_idle_runs_anew_with_every_piece(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"idle_timeout_s": TINY_S}, retry=ONCE)
    async with running(settings, scripts={"p": held}) as rig:
        request_id = await rig.submit()
        (up,) = await rig.calls(1)
        up.say("one ")
        run = rig.ticket(request_id).run
        assert run is not None
        assert run.call is not None
        first_end = run.call.idle_at
        up.say("two")
        assert run.call.idle_at is not None
        assert first_end is not None
        assert run.call.idle_at > first_end
        assert run.call.clock_name == "idle"
        told = await rig.event("completion:error", request_id)
        assert told["kind"] == "timeout"
        assert "no further token in 0.03 s" in told["error"]
        await rig.settled()
        call = (await rig.status(request_id))["attempts"][0]["calls"][0]
        assert (call["partial_text"], call["waste"]) == ("one two", True)


async def test_the_first_token_clock_ends_with_the_first_token(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, engine={"first_token_timeout_s": 60, "idle_timeout_s": 20})
    async with running(settings, clock=clock, scripts={"p": held}) as rig:
        request_id = await rig.submit()
        (up,) = await rig.calls(1)
        assert (await rig.status(request_id))["attempts"][0]["calls"][0]["clock"] == "first token"
        clock.now += 50
        up.say("x")
        live = (await rig.status(request_id))["attempts"][0]["calls"][0]
        assert (live["clock"], live["clock_ends_at"]) == ("idle", "2027-01-15T08:01:10.000Z")


async def test_a_reply_in_one_piece_has_its_own_clock(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        engine={"reply_timeout_s": TINY_S, "first_token_timeout_s": 3600},
        retry=ONCE,
    )
    async with running(settings, scripts={"p": held}) as rig:
        told = await rig.event("completion:error", await rig.submit(stream=False))
        assert told["kind"] == "timeout"
        assert "no reply in 0.03 s" in told["error"]


async def test_the_reply_clock_is_not_for_streams(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"reply_timeout_s": TINY_S}, retry=ONCE)

    async def slower_than_a_reply(up: Upstream) -> str:
        await asyncio.sleep(TINY_S * 2)
        return up.prompt

    async with running(settings, scripts={"p": slower_than_a_reply}) as rig:
        request_id = await rig.submit()
        await rig.ended(request_id)
        assert (await rig.status(request_id))["status"] == "completed"


async def test_a_call_that_is_too_slow_fails_over_and_counts(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        engine={"first_token_timeout_s": TINY_S},
        providers=[provider("p", circuit={"fail_max": 1}), provider("q", priority=2)],
    )
    async with running(settings, scripts={"p": held}) as rig:
        request_id = await rig.submit()
        await rig.ended(request_id)
        status = await rig.status(request_id)
        assert (status["status"], status["provider"]) == ("completed", "q")
        circuit = (await rig.emit("completion:provider_status", provider="p"))["circuit_breaker"]
        assert circuit["state"] == "open"


async def test_text_in_the_moment_in_which_the_clock_ends_is_no_fault(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"first_token_timeout_s": TINY_S}, retry=ONCE)
    async with running(settings, scripts={"p": held}) as rig:
        request_id = await rig.submit()
        (up,) = await rig.calls(1)
        run = rig.ticket(request_id).run
        assert run is not None
        call = run.call
        assert call is not None
        while call.timer is None or not call.timer.expired():  # noqa: ASYNC110 - that very turn
            await asyncio.sleep(0)
        up.say("just too late")
        told = await rig.event("completion:error", request_id)
        assert told["kind"] == "timeout"
        assert call.text == ""


async def test_a_timeout_of_the_providers_own_is_an_answerable_fault(tmp_path: Path) -> None:
    async def gives_up(_: Upstream) -> str:
        raise TimeoutError

    settings = config(tmp_path, providers=[provider("p", max_concurrency=1)])
    async with running(settings) as rig:
        rig.p.script = in_turn(gives_up, answers)
        request_id = await rig.submit()
        await rig.ended(request_id)
        await rig.settled()
        assert (await rig.status(request_id))["status"] == "completed"


# --- broken streams ------------------------------------------------------------------------


async def test_a_broken_stream_is_begun_again_and_the_broken_part_is_waste(tmp_path: Path) -> None:
    async def breaks(up: Upstream) -> str:
        up.say("half an ans")
        return await fails(ErrorKind.NETWORK_ERROR, "cut")(up)

    async with running(config(tmp_path)) as rig:
        rig.p.script = in_turn(breaks, answers)
        request_id = await rig.submit()
        await rig.ended(request_id)
        status = await rig.status(request_id)
        assert status["text"] == "re: hello"
        broken, whole = (a["calls"][0] for a in status["attempts"])
        assert (broken["partial_text"], broken["waste"]) == ("half an ans", True)
        assert whole["partial_text"] is None


async def test_or_it_fails_where_that_is_wanted_and_nobody_else_is_called(tmp_path: Path) -> None:
    async def breaks(up: Upstream) -> str:
        up.say("half an ans")
        return await fails(ErrorKind.NETWORK_ERROR, "cut")(up)

    settings = config(
        tmp_path,
        engine={"on_broken_stream": "fail"},
        providers=[provider("p"), provider("q", priority=2)],
    )
    async with running(settings, scripts={"p": breaks}) as rig:
        request_id = await rig.submit()
        told = await rig.event("completion:error", request_id)
        assert (told["kind"], told["attempts"]) == ("network_error", 1)
        assert "on_broken_stream" in told["error"]
        assert rig.providers["q"].calls == []
        assert (await rig.status(request_id))["text"] == "half an ans"


async def test_before_its_first_token_a_stream_is_not_broken(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"on_broken_stream": "fail"})
    async with running(settings) as rig:
        rig.p.script = in_turn(fails(ErrorKind.NETWORK_ERROR), answers)
        request_id = await rig.submit()
        await rig.ended(request_id)
        assert (await rig.status(request_id))["status"] == "completed"


# --- the deadline over all -----------------------------------------------------------------


async def test_the_deadline_ends_a_call_and_nothing_follows(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p"), provider("q", priority=2)])
    async with running(settings, scripts={"p": held}) as rig:
        request_id = await rig.submit(timeout_s=TINY_S)
        told = await rig.event("completion:error", request_id)
        assert told["kind"] == "deadline_exceeded"
        assert "timeout_s = 0.03" in told["error"]
        assert rig.providers["q"].calls == []
        circuit = (await rig.emit("completion:provider_status", provider="p"))["circuit_breaker"]
        assert circuit["recent_failures"] == 0


async def test_the_deadline_ends_a_stream_that_goes_on(tmp_path: Path) -> None:
    async def trickles(up: Upstream) -> str:
        while True:
            up.say("x")
            await asyncio.sleep(0.002)

    settings = config(tmp_path, engine={"idle_timeout_s": 3600})
    async with running(settings, clock=HandClock(), scripts={"p": trickles}) as rig:
        request_id = await rig.submit(timeout_s=60)
        await rig.calls(1)
        await until(lambda: rig.ticket(request_id).run.call.idle_at, "it streams")  # type: ignore[union-attr]
        rig.advance(60)
        told = await rig.event("completion:error", request_id)
        assert told["kind"] == "deadline_exceeded"
        assert set((await rig.status(request_id))["text"]) == {"x"}


async def test_it_runs_from_the_first_dispatch_over_all_attempts(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, engine={"max_concurrency": 1}, retry={"initial_delay_s": 10})
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(held, fails(ErrorKind.NETWORK_ERROR), held)
        await rig.submit("first")
        (up,) = await rig.calls(1)
        request_id = await rig.submit("x", timeout_s=100)
        clock.now += 500
        assert (await rig.status(request_id))["deadline_left_s"] == 100
        up.go.set()
        await rig.state(request_id, State.RETRYING)
        clock.now += 7
        assert (await rig.status(request_id))["deadline_left_s"] == 93
        rig.advance(3)
        await rig.calls(3)
        clock.now += 40
        assert (await rig.status(request_id))["deadline_left_s"] == 50


async def test_it_ends_a_wait_for_a_probe(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(
        tmp_path,
        providers=[provider("p", circuit={"fail_max": 1, "reset_timeout_s": 100})],
        retry={"initial_delay_s": 1, "max_attempts": 5},
    )
    script = fails(ErrorKind.PROVIDER_ERROR, "down")
    async with running(settings, clock=clock, scripts={"p": script}) as rig:
        request_id = await rig.submit(timeout_s=50)
        await rig.state(request_id, State.RETRYING)
        rig.advance(2)
        await until(lambda: rig.core.alarms.count("backoff") == 0)
        assert await rig.why(request_id) == "p open, probe in 98 s"
        nobody = (await rig.status(request_id))["if_nobody_acts"]
        assert nobody == "in 48 s its deadline ends it as failed (deadline_exceeded)"
        rig.advance(48)
        told = await rig.event("completion:error", request_id)
        assert told["kind"] == "deadline_exceeded"
        assert "down" in told["error"]
        assert len(rig.p.calls) == 1
        await rig.settled()


async def test_it_stands_still_while_no_engine_runs(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 10})
    script = fails(ErrorKind.NETWORK_ERROR)
    async with running(settings, clock=clock, scripts={"p": script}) as rig:
        request_id = await rig.submit(timeout_s=100)
        await rig.state(request_id, State.RETRYING)
        clock.now += 4
        await rig.emit("completion:retry", request_id=request_id)
        await rig.calls(2)
        await rig.state(request_id, State.RETRYING)
    clock.now += 5_000
    async with running(settings, clock=clock, scripts={"p": held}) as rig:
        await rig.calls(1)
        assert (await rig.status(request_id))["deadline_left_s"] == 96


async def test_an_interrupted_request_takes_its_spent_time_along(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        request_id = await rig.submit(timeout_s=100)
        await rig.calls(1)
        clock.now += 30
    clock.now += 1_000
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        await rig.calls(1)
        assert (await rig.status(request_id))["deadline_left_s"] == 70


async def test_time_spent_in_a_backoff_counts_over_an_orderly_restart(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 20, "max_attempts": 9})
    script = fails(ErrorKind.NETWORK_ERROR)
    async with running(settings, clock=clock, scripts={"p": script}) as rig:
        request_id = await rig.submit("x", timeout_s=100)
        await rig.state(request_id, State.RETRYING)
        rig.advance(15)
    clock.now += 1_000
    async with running(settings, clock=clock, scripts={"p": script}) as rig:
        assert (await rig.status(request_id))["deadline_left_s"] == 85
