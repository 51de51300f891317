"""`completion:failed`: failures that others report."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.control_payloads import OLD_WORDS
from ksi_tui.engine.errors import POLICY, ErrorKind
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

SCHEDULED, NOT_RETRYABLE = "retry_scheduled", "not_retryable"
NOT_FOUND, UNAVAILABLE = "not_found", "retry_unavailable"


async def report(rig: Rig, request_id: str, reason: str, **data: Any) -> dict[str, Any]:
    """Report a failure; the reply must be one of the four."""
    data.setdefault("message", "the other side said so")
    reply = await rig.emit("completion:failed", request_id=request_id, reason=reason, **data)
    assert "code" not in reply, reply
    assert reply["request_id"] == request_id
    assert reply["detail"]
    return reply


# --- words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        *[(kind.value, kind) for kind in ErrorKind],
        ("rate_limit", ErrorKind.API_RATE_LIMIT),
        ("Too Many Requests", ErrorKind.API_RATE_LIMIT),
        ("network", ErrorKind.NETWORK_ERROR),
        ("connection-lost", ErrorKind.NETWORK_ERROR),
        ("overloaded", ErrorKind.PROVIDER_ERROR),
        ("service_unavailable", ErrorKind.PROVIDER_ERROR),
        ("invalid_api_key", ErrorKind.AUTH_ERROR),
        ("context_length_exceeded", ErrorKind.CONTEXT_WINDOW),
        ("content_filter", ErrorKind.CONTENT_POLICY),
        ("timed_out", ErrorKind.TIMEOUT),
    ],
)
async def test_kinds_and_old_words_for_them(tmp_path: Path, word: str, kind: ErrorKind) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request = await rig.submit(max_attempts=1)
        await rig.calls(1)
        reply = await report(rig, request, word)
        if POLICY[kind].interruption:
            assert reply["status"] == SCHEDULED
            return
        assert reply["status"] == (UNAVAILABLE if POLICY[kind].retried else NOT_RETRYABLE)
        await rig.ended(request)
        assert (await rig.status(request))["error"]["kind"] == kind


def test_no_old_word_hides_a_kind() -> None:
    assert not OLD_WORDS.keys() & {kind.value for kind in ErrorKind}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"request_id": "r-1", "message": "m"}, "reason is missing"),
        ({"request_id": "r-1", "reason": "timeout"}, "message is missing"),
        ({"reason": "timeout", "message": "m"}, "request_id is missing"),
        ({"request_id": "r-1", "reason": "gremlins", "message": "m"}, "'gremlins' is no error"),
        ({"request_id": "r-1", "reason": "gremlins", "message": "m"}, "api_rate_limit"),
        ({"request_id": "r-1", "reason": "gremlins", "message": "m"}, "too_many_requests"),
        ({"request_id": "r-1", "reason": 5, "message": "m"}, "5 is no error kind"),
        (
            {
                "request_id": "r-1",
                "reason": "timeout",
                "message": "m",
                "completion_data": {"request_id": "r-2"},
            },
            "completion_data.request_id is 'r-2', request_id is 'r-1'",
        ),
    ],
)
async def test_what_is_wrong_is_named(tmp_path: Path, data: dict[str, Any], says: str) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.engine.emit("completion:failed", data)
        assert reply["code"] == "invalid_request"
        assert says in reply["error"]


# --- one that nobody knows -------------------------------------------------------------------


async def test_an_unknown_one_is_not_found(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        assert (await report(rig, "x-1", "timeout"))["status"] == NOT_FOUND
        assert (await report(rig, "x-1", "bad_request"))["status"] == NOT_FOUND


async def test_an_unknown_one_is_taken_in_with_what_was_asked(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        asked = {"prompt": "again, please", "session_id": "s", "model": "m2", "request_id": None}
        reply = await report(rig, "x-1", "connection_lost", completion_data=asked)
        assert reply["status"] == SCHEDULED
        await rig.ended("x-1")
        status = await rig.status("x-1")
        assert (status["session_id"], status["status"]) == ("s", "completed")
        assert rig.p.prompts == ["again, please"]
        # Reported again, it is known.
        asked["request_id"] = "x-1"
        reply = await report(rig, "x-1", "timeout", completion_data=asked)
        assert reply["status"] == UNAVAILABLE
        assert len(rig.p.calls) == 1


async def test_what_was_asked_may_stand_where_the_older_service_had_it(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        data = {"data": {"prompt": "again, please"}, "session_id": "of the older service"}
        assert (await report(rig, "x-1", "timeout", completion_data=data))["status"] == SCHEDULED
        await rig.ended("x-1")
        assert rig.p.prompts == ["again, please"]


async def test_what_would_fail_again_is_not_taken_in(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await report(rig, "x-1", "content_filter", completion_data={"prompt": "x"})
        assert reply["status"] == NOT_RETRYABLE
        assert (await rig.emit("completion:request_status", request_id="x-1"))["code"] == NOT_FOUND


async def test_data_that_is_no_request_is_refused_as_such(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        data = {"request_id": "x-1", "reason": "timeout", "message": "m"}
        reply = await rig.engine.emit("completion:failed", {**data, "completion_data": {}})
        assert reply["code"] == "invalid_request"
        assert "exactly one of prompt and messages" in reply["error"]
        unserved = {"prompt": "x", "model": "zzz"}
        reply = await rig.engine.emit("completion:failed", {**data, "completion_data": unserved})
        assert reply["code"] == "no_provider"


# --- one that runs ---------------------------------------------------------------------------


async def test_a_running_one_is_stopped_and_goes_again_after_its_backoff(tmp_path: Path) -> None:
    settings = config(tmp_path, retry={"initial_delay_s": 10}, circuit={"fail_max": 1})
    async with running(settings, clock=HandClock(), scripts={"p": held}) as rig:
        request = await rig.submit()
        (call,) = await rig.calls(1)
        call.say("half an ans")
        reply = await report(rig, request, "overloaded", message="gateway gave up")
        assert reply["status"] == SCHEDULED
        assert call.cancelled
        status = await rig.status(request)
        assert status["status"] == "retrying"
        assert status["why"] == "backoff 10 s (provider_error)"
        assert rig.ticket(request).attempts == 1
        (told,) = rig.events("completion:retrying", request)
        assert (told["kind"], told["error"]) == ("provider_error", "gateway gave up")
        await rig.event("completion:upstream_closed", request)
        (attempt,) = (await rig.status(request))["attempts"]
        (booked,) = attempt["calls"]
        assert booked["outcome"] == "failed"
        assert booked["error"]["kind"] == "provider_error"
        assert booked["error"]["message"] == "gateway gave up"
        shown = await rig.emit("completion:provider_status", provider="p")
        assert shown["circuit_breaker"]["state"] == "closed"
        assert shown["circuit_breaker"]["recent_failures"] == 0
        assert shown["stats"]["failed_calls"] == 0
        rig.advance(10)
        calls = await rig.calls(2)
        calls[1].go.set()
        await rig.ended(request)
        status = await rig.status(request)
        assert status["status"] == "completed"
        actions = [e for e in status["timeline"] if "report failure" in str(e)]
        assert len(actions) == 1
        await rig.settled()


async def test_without_an_attempt_left_it_fails(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request = await rig.submit(max_attempts=1)
        await rig.calls(1)
        reply = await report(rig, request, "server_error", message="it broke")
        assert reply["status"] == UNAVAILABLE
        assert "1 of 1 attempts failed" in reply["detail"]
        status = await rig.status(request)
        assert (status["status"], status["error"]["kind"]) == ("failed", "provider_error")
        await rig.settled()


async def test_without_enough_deadline_left_it_fails(tmp_path: Path) -> None:
    settings = config(tmp_path, retry={"initial_delay_s": 50})
    async with running(settings, clock=HandClock(), scripts={"p": held}) as rig:
        request = await rig.submit(timeout_s=20)
        await rig.calls(1)
        reply = await report(rig, request, "network")
        assert reply["status"] == UNAVAILABLE
        assert "deadline" in reply["detail"]


async def test_what_is_not_retried_stops_it_for_good(tmp_path: Path) -> None:
    providers = [provider("p", priority=1), provider("q", priority=2)]
    scripts = {"p": fails(ErrorKind.PROVIDER_ERROR), "q": held}
    async with running(config(tmp_path, providers=providers), scripts=scripts) as rig:
        request = await rig.submit(session_id="s")
        behind = await rig.submit(session_id="s")
        (call,) = await rig.calls(1, "q")
        rig.providers["q"].script = answers
        # Though the walk's other error would be retried.
        reply = await report(rig, request, "content_filter", message="no such talk")
        assert reply["status"] == NOT_RETRYABLE
        assert call.cancelled
        status = await rig.status(request)
        assert status["status"] == "failed"
        assert status["error"] == {"kind": "content_policy", "message": "no such talk"}
        await rig.ended(behind)
        await rig.settled()


async def test_an_interruption_spends_no_attempt(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": in_turn(held, answers)}) as rig:
        request = await rig.submit(max_attempts=1)
        await rig.calls(1)
        assert (await report(rig, request, "worker_lost"))["status"] == SCHEDULED
        await rig.ended(request)
        assert (await rig.status(request))["status"] == "completed"


async def test_one_that_has_just_been_dispatched_has_not_called_yet(tmp_path: Path) -> None:
    settings = config(tmp_path, retry={"initial_delay_s": 10})
    async with running(settings, clock=HandClock()) as rig:
        request = await rig.just_dispatched()
        reply = await report(rig, request, "timeout")
        assert reply["status"] == SCHEDULED
        assert rig.p.calls == []
        rig.advance(10)
        await rig.ended(request)
        await rig.settled()


async def test_two_reports_of_one_failure_count_once(tmp_path: Path) -> None:
    settings = config(tmp_path, retry={"initial_delay_s": 10})
    async with running(settings, clock=HandClock(), scripts={"p": held}) as rig:
        request = await rig.submit()
        await rig.calls(1)
        both = await asyncio.gather(*[report(rig, request, "timeout") for _ in range(2)])
        assert [reply["status"] for reply in both] == [SCHEDULED, SCHEDULED]
        assert rig.ticket(request).attempts == 1


async def test_a_late_close_of_the_stopped_call_is_still_booked(tmp_path: Path) -> None:
    settings = config(tmp_path, retry={"initial_delay_s": 10})
    async with running(settings, clock=HandClock(), scripts={"p": held}) as rig:
        rig.p.closes_at_once = False
        request = await rig.submit()
        (call,) = await rig.calls(1)
        await report(rig, request, "timeout")
        call.close(after_ms=7.0)
        await rig.event("completion:upstream_closed", request)
        (attempt,) = (await rig.status(request))["attempts"]
        assert attempt["calls"][0]["outcome"] == "failed"


# --- one that does not run -------------------------------------------------------------------


async def test_one_that_waits_goes_on_by_itself(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.submit(session_id="s")
        behind = await rig.submit(session_id="s")
        assert (await report(rig, behind, "timeout"))["status"] == SCHEDULED
        assert rig.ticket(behind).state is State.QUEUED
        assert (await report(rig, behind, "bad_request"))["status"] == NOT_RETRYABLE
        assert (await rig.status(behind))["error"]["kind"] == "invalid_request"


async def test_one_in_backoff_keeps_it(tmp_path: Path) -> None:
    settings = config(tmp_path, retry={"initial_delay_s": 10})
    script = fails(ErrorKind.PROVIDER_ERROR)
    async with running(settings, clock=HandClock(), scripts={"p": script}) as rig:
        request = await rig.submit()
        await rig.state(request, State.RETRYING)
        assert (await report(rig, request, "timeout"))["status"] == SCHEDULED
        assert rig.ticket(request).attempts == 1
        assert await rig.why(request) == "backoff 10 s (provider_error)"


@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_one_that_has_ended_goes_again(tmp_path: Path, how: str) -> None:
    script = in_turn(fails(ErrorKind.PROVIDER_ERROR), answers)
    async with running(config(tmp_path), scripts={"p": script}) as rig:
        if how == "cancelled":
            rig.p.script = in_turn(held, answers)
        request = await rig.submit(max_attempts=1)
        await rig.calls(1)
        if how == "cancelled":
            await rig.emit("completion:cancel", request_id=request)
        await until(lambda: request not in rig.core.tickets)
        assert (await rig.status(request))["status"] == how
        # It stays as it is for what would fail again.
        assert (await report(rig, request, "unauthorized"))["status"] == NOT_RETRYABLE
        assert (await rig.status(request))["status"] == how
        assert (await report(rig, request, "timeout"))["status"] == SCHEDULED
        await rig.event("completion:result", request)
        assert (await rig.status(request))["status"] == "completed"


async def test_one_that_has_completed_stays_so(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        request = await rig.submit()
        await rig.ended(request)
        assert (await report(rig, request, "timeout"))["status"] == UNAVAILABLE
        assert (await report(rig, request, "bad_request"))["status"] == NOT_RETRYABLE
        assert (await rig.status(request))["status"] == "completed"
        assert len(rig.p.calls) == 1


async def test_one_that_was_left_and_is_not_resumed_is_left(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request = await rig.submit()
        await rig.calls(1)
    async with running(config(tmp_path), resume=False) as rig:
        assert (await report(rig, request, "timeout"))["status"] == UNAVAILABLE
        assert rig.p.calls == []
