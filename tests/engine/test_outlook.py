"""What is foretold if nobody acts: for each kind it comes true, then and not before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from ksi_tui.engine.views import Next, Outlook, SnapshotQuery
from tests.engine.engine_fixtures import (
    T0,
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

BOOM = fails(ErrorKind.PROVIDER_ERROR, "boom")


def foretold(rig: Rig, request_id: str) -> Outlook:
    """Return a request's outlook as a screen gets it."""
    live = rig.engine.snapshot(SnapshotQuery(request_id=request_id)).live
    assert live is not None
    assert live.outlook is not None
    assert live.if_nobody_acts == live.outlook.text
    return live.outlook


async def rest(rig: Rig) -> None:
    """Let the engine do all that it would do without the clock moving."""
    for _ in range(5):
        await rig.core.store.write()
        await asyncio.sleep(0)


async def comes_true(
    rig: Rig, at: float | None, happens: Callable[[], object], what: str = ""
) -> None:
    """Move the clock to just before a foretold moment, where nothing happens, then to it."""
    assert at is not None
    rig.advance(at - 0.001 - rig.core.clock())
    await rest(rig)
    assert not happens(), f"{what} came too early"
    rig.advance(at - rig.core.clock())
    await until(happens, what)


# --- what waits ----------------------------------------------------------------------------------


async def test_a_backoff_ends(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 12, "max_attempts": 2})
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(BOOM, held)
        request_id = await rig.submit()
        await rig.state(request_id, State.RETRYING)
        told = foretold(rig, request_id)
        assert (told.what, told.at) == (Next.BACKOFF_ENDS, T0 + 12)
        assert told.text == "in 12 s attempt 2 of 2 begins"
        await comes_true(rig, told.at, lambda: len(rig.p.calls) == 2)


async def test_a_backoff_ends_in_front_of_an_open_circuit(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(
        tmp_path,
        providers=[provider("p", circuit={"fail_max": 1, "reset_timeout_s": 30})],
        retry={"initial_delay_s": 12},
    )
    async with running(settings, clock=clock, scripts={"p": BOOM}) as rig:
        request_id = await rig.submit()
        await rig.state(request_id, State.RETRYING)
        told = foretold(rig, request_id)
        assert (told.what, told.at) == (Next.BACKOFF_ENDS, T0 + 12)
        assert told.text == (
            "in 12 s attempt 2 of 3 begins; then it may have to wait: p open, probe in 18 s"
        )
        await comes_true(rig, told.at, lambda: rig.core.alarms.count("backoff") == 0)
        probe = foretold(rig, request_id)
        assert (probe.what, probe.at) == (Next.PROBE, T0 + 30)
        await comes_true(rig, probe.at, lambda: len(rig.p.calls) == 2)


async def test_a_lock_expires(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await rig.emit("conversation:acquire_lock", session_id="s", agent_id="a7", timeout_s=41)
        request_id = await rig.submit(session_id="s")
        told = foretold(rig, request_id)
        assert (told.what, told.at) == (Next.LOCK_EXPIRES, T0 + 41)
        assert told.text == "in 41 s the lock of a7 expires and it goes on"
        await comes_true(rig, told.at, lambda: request_id not in rig.core.tickets)


async def test_a_lock_expires_before_the_backoff_that_it_hides(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 30})
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(BOOM, held)
        request_id = await rig.submit(session_id="s", timeout_s=100)
        await rig.state(request_id, State.RETRYING)
        await rig.emit("conversation:acquire_lock", session_id="s", agent_id="a7", timeout_s=20)
        told = foretold(rig, request_id)
        assert (told.what, told.at) == (Next.LOCK_EXPIRES, T0 + 20)
        assert told.text.endswith("; then it waits: backoff 10 s (provider_error)")
        await comes_true(rig, told.at, lambda: rig.core.locks.get("s") is None)
        await rest(rig)
        later = foretold(rig, request_id)
        assert (later.what, later.at) == (Next.BACKOFF_ENDS, T0 + 30)
        await comes_true(rig, later.at, lambda: len(rig.p.calls) == 2)


async def test_the_deadline_of_one_that_waits(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(
        tmp_path,
        providers=[provider("p", circuit={"fail_max": 1, "reset_timeout_s": 100})],
        retry={"initial_delay_s": 1},
    )
    async with running(settings, clock=clock, scripts={"p": BOOM}) as rig:
        request_id = await rig.submit(timeout_s=50)
        await rig.state(request_id, State.RETRYING)
        rig.advance(2)
        await until(lambda: rig.core.alarms.count("backoff") == 0)
        told = foretold(rig, request_id)
        assert (told.what, told.at) == (Next.DEADLINE, T0 + 50)
        assert told.text == "in 48 s its deadline ends it as failed (deadline_exceeded)"
        await comes_true(rig, told.at, lambda: rig.events("completion:error", request_id))
        assert rig.events("completion:error", request_id)[0]["kind"] == "deadline_exceeded"


async def test_of_deadline_and_probe_in_one_moment_the_deadline_is_foretold(
    tmp_path: Path,
) -> None:
    clock = HandClock()
    settings = config(
        tmp_path,
        providers=[provider("p", circuit={"fail_max": 1, "reset_timeout_s": 50})],
        retry={"initial_delay_s": 1},
    )
    async with running(settings, clock=clock, scripts={"p": BOOM}) as rig:
        request_id = await rig.submit(timeout_s=50)
        await rig.state(request_id, State.RETRYING)
        rig.advance(2)
        await until(lambda: rig.core.alarms.count("backoff") == 0)
        assert await rig.why(request_id) == "p open, probe in 48 s"
        told = foretold(rig, request_id)
        assert (told.what, told.at) == (Next.DEADLINE, T0 + 50)
        await comes_true(rig, told.at, lambda: rig.events("completion:error", request_id))
        assert len(rig.p.calls) == 1


async def test_a_probe_goes(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(
        tmp_path, providers=[provider("p", circuit={"fail_max": 1, "reset_timeout_s": 30})]
    )
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(BOOM, held)
        await rig.ended(await rig.submit(max_attempts=1))
        probe = await rig.submit("probe")
        other = await rig.submit("other")
        told = foretold(rig, probe)
        assert (told.what, told.at, told.text) == (
            Next.PROBE,
            T0 + 30,
            "in 30 s a probe may go to p",
        )
        await comes_true(rig, told.at, lambda: len(rig.p.calls) == 2)
        waits = foretold(rig, other)
        assert (waits.what, waits.at, waits.request_id) == (Next.PROBE, T0 + 90, probe)
        assert waits.text == (
            f"it goes on when p has answered its probe; {probe} is the probe, "
            "and ends in 60 s unless text comes"
        )
        rig.p.calls[1].go.set()
        await rig.calls(3)


async def test_a_cooldown_ends(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        limited = fails(ErrorKind.API_RATE_LIMIT, "slow down", retry_after_s=25)
        rig.p.script = in_turn(limited, held)
        await rig.ended(await rig.submit(max_attempts=1))
        request_id = await rig.submit()
        told = foretold(rig, request_id)
        assert (told.what, told.at) == (Next.COOLDOWN_ENDS, T0 + 25)
        assert told.text == "in 25 s p may be called again"
        await comes_true(rig, told.at, lambda: len(rig.p.calls) == 2)


async def test_a_circuit_that_was_forced_open_is_closed_by_nobody(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        entry = rig.core.providers.get("p")
        assert entry is not None
        entry.circuit.force_open(clock.now, reason="maintenance", by="op1")
        request_id = await rig.submit()
        told = foretold(rig, request_id)
        assert (told.what, told.at) == (Next.CIRCUIT_CLOSED, None)
        assert told.text == "nothing: p stays open until somebody closes or resets it"
        rig.advance(10**6)
        await rest(rig)
        assert not rig.p.calls
        entry.circuit.reset(clock.now)
        await rig.ended(request_id)


async def test_a_circuit_that_was_forced_open_for_a_while_is_probed_after_it(
    tmp_path: Path,
) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        entry = rig.core.providers.get("p")
        assert entry is not None
        entry.circuit.force_open(clock.now, reason="maintenance", by="op1", for_s=20)
        request_id = await rig.submit()
        told = foretold(rig, request_id)
        assert (told.what, told.at) == (Next.PROBE, T0 + 20)
        await comes_true(rig, told.at, lambda: len(rig.p.calls) == 1)


async def test_a_slot_frees(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        engine={"first_token_timeout_s": 1},
        providers=[provider("p", max_concurrency=1)],
        retry={"max_attempts": 1},
    )
    async with running(settings, scripts={"p": held}) as rig:
        runs = await rig.submit("runs")
        await rig.calls(1)
        waits = await rig.submit("waits")
        told = foretold(rig, waits)
        assert (told.what, told.request_id) == (Next.SLOT_FREES, runs)
        assert told.at == foretold(rig, runs).at
        assert told.text.startswith(f"it goes on when a call of p ends, the nearest {runs} in ")
        await rig.calls(2)
        assert (await rig.event("completion:error", runs))["kind"] == "timeout"
        assert rig.p.prompts == ["runs", "waits"]


async def test_one_behind_another_is_told_what_moves_the_first(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 12})
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(BOOM, held)
        first = await rig.submit("1", session_id="s")
        await rig.state(first, State.RETRYING)
        middle = await rig.submit("2", session_id="s")
        last = await rig.submit("3", session_id="s")
        told = foretold(rig, last)
        assert (told.what, told.at, told.request_id) == (Next.BACKOFF_ENDS, T0 + 12, first)
        assert told.text == (
            f"it goes on when {middle} has ended; {first}: in 12 s attempt 2 of 3 begins"
        )
        await comes_true(rig, told.at, lambda: len(rig.p.calls) == 2)


async def test_one_that_rather_fails_than_waits_is_told_so(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(
        tmp_path, providers=[provider("p", circuit={"fail_max": 1, "reset_timeout_s": 30})]
    )
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(BOOM, held)
        await rig.ended(await rig.submit(max_attempts=1))
        await rig.emit("conversation:acquire_lock", session_id="s", agent_id="a7", timeout_s=99)
        request_id = await rig.submit(
            session_id="s",
            agent_id="a3",
            conversation_lock={"on_conflict": "fail", "timeout_s": 9},
        )
        told = foretold(rig, request_id)
        assert (told.what, told.at) == (Next.PROBE, T0 + 30)
        assert told.text.endswith("; there it fails (lock_denied) while a7 holds the lock")
        await comes_true(rig, told.at, lambda: rig.events("completion:error", request_id))
        assert rig.events("completion:error", request_id)[0]["kind"] == "lock_denied"


async def test_one_that_nobody_will_serve_is_told_how_it_fails(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 12})
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(BOOM, fails(ErrorKind.AUTH_ERROR, "bad key", status=401))
        request_id = await rig.submit()
        await rig.state(request_id, State.RETRYING)
        await rig.ended(await rig.submit())
        told = foretold(rig, request_id)
        assert (told.what, told.at) == (Next.BACKOFF_ENDS, T0 + 12)
        assert "; then it fails (auth_error): p is open and not waited for" in told.text
        await comes_true(rig, told.at, lambda: rig.events("completion:error", request_id))
        assert rig.events("completion:error", request_id)[0]["kind"] == "auth_error"


async def test_a_full_disk_and_the_end_of_the_engine(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"max_concurrency": 1})
    async with running(settings, scripts={"p": held}) as rig:
        runs = await rig.submit("runs")
        (up,) = await rig.calls(1)
        waits = await rig.submit("waits")
        ending = asyncio.create_task(rig.emit("system:shutdown", grace_s=60))
        await until(lambda: rig.core.draining)
        told = foretold(rig, waits)
        assert (told.what, told.at) == (Next.NEXT_START, None)
        assert told.text == "it goes on at the next start"
        assert foretold(rig, runs).what is Next.FIRST_TOKEN_CLOCK
        up.go.set()
        await ending
    async with running(settings, resume=False) as rig:
        status = await rig.status(waits)
        assert status["outlook"]["what"] == "next_start"
        assert status["if_nobody_acts"] == "nothing, until an engine resumes it"


# --- what runs -----------------------------------------------------------------------------------

CLOCKS: Mapping[str, tuple[dict[str, Any], dict[str, Any], Next, str]] = {
    "first token": ({"first_token_timeout_s": 0.5}, {}, Next.FIRST_TOKEN_CLOCK, "no first token"),
    "idle": ({"idle_timeout_s": 0.5}, {}, Next.IDLE_CLOCK, "no further token"),
    "reply": ({"reply_timeout_s": 0.5}, {"stream": False}, Next.REPLY_CLOCK, "no reply"),
    "deadline": ({}, {"timeout_s": 0.5}, Next.DEADLINE, "not answered within timeout_s"),
}


@pytest.mark.parametrize("clock", CLOCKS)
async def test_the_clocks_of_a_call(tmp_path: Path, clock: str) -> None:
    engine, asked, what, message = CLOCKS[clock]
    settings = config(tmp_path, engine=engine, retry={"max_attempts": 1})
    async with running(settings, scripts={"p": held}) as rig:
        request_id = await rig.submit(**asked)
        (up,) = await rig.calls(1)
        if clock == "idle":
            up.say("so far", 2)
        told = foretold(rig, request_id)
        assert told.what is what
        assert told.at is not None
        kind = "deadline_exceeded" if clock == "deadline" else "timeout"
        assert f"({kind})" in told.text
        assert ("2 tokens become waste" in told.text) == (clock == "idle")
        error = await rig.event("completion:error", request_id)
        assert (error["kind"], message in error["error"]) == (kind, True)
        await rig.settled()
        assert rig.core.clock() >= told.at


async def _nothing(_: Rig) -> None:
    """Leave everything as it is."""


async def _q_is_open(rig: Rig) -> None:
    entry = rig.core.providers.get("q")
    assert entry is not None
    entry.circuit.force_open(rig.core.clock(), reason="x", by=None)


AFTER: Mapping[str, tuple[dict[str, Any], dict[str, Any], Callable[[Rig], Awaitable[None]], str]]
AFTER = {
    "another candidate": ({}, {}, _nothing, "q is called next, in the same attempt"),
    "another attempt": (
        {},
        {"max_attempts": 3},
        _q_is_open,
        "attempt 2 of 3 may follow about 4 s later, from the beginning",
    ),
    "no attempt": (
        {},
        {"max_attempts": 1},
        _q_is_open,
        "no attempt is left after this one, it fails (timeout)",
    ),
    "no time": (
        {},
        {"max_attempts": 3, "timeout_s": 62},
        _q_is_open,
        "then it fails (timeout): the next attempt would begin in 4.0 s, "
        "after the deadline in 2.0 s",
    ),
    "broken": (
        {"on_broken_stream": "fail"},
        {},
        _nothing,
        "then it fails (timeout): on_broken_stream is fail",
    ),
}


@pytest.mark.parametrize("case", AFTER)
async def test_what_follows_a_timeout(tmp_path: Path, case: str) -> None:
    engine, asked, prepare, text = AFTER[case]
    settings = config(
        tmp_path,
        engine=engine,
        providers=[provider("p"), provider("q", priority=2)],
        retry={"initial_delay_s": 4},
    )
    async with running(settings, clock=HandClock(), scripts={"p": held}) as rig:
        await prepare(rig)
        request_id = await rig.submit(**asked)
        (up,) = await rig.calls(1)
        if case == "broken":
            up.say("x")
        assert text in foretold(rig, request_id).text


async def test_a_timeout_does_what_was_foretold(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        engine={"first_token_timeout_s": 0.5},
        providers=[provider("p"), provider("q", priority=2)],
        retry={"max_attempts": 1},
    )
    async with running(settings, scripts={"p": held, "q": held}) as rig:
        request_id = await rig.submit()
        await rig.calls(1)
        assert "q is called next, in the same attempt" in foretold(rig, request_id).text
        await rig.calls(1, "q")
        last = foretold(rig, request_id).text
        assert "no attempt is left after this one, it fails (timeout)" in last
        assert (await rig.event("completion:error", request_id))["kind"] == "timeout"
        assert len((await rig.status(request_id))["attempts"]) == 1


async def test_waste_is_in_dollars_where_a_price_is_known(tmp_path: Path) -> None:
    settings = config(tmp_path, prices={"m1": {"input": 100, "output": 1000}})
    async with running(settings, scripts={"p": held}) as rig:
        request_id = await rig.submit("x" * 400)
        (up,) = await rig.calls(1)
        assert "waste" not in foretold(rig, request_id).text
        up.say("y" * 40, 12)
        told = foretold(rig, request_id).text
        await rig.emit("completion:cancel", request_id=request_id)
        await rig.settled()
        booked = (await rig.status(request_id))["attempts"][0]["calls"][0]["cost"]
        assert booked > 0.01
        assert told.endswith(f"; 12 tokens (~${booked:.4f}) become waste")


async def test_asking_draws_no_jitter(tmp_path: Path) -> None:
    settings = config(tmp_path, retry={"jitter": 0.5, "initial_delay_s": 4})
    delays = []
    for asked in (0, 25):
        folder = tmp_path / str(asked)
        folder.mkdir()
        made = settings.model_copy(
            update={"engine": settings.engine.model_copy(update={"database": folder / "k.db"})}
        )
        async with running(made, clock=HandClock()) as rig:
            rig.p.script = in_turn(held, held)
            request_id = await rig.submit()
            (up,) = await rig.calls(1)
            for _ in range(asked):
                foretold(rig, request_id)
            up.fail(ErrorKind.NETWORK_ERROR)
            delays.append((await rig.event("completion:retrying", request_id))["delay_s"])
    assert delays[0] == delays[1]
