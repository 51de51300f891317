"""The walk over the candidates: who is called, who is passed over and why, who is waited for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind, ProviderFault
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

BOOM = fails(ErrorKind.PROVIDER_ERROR, "boom", status=503)
FAILING_OVER = [
    ErrorKind.API_RATE_LIMIT,
    ErrorKind.QUOTA_EXCEEDED,
    ErrorKind.TIMEOUT,
    ErrorKind.NETWORK_ERROR,
    ErrorKind.PROVIDER_ERROR,
    ErrorKind.AUTH_ERROR,
    ErrorKind.MODEL_NOT_FOUND,
    ErrorKind.TEMPORARY_FAILURE,
]
STAYING = [
    ErrorKind.INVALID_REQUEST,
    ErrorKind.CONTEXT_WINDOW,
    ErrorKind.CONTENT_POLICY,
]


def three(**settings: Any) -> list[dict[str, Any]]:
    return [
        provider("p", **settings),
        provider("q", priority=2, **settings),
        provider("r", priority=3, **settings),
    ]


async def verdicts(rig: Rig, request_id: str, attempt: int = 0) -> list[tuple[str, str]]:
    status = await rig.status(request_id)
    return [(v["provider"], v["kind"]) for v in status["attempts"][attempt]["verdicts"]]


# --- inside an attempt ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", FAILING_OVER)
async def test_an_error_that_fails_over_goes_to_the_next_in_the_same_attempt(
    tmp_path: Path, kind: ErrorKind
) -> None:
    settings = config(tmp_path, providers=three())
    async with running(settings, scripts={"p": fails(kind, "no")}) as rig:
        request_id = await rig.submit()
        await rig.ended(request_id)
        status = await rig.status(request_id)
        assert (status["status"], status["provider"], status["attempts_spent"]) == (
            "completed",
            "q",
            1,
        )
        assert await verdicts(rig, request_id) == [
            ("p", "taken"),
            ("q", "taken"),
            ("r", "not_reached"),
        ]
        calls = status["attempts"][0]["calls"]
        assert [(c["ordinal"], c["outcome"]) for c in calls] == [(1, "failed"), (2, "answered")]
        assert [c["waste"] for c in calls] == [True, False]
        told = [e["status"] for e in rig.events("completion:progress", request_id)]
        assert told[:2] == ["calling_provider", "failing_over"]
        assert status["result"]["ksi"]["provider"] == "q"


@pytest.mark.parametrize("kind", STAYING)
async def test_the_callers_own_error_stays_where_it_is(tmp_path: Path, kind: ErrorKind) -> None:
    settings = config(tmp_path, providers=three(circuit={"fail_max": 1}))
    async with running(settings, scripts={"p": fails(kind)}) as rig:
        request_id = await rig.submit()
        told = await rig.event("completion:error", request_id)
        assert told["kind"] == kind
        assert rig.providers["q"].calls == []
        assert await verdicts(rig, request_id) == [
            ("p", "taken"),
            ("q", "not_reached"),
            ("r", "not_reached"),
        ]
        circuit = (await rig.emit("completion:provider_status", provider="p"))["circuit_breaker"]
        assert circuit["state"] == "closed"


async def test_each_candidate_passed_over_has_its_reason(tmp_path: Path) -> None:
    clock = HandClock()
    providers = [
        provider("open", circuit={"fail_max": 1}),
        provider("cooling", priority=2),
        provider("full", priority=3, max_concurrency=1),
        provider("mute", priority=4, supports_streaming=False),
        provider("takes", priority=5),
        provider("spare", priority=6),
    ]
    async with running(config(tmp_path, providers=providers), clock=clock) as rig:
        rig.providers["open"].script = BOOM
        rig.providers["cooling"].script = fails(ErrorKind.API_RATE_LIMIT, retry_after_s=60)
        rig.providers["full"].script = held
        await rig.submit("first")
        await rig.calls(1, "full")
        second = await rig.submit("second", stream=True)
        await rig.ended(second)
        assert sorted(await verdicts(rig, second)) == sorted(
            [
                ("mute", "unsuited"),
                ("open", "open"),
                ("cooling", "cooling"),
                ("full", "full"),
                ("takes", "taken"),
                ("spare", "not_reached"),
            ]
        )
        status = await rig.status(second)
        by_name = {v["provider"]: v for v in status["attempts"][0]["verdicts"]}
        assert by_name["cooling"]["until"] == "2027-01-15T08:01:00.000Z"
        assert by_name["full"]["detail"] == "full at 1 of 1"


async def test_history_and_parameters_go_to_whoever_answers(tmp_path: Path) -> None:
    providers = [provider("p"), provider("q", priority=2, model="other/{model}")]
    async with running(config(tmp_path, providers=providers), scripts={"p": BOOM}) as rig:
        request_id = await rig.submit("hi", temperature=0.2, stream=False)
        await rig.ended(request_id)
        (up,) = rig.providers["q"].calls
        assert (up.spec.model, up.spec.stream, up.spec.params) == (
            "other/m1",
            False,
            {"temperature": 0.2},
        )
        assert up.spec.request_id == request_id


async def test_streaming_is_asked_for_only_of_who_can(tmp_path: Path) -> None:
    providers = [provider("p", supports_streaming=False), provider("q", "n1")]
    async with running(config(tmp_path, providers=providers)) as rig:
        await rig.ended(await rig.submit())
        await rig.ended(await rig.submit(model="n1"))
        assert rig.p.calls[0].spec.stream is False
        assert rig.providers["q"].calls[0].spec.stream is True


async def test_nobody_who_can_is_a_failure_that_says_so(tmp_path: Path) -> None:
    providers = [provider("p", supports_streaming=False)]
    async with running(config(tmp_path, providers=providers)) as rig:
        told = await rig.event("completion:error", await rig.submit(stream=True))
        assert told["kind"] == "model_not_found"
        assert "p cannot stream" in told["error"]
        assert told["attempts"] == 0


async def test_mcp_goes_only_to_who_can_run_it(tmp_path: Path) -> None:
    providers = [provider("p"), provider("q", priority=2, supports_mcp=True)]
    async with running(config(tmp_path, providers=providers)) as rig:
        body = {"ksi": {"mcp_config_path": "/etc/mcp.json"}}
        request_id = await rig.submit(extra_body=body)
        await rig.ended(request_id)
        assert (await rig.status(request_id))["provider"] == "q"


# --- mixed errors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (ErrorKind.PROVIDER_ERROR, ErrorKind.AUTH_ERROR, ErrorKind.PROVIDER_ERROR),
        (ErrorKind.MODEL_NOT_FOUND, ErrorKind.NETWORK_ERROR, ErrorKind.NETWORK_ERROR),
        (ErrorKind.TIMEOUT, ErrorKind.INVALID_REQUEST, ErrorKind.TIMEOUT),
    ],
)
async def test_retried_if_any_of_them_may_be_and_named_after_that_one(
    tmp_path: Path, first: ErrorKind, second: ErrorKind, kind: ErrorKind
) -> None:
    clock = HandClock()
    settings = config(
        tmp_path,
        providers=[provider("p"), provider("q", priority=2)],
        retry={"initial_delay_s": 5, "max_attempts": 2},
    )
    async with running(settings, clock=clock) as rig:
        rig.p.script = fails(first, f"it is {first}")
        rig.providers["q"].script = fails(second, f"it is {second}")
        request_id = await rig.submit()
        told = await rig.event("completion:retrying", request_id)
        assert (told["kind"], told["error"]) == (kind, f"it is {kind}")
        assert kind in await rig.why(request_id)
        rig.advance(5)
        told = await rig.event("completion:error", request_id)
        assert told["kind"] == kind
        assert told["error"].startswith(f"it is {kind}")
        attempts = (await rig.status(request_id))["attempts"]
        assert [attempt["error_kind"] for attempt in attempts] == [kind, kind]


async def test_of_errors_that_are_not_retried_the_last_counts(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p"), provider("q", priority=2)])
    async with running(settings) as rig:
        rig.p.script = fails(ErrorKind.AUTH_ERROR, "key", status=403)
        rig.providers["q"].script = fails(ErrorKind.MODEL_NOT_FOUND, "model")
        told = await rig.event("completion:error", await rig.submit())
        assert (told["kind"], told["error"], told["attempts"]) == ("model_not_found", "model", 1)


# --- who is waited for ---------------------------------------------------------------------


async def test_all_open_is_waited_for_in_the_queue_with_the_probe_named(tmp_path: Path) -> None:
    clock = HandClock()
    circuit = {"fail_max": 1, "reset_timeout_s": 30}
    settings = config(
        tmp_path,
        engine={"max_concurrency": 1},
        providers=[
            provider("p", "m1", circuit=circuit),
            provider("q", "m1", priority=2, circuit={**circuit, "reset_timeout_s": 20}),
            provider("other", "n1"),
        ],
        retry={"max_attempts": 1},
    )
    async with running(settings, clock=clock) as rig:
        rig.p.script = rig.providers["q"].script = BOOM
        await rig.ended(await rig.submit("opens both"))
        assert [e["to"] for e in rig.events("provider:circuit")] == ["open", "open"]
        waiting = await rig.submit("waits")
        status = await rig.status(waiting)
        assert (status["status"], status["why"]) == ("queued", "q open, probe in 20 s")
        assert (status["cause"]["kind"], status["cause"]["target"]) == ("circuit", "q")
        assert status["if_nobody_acts"] == "in 20 s a probe may go to q"
        await rig.ended(await rig.submit("not held up", model="n1"))
        rig.providers["q"].script = answers
        rig.advance(20.1)
        await rig.ended(waiting)
        assert (await rig.status(waiting))["attempts_spent"] == 1
        assert rig.events("provider:circuit")[-1]["to"] == "closed"


async def test_exactly_one_probes_and_the_others_follow_its_answer(tmp_path: Path) -> None:
    clock = HandClock()
    circuit = {"fail_max": 1, "reset_timeout_s": 30}
    settings = config(
        tmp_path, providers=[provider("p", circuit=circuit)], retry={"max_attempts": 1}
    )
    async with running(settings, clock=clock) as rig:
        rig.p.script = BOOM
        await rig.ended(await rig.submit("opens"))
        rig.p.script = held
        ids = [await rig.submit(f"{number}") for number in range(5)]
        rig.advance(31)
        (_, probe) = await rig.calls(2)
        assert await rig.why(ids[1]) == "p probing"
        rig.advance(1)
        assert len(rig.p.calls) == 2
        probe.go.set()
        for up in (await rig.calls(6))[2:]:
            up.go.set()
        await rig.ended(*ids)


async def test_a_failed_probe_opens_for_twice_as_long(tmp_path: Path) -> None:
    clock = HandClock()
    circuit = {"fail_max": 1, "reset_timeout_s": 10}
    settings = config(
        tmp_path, providers=[provider("p", circuit=circuit)], retry={"max_attempts": 1}
    )
    async with running(settings, clock=clock, scripts={"p": BOOM}) as rig:
        await rig.ended(await rig.submit("opens"))
        first, second = await rig.submit("probe"), await rig.submit("waits")
        rig.advance(10)
        await rig.ended(first)
        assert await rig.why(second) == "p open, probe in 20 s"


async def test_a_cancelled_probe_gives_its_turn_to_the_next(tmp_path: Path) -> None:
    clock = HandClock()
    circuit = {"fail_max": 1, "reset_timeout_s": 10}
    settings = config(
        tmp_path, providers=[provider("p", circuit=circuit)], retry={"max_attempts": 1}
    )
    async with running(settings, clock=clock, scripts={"p": BOOM}) as rig:
        await rig.ended(await rig.submit("opens"))
        rig.p.script = held
        probe, second = await rig.submit("probe"), await rig.submit("second")
        rig.advance(10)
        await rig.calls(2)
        await rig.emit("completion:cancel", request_id=probe)
        (await rig.calls(3))[2].go.set()
        await rig.ended(second)
        assert rig.p.calls[2].prompt == "second"


@pytest.mark.parametrize("kind", [ErrorKind.AUTH_ERROR, ErrorKind.QUOTA_EXCEEDED])
async def test_a_circuit_that_does_not_heal_is_not_waited_for(
    tmp_path: Path, kind: ErrorKind
) -> None:
    script = fails(kind, "sorry", status=401)
    async with running(config(tmp_path), scripts={"p": script}) as rig:
        first, second = await rig.submit("1"), await rig.submit("2", session_id="s")
        await rig.ended(first, second)
        told = await rig.event("completion:error", second)
        assert told["kind"] == kind
        third = await rig.event("completion:error", await rig.submit("3"))
        assert (third["kind"], third["attempts"]) == (kind, 0)
        assert "sorry" in third["error"]
        assert (await rig.emit("completion:provider_status", provider="p"))["circuit_breaker"][
            "reason"
        ]


async def test_but_its_healthy_neighbour_is(tmp_path: Path) -> None:
    settings = config(
        tmp_path, providers=[provider("p"), provider("q", priority=2, max_concurrency=1)]
    )
    async with running(settings) as rig:
        rig.p.script = fails(ErrorKind.AUTH_ERROR, "key", status=401)
        rig.providers["q"].script = held
        first = await rig.submit("1")
        await rig.calls(1, "q")
        second = await rig.submit("2")
        assert await rig.why(second) == "q at 1 of 1"
        rig.providers["q"].calls[0].go.set()
        (await rig.calls(2, "q"))[1].go.set()
        await rig.ended(first, second)
        assert rig.core.counts[State.COMPLETED] == 2


async def test_a_busy_neighbour_of_one_that_refused_is_waited_for(tmp_path: Path) -> None:
    settings = config(
        tmp_path, providers=[provider("p"), provider("q", priority=2, max_concurrency=1)]
    )
    async with running(settings) as rig:
        rig.p.script = in_turn(fails(ErrorKind.MODEL_NOT_FOUND), fails(ErrorKind.MODEL_NOT_FOUND))
        rig.providers["q"].script = held
        first = await rig.submit("1")
        await rig.calls(1, "q")
        second = await rig.submit("2")
        await rig.state(second, State.RETRYING)
        assert await rig.why(second) == "q at 1 of 1"
        rig.providers["q"].calls[0].go.set()
        (await rig.calls(2, "q"))[1].go.set()
        await rig.ended(first, second)
        assert len(rig.p.calls) == 2


async def test_a_neighbour_that_is_free_again_by_then_is_called_at_once(tmp_path: Path) -> None:
    settings = config(
        tmp_path, providers=[provider("p", max_concurrency=1), provider("q", priority=2)]
    )
    async with running(settings) as rig:
        rig.p.script = rig.providers["q"].script = held
        first = await rig.submit("1")
        await rig.calls(1)
        second = await rig.submit("2")
        (refusing,) = await rig.calls(1, "q")
        rig.p.calls[0].go.set()
        await rig.ended(first)
        refusing.fault = ProviderFault(ErrorKind.MODEL_NOT_FOUND, "not here")
        refusing.go.set()
        (await rig.calls(2))[1].go.set()
        await rig.ended(second)
        assert await verdicts(rig, second) == [("p", "full"), ("q", "taken"), ("p", "taken")]


async def test_a_429_cools_that_model_there_for_every_session(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, providers=[provider("p", "m1", "m2")], retry={"initial_delay_s": 1})
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(fails(ErrorKind.API_RATE_LIMIT, retry_after_s=25), answers)
        first = await rig.submit("1", session_id="a")
        await rig.state(first, State.RETRYING)
        second = await rig.submit("2", session_id="b")
        status = await rig.status(second)
        assert (status["status"], status["why"]) == ("queued", "p cooling (429), 25 s left")
        assert status["cause"]["kind"] == "cooldown"
        await rig.ended(await rig.submit("3", model="m2"))
        assert len(rig.p.calls) == 2
        shown = await rig.emit("completion:provider_status", provider="p")
        assert shown["cooldown_until"] == "2027-01-15T08:00:25.000Z"
        assert shown["circuit_breaker"]["state"] == "closed"
        rig.advance(26)
        await rig.ended(first, second)


async def test_each_waits_for_its_own_provider_however_long_another_takes(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(
        tmp_path,
        providers=[provider("p", "m1"), provider("q", "n1")],
        retry={"max_attempts": 1},
    )
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(fails(ErrorKind.API_RATE_LIMIT, retry_after_s=5), answers)
        rig.providers["q"].script = in_turn(
            fails(ErrorKind.API_RATE_LIMIT, retry_after_s=200), answers
        )
        await rig.ended(await rig.submit("x"), await rig.submit("y", model="n1"))
        soon = await rig.submit("soon")
        await until(lambda: rig.core.alarms.count("providers") == 1)
        late = await rig.submit("late", model="n1")
        await until(lambda: rig.core.alarms.count("providers") == 2)
        rig.advance(6)
        await rig.ended(soon)
        assert (await rig.why(late)).startswith("q cooling (429)")
        rig.advance(195)
        await rig.ended(late)


async def test_a_model_that_one_provider_lacks_is_neutral_to_it(tmp_path: Path) -> None:
    settings = config(
        tmp_path, providers=[provider("p", circuit={"fail_max": 1}), provider("q", priority=2)]
    )
    script = fails(ErrorKind.MODEL_NOT_FOUND, "no such model", status=404)
    async with running(settings, scripts={"p": script}) as rig:
        await rig.ended(await rig.submit())
        circuit = (await rig.emit("completion:provider_status", provider="p"))["circuit_breaker"]
        assert (circuit["state"], circuit["recent_failures"]) == ("closed", 0)


async def test_an_open_circuit_is_still_open_after_a_restart(tmp_path: Path) -> None:
    clock = HandClock()
    circuit = {"fail_max": 1, "reset_timeout_s": 30}
    settings = config(
        tmp_path, providers=[provider("p", circuit=circuit)], retry={"max_attempts": 1}
    )
    async with running(settings, clock=clock, scripts={"p": BOOM}) as rig:
        await rig.ended(await rig.submit("opens"))
    clock.now += 10
    async with running(settings, clock=clock) as rig:
        request_id = await rig.submit("waits")
        assert await rig.why(request_id) == "p open, probe in 20 s"
        rig.advance(21)
        await rig.ended(request_id)
