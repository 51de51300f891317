"""Every unfinished request has a why: short, true, and another when its cause is another."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from ksi_tui.engine.views import Phase, SnapshotQuery
from ksi_tui.engine.why.causes import seconds
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


async def chain(rig: Rig, request_id: str) -> list[tuple[str, str]]:
    """Walk from a request to its root by the causes' targets, as a screen does."""
    edges = []
    while request_id in rig.core.tickets:
        cause = (await rig.status(request_id))["cause"]
        edges.append((cause["kind"], cause["target"]))
        request_id = cause["target"] if cause["kind"] == "behind" else ""
    return edges


@pytest.mark.parametrize(
    ("left_s", "text"),
    [(-1, "0 s"), (0.4, "0 s"), (41, "41 s"), (119, "119 s"), (120, "2 min"), (9_000, "2 h")],
)
def test_a_remaining_time_in_words(left_s: float, text: str) -> None:
    assert seconds(left_s) == text


async def test_a_running_request_from_the_call_to_the_silence(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        request_id = await rig.submit()
        (up,) = await rig.calls(1)

        async def now() -> tuple[str, str, Phase]:
            cause = (await rig.status(request_id))["cause"]
            live = rig.engine.snapshot(SnapshotQuery(request_id=request_id)).live
            assert live is not None
            assert live.why in (cause["text"], "")
            assert cause["target"] == "p"
            return cause["kind"], cause["text"], live.phase

        assert await now() == ("running", "calling p", Phase.CONNECTING)
        clock.now += 7.3
        kind, text, phase = await now()
        assert (kind, phase) == ("running", Phase.FIRST_TOKEN)
        assert text != "calling p"
        up.say("word")
        assert await now() == ("running", "p answers", Phase.STREAMING)
        clock.now += 34
        assert await now() == ("no_token", "no token for 34 s", Phase.NO_TOKEN)
        up.say("another")
        assert await now() == ("running", "p answers", Phase.STREAMING)


async def test_another_model_than_the_one_asked_for_is_named(tmp_path: Path) -> None:
    providers = [provider("p", model="stand-in")]
    async with running(config(tmp_path, providers=providers), scripts={"p": held}) as rig:
        request_id = await rig.submit()
        (up,) = await rig.calls(1)
        up.say("x")
        assert await rig.why(request_id) == "p answers as stand-in"
        (view,) = rig.engine.snapshot().active
        assert (view.asked_model, view.model, view.substituted) == ("m1", "stand-in", True)


async def test_the_chain_leads_to_the_root(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        first = await rig.submit("1", session_id="s")
        await rig.calls(1)
        second = await rig.submit("2", session_id="s")
        third = await rig.submit("3", session_id="s")
        assert await chain(rig, third) == [("behind", second), ("behind", first), ("running", "p")]
        assert await rig.why(third) == f"behind {second} in its session"
        await rig.emit("completion:cancel", request_id=second)
        assert await chain(rig, third) == [("behind", first), ("running", "p")]


async def test_the_why_changes_when_its_cause_does(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(
        tmp_path,
        engine={"max_concurrency": 2},
        providers=[provider("p", max_concurrency=1, circuit={"fail_max": 1})],
        retry={"initial_delay_s": 9, "max_attempts": 2},
    )
    async with running(settings, clock=clock, scripts={"p": held}) as rig:
        first = await rig.submit("first")
        (up,) = await rig.calls(1)
        await rig.emit("conversation:acquire_lock", session_id="s", agent_id="a", timeout_s=50)
        other = await rig.submit("x", session_id="s")
        assert await rig.why(other) == "lock held by a, 50 s left"
        await rig.emit("conversation:release_lock", session_id="s", agent_id="a")
        assert await rig.why(other) == "p at 1 of 1"
        up.fail(ErrorKind.PROVIDER_ERROR, "boom")
        await rig.state(first, State.RETRYING)
        assert await rig.why(first) == "backoff 9 s (provider_error)"
        assert await rig.why(other) == "p open, probe in 30 s"
        rig.advance(9)
        await until(lambda: rig.core.alarms.count("backoff") == 0)
        assert await rig.why(first) == "p open, probe in 21 s"
        rig.advance(21.5)
        await rig.calls(2)
        assert {await rig.why(first), await rig.why(other)} == {"calling p", "p probing"}


async def test_a_full_engine_is_a_why(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"max_concurrency": 1})
    async with running(settings, clock=HandClock(), scripts={"p": held}) as rig:
        runs = await rig.submit("runs")
        await rig.calls(1)
        waiting = await rig.submit("waits")
        status = await rig.status(waiting)
        assert (status["why"], status["cause"]["kind"]) == ("engine at 1 of 1", "engine")
        assert status["if_nobody_acts"] == (
            "it goes on when a running request ends, "
            f"the nearest {runs} in 60 s at its first token clock unless text comes"
        )


async def test_what_happens_if_nobody_acts(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, engine={"first_token_timeout_s": 60, "idle_timeout_s": 30})
    async with running(settings, clock=clock, scripts={"p": held}) as rig:
        patient = await rig.submit("patient")
        hurried = await rig.submit("hurried", timeout_s=20)
        await rig.calls(2)
        clock.now += 5

        async def nobody(request_id: str) -> str:
            return str((await rig.status(request_id))["if_nobody_acts"])

        assert await nobody(patient) == (
            "the first token clock ends this call in 55 s unless text comes; "
            "attempt 2 of 3 may follow, from the beginning"
        )
        assert await nobody(hurried) == "in 15 s the deadline ends it as failed (deadline_exceeded)"
        rig.p.of("patient").say("text", 12)
        assert await nobody(patient) == (
            "the idle clock ends this call in 30 s unless text comes; "
            "attempt 2 of 3 may follow, from the beginning; 12 tokens become waste"
        )
        behind = await rig.submit("behind", session_id=patient)
        assert (await nobody(behind)).startswith(
            f"it goes on when {patient} has ended; {patient}: the idle clock ends this call in 30 s"
        )


async def test_the_last_attempt_says_that_it_is_the_last(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 4, "max_attempts": 2})
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(fails(ErrorKind.NETWORK_ERROR), held)
        request_id = await rig.submit()
        await rig.state(request_id, State.RETRYING)
        assert (await rig.status(request_id))["if_nobody_acts"] == "in 4 s attempt 2 of 2 begins"
        rig.advance(4)
        await rig.calls(2)
        assert "no attempt is left" in (await rig.status(request_id))["if_nobody_acts"]


async def test_a_finished_request_has_no_why(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        request_id = await rig.submit()
        await rig.ended(request_id)
        status = await rig.status(request_id)
        assert (status["why"], status["cause"], status["if_nobody_acts"]) == (None, None, None)
