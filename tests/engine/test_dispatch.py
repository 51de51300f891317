"""Who is dispatched: as many as can be called, and nobody in vain."""

from __future__ import annotations

from pathlib import Path

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from tests.engine.engine_fixtures import (
    HandClock,
    Rig,
    answers,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
    until,
)


async def both_rest(rig: Rig, *request_ids: str) -> None:
    """Wait until these requests wait, and everything that was handed over is on disk."""
    await until(lambda: all(rig.ticket(each).run is None for each in request_ids))
    await rig.core.store.write()


async def test_what_waits_for_a_slot_has_not_begun(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", max_concurrency=1)])
    async with running(settings, clock=HandClock(), scripts={"p": held}) as rig:
        first = await rig.submit("first", session_id="a")
        await rig.calls(1)
        await rig.submit("second", session_id="b")
        waits = await rig.submit("waits", session_id="c")
        rig.p.calls[0].go.set()
        await rig.ended(first)
        await rig.calls(2)
        await both_rest(rig, waits)
        assert (await rig.status(waits))["started_at"] is None
        urgent = await rig.submit("urgent", session_id="c", priority="critical")
        assert await rig.why(waits) == f"behind {urgent} in its session"
        rig.p.calls[1].go.set()
        assert (await rig.calls(3))[2].prompt == "urgent"


async def test_a_freed_slot_dispatches_one_and_not_all_who_wait_for_it(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", max_concurrency=2)])
    async with running(settings, clock=HandClock(), scripts={"p": held}) as rig:
        ids = [await rig.submit(f"{n}", session_id=f"s{n}") for n in range(10)]
        (first, _) = await rig.calls(2)
        first.go.set()
        await rig.ended(ids[0])
        await rig.calls(3)
        await both_rest(rig, *ids[3:])
        begun = [each for each in ids[1:] if rig.ticket(each).started_at is not None]
        assert begun == ids[1:3]


async def test_only_the_probe_begins_when_a_circuit_is_tried_again(tmp_path: Path) -> None:
    clock = HandClock()
    circuit = {"fail_max": 1, "reset_timeout_s": 30}
    settings = config(
        tmp_path, providers=[provider("p", circuit=circuit)], retry={"max_attempts": 1}
    )
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(fails(ErrorKind.PROVIDER_ERROR), held)
        await rig.ended(await rig.submit("opens"))
        ids = [await rig.submit(f"{n}") for n in range(4)]
        rig.advance(31)
        await rig.calls(2)
        await both_rest(rig, *ids[1:])
        begun = [each for each in ids if rig.ticket(each).started_at is not None]
        assert begun == ids[:1]


async def test_a_cancel_before_the_call_gives_slot_and_probe_back(tmp_path: Path) -> None:
    clock = HandClock()
    circuit = {"fail_max": 1, "reset_timeout_s": 30}
    settings = config(
        tmp_path,
        providers=[provider("p", max_concurrency=1, circuit=circuit)],
        retry={"max_attempts": 1},
    )
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(fails(ErrorKind.PROVIDER_ERROR), answers)
        await rig.ended(await rig.submit("opens"))
        clock.now += 31
        doomed = await rig.just_dispatched(prompt="probe")
        entry = rig.core.providers.get("p")
        assert entry is not None
        assert entry.in_flight == 1
        await rig.emit("completion:cancel", request_id=doomed)
        await rig.ended(doomed)
        await rig.ended(await rig.submit("goes"))
        assert rig.p.prompts == ["opens", "goes"]
        await rig.settled()


async def test_a_circuit_that_opens_between_dispatch_and_call_is_not_called(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        providers=[provider("p"), provider("q", priority=2)],
        circuit={"fail_max": 1, "reset_timeout_s": 30},
    )
    async with running(settings, clock=HandClock()) as rig:
        await rig.ended(await rig.submit("makes history", session_id="held"))
        rig.p.script = in_turn(held, answers)
        breaks = await rig.submit("breaks")
        (_, up) = await rig.calls(2)
        dispatched = await rig.just_dispatched(prompt="next")
        entry = rig.core.providers.get("p")
        assert entry is not None
        now = rig.core.clock()
        entry.circuit.force_open(now, reason="just now", by="op", for_s=10)
        await rig.ended(dispatched)
        assert rig.p.prompts == ["makes history", "breaks"]
        assert rig.providers["q"].prompts == ["next"]
        up.go.set()
        await rig.ended(breaks)
        await rig.settled()


# --- candidates that are out for good, and others that are busy -------------------------------


async def test_waiting_for_another_candidate_spends_no_attempt(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        providers=[provider("p"), provider("q", priority=2, max_concurrency=1)],
        retry={"max_attempts": 1},
    )
    async with running(settings, clock=HandClock(), scripts={"q": held}) as rig:
        rig.p.script = fails(ErrorKind.MODEL_NOT_FOUND)
        first = await rig.submit("takes q")
        (up,) = await rig.calls(1, "q")
        second = await rig.submit("waits for q")
        await rig.state(second, State.RETRYING)
        status = await rig.status(second)
        assert (status["attempts_spent"], status["why"]) == (0, "q at 1 of 1")
        assert status["attempts"][0]["spent"] is False
        up.go.set()
        (await rig.calls(2, "q"))[1].go.set()
        await rig.ended(first, second)
        status = await rig.status(second)
        assert (status["status"], status["attempts_spent"]) == ("completed", 1)
        assert rig.p.prompts == ["takes q", "waits for q"]


async def test_with_only_hopeless_others_it_fails_at_once_with_its_own_kind(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        providers=[provider("p", "m*"), provider("q", "m*", "n*", priority=2)],
        retry={"max_attempts": 2},
    )
    async with running(settings, clock=HandClock()) as rig:
        rig.providers["q"].script = fails(ErrorKind.AUTH_ERROR, "bad key", status=401)
        await rig.ended(await rig.submit("opens q", model="n1"))
        rig.p.script = fails(ErrorKind.MODEL_NOT_FOUND, "no such model")
        told = await rig.event("completion:error", await rig.submit("x"))
        assert (told["kind"], told["attempts"]) == ("model_not_found", 1)


async def test_a_retry_that_leaves_nobody_to_answer_is_refused(tmp_path: Path) -> None:
    settings = config(tmp_path, retry={"max_attempts": 1})
    async with running(settings) as rig:
        rig.p.script = fails(ErrorKind.PROVIDER_ERROR)
        failed = await rig.submit("x")
        await rig.ended(failed)
        reply = await rig.emit("completion:retry", request_id=failed, avoid=["p"])
        assert reply["code"] == "conflict"
        assert reply["error"] == "nobody else serves m1: left out are p; nothing was changed"
        assert (await rig.status(failed))["status"] == "failed"


async def test_sending_elsewhere_keeps_the_turn_among_the_sessions(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(
        tmp_path,
        engine={"max_concurrency": 1},
        providers=[provider("p"), provider("q", priority=2)],
    )
    async with running(settings, clock=clock, scripts={"p": held, "q": held}) as rig:
        await rig.submit("runs", session_id="a")
        (first,) = await rig.calls(1)
        older = await rig.submit("older", session_id="b")
        rig.advance(5)
        await rig.submit("younger", session_id="c")
        await rig.emit("completion:retry", request_id=older, avoid=["p"])
        first.go.set()
        (up,) = await rig.calls(1, "q")
        assert up.prompt == "older"


async def test_a_circuit_that_is_not_waited_for_wakes_who_waits_for_another(
    tmp_path: Path,
) -> None:
    clock = HandClock()
    settings = config(
        tmp_path,
        providers=[
            provider("p", circuit={"reset_timeout_s": 10}),
            provider("q", priority=2, circuit={"reset_timeout_s": 50, "fail_max": 1}),
        ],
        retry={"max_attempts": 1},
    )
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(fails(ErrorKind.QUOTA_EXCEEDED, "no money"), answers)
        rig.providers["q"].script = fails(ErrorKind.PROVIDER_ERROR)
        await rig.ended(await rig.submit("opens both"))
        waits = await rig.submit("waits")
        assert await rig.why(waits) == "q open, probe in 50 s"
        rig.advance(11)
        await rig.ended(waits)
        assert rig.p.prompts == ["opens both", "waits"]
