"""Retries: by the engine itself, and by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine import dispatch
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
)

BOOM = fails(ErrorKind.PROVIDER_ERROR, "boom")


async def retry(rig: Rig, request_id: str, **data: Any) -> dict[str, Any]:
    return await rig.emit("completion:retry", request_id=request_id, **data)


# --- by the engine -------------------------------------------------------------------------


async def test_backoff_grows_is_told_and_counts_attempts_on_the_request(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 2, "multiplier": 2, "max_attempts": 3})
    async with running(settings, clock=clock, scripts={"p": BOOM}) as rig:
        request_id = await rig.submit()
        for attempt, delay_s in ((1, 2.0), (2, 4.0)):
            await rig.calls(attempt)
            await rig.state(request_id, State.RETRYING)
            told = rig.events("completion:retrying", request_id)[-1]
            assert (told["kind"], told["attempt"]) == ("provider_error", attempt)
            assert told["delay"] == told["delay_s"] == delay_s
            assert await rig.why(request_id) == f"backoff {delay_s:.0f} s (provider_error)"
            assert "attempt" in (await rig.status(request_id))["if_nobody_acts"]
            rig.advance(delay_s)
        told = await rig.event("completion:error", request_id)
        assert (told["kind"], told["attempts"]) == ("provider_error", 3)
        assert told["error"].startswith("boom")
        status = await rig.status(request_id)
        assert [a["spent"] for a in status["attempts"]] == [True] * 3
        assert [a["calls"][0]["error"]["message"] for a in status["attempts"]] == ["boom"] * 3


@pytest.mark.parametrize(
    "kind",
    [
        ErrorKind.INVALID_REQUEST,
        ErrorKind.CONTEXT_WINDOW,
        ErrorKind.CONTENT_POLICY,
        ErrorKind.MODEL_NOT_FOUND,
        ErrorKind.AUTH_ERROR,
        ErrorKind.QUOTA_EXCEEDED,
    ],
)
async def test_what_is_not_retried_fails_at_once(tmp_path: Path, kind: ErrorKind) -> None:
    async with running(config(tmp_path), scripts={"p": fails(kind, "no")}) as rig:
        request_id = await rig.submit()
        told = await rig.event("completion:error", request_id)
        assert (told["kind"], told["attempts"], told["error"]) == (kind, 1, "no")
        assert len(rig.p.calls) == 1


async def test_a_delay_that_would_pass_the_deadline_fails_at_once(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 30})
    async with running(settings, clock=clock, scripts={"p": BOOM}) as rig:
        request_id = await rig.submit(timeout_s=29)
        told = await rig.event("completion:error", request_id)
        assert told["kind"] == "provider_error"
        assert "after the deadline" in told["error"]


async def test_retry_after_is_obeyed_up_to_the_longest_cooldown(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, providers=[provider("p", circuit={"max_cooldown_s": 40})])
    script = in_turn(fails(ErrorKind.API_RATE_LIMIT, retry_after_s=9_999), answers)
    async with running(settings, clock=clock, scripts={"p": script}) as rig:
        request_id = await rig.submit()
        await rig.state(request_id, State.RETRYING)
        assert await rig.why(request_id) == "backoff 40 s (api_rate_limit)"
        rig.advance(39)
        assert len(rig.p.calls) == 1
        rig.advance(1.1)
        await rig.ended(request_id)


async def test_what_was_due_in_a_sleep_of_the_machine_is_noticed_soon_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "LATE_S", 0.01)
    clock = HandClock()
    script = in_turn(fails(ErrorKind.API_RATE_LIMIT, retry_after_s=300), answers)
    async with running(config(tmp_path), clock=clock, scripts={"p": script}) as rig:
        request_id = await rig.submit()
        await rig.state(request_id, State.RETRYING)
        clock.now += 300  # and no timer of the loop has advanced
        await rig.ended(request_id)


async def test_what_the_provider_itself_raises_is_retried_and_frees_its_slot(
    tmp_path: Path,
) -> None:
    async def broken(_: object) -> str:
        raise KeyError("a defect")

    settings = config(tmp_path, providers=[provider("p", max_concurrency=1)])
    async with running(settings) as rig:
        rig.p.script = in_turn(broken, answers)
        request_id = await rig.submit()
        await rig.ended(request_id)
        await rig.settled()
        first = (await rig.status(request_id))["attempts"][0]["calls"][0]
        assert first["error"]["kind"] == "temporary_failure"
        assert "a defect" in first["error"]["message"]


# --- interruptions -------------------------------------------------------------------------


async def test_lost_workers_spend_nothing_and_the_tenth_fails(tmp_path: Path) -> None:
    settings = config(tmp_path, retry={"max_attempts": 1, "initial_delay_s": 60})
    lost = fails(ErrorKind.WORKER_LOST, "the worker died")
    async with running(settings) as rig:
        rig.p.script = in_turn(*[lost] * 9, answers)
        survivor = await rig.submit()
        await rig.ended(survivor)
        status = await rig.status(survivor)
        assert (status["status"], status["attempts_spent"], status["interruptions"]) == (
            "completed",
            1,
            9,
        )
        assert [a["spent"] for a in status["attempts"]] == [False] * 9 + [True]
        rig.p.script = lost
        victim = await rig.submit()
        told = await rig.event("completion:error", victim)
        assert (told["kind"], told["attempts"]) == ("worker_lost", 0)
        status = await rig.status(victim)
        assert status["interruptions"] == 10
        assert not any(a["spent"] for a in status["attempts"])
        circuit = (await rig.emit("completion:provider_status", provider="p"))["circuit_breaker"]
        assert (circuit["state"], circuit["recent_failures"]) == ("closed", 0)


# --- by hand: what has ended ---------------------------------------------------------------


async def test_a_failed_one_joins_the_tail_with_a_fresh_budget(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"max_attempts": 2, "initial_delay_s": 10})
    async with running(settings, clock=clock) as rig:
        rig.p.script = BOOM
        request_id = await rig.submit("again", session_id="s", timeout_s=100)
        await rig.state(request_id, State.RETRYING)
        rig.advance(10)
        await rig.ended(request_id)
        rig.p.script = held
        await rig.submit("ahead", session_id="s")
        await rig.calls(3)
        tail = await rig.submit("tail", session_id="s")
        answer = await retry(rig, request_id, by="op", reason="it is back")
        assert answer["retried"] == [{"request_id": request_id, "was": "failed", "changed": True}]
        assert answer["status"] == "queued"
        told = rig.events("completion:queued", request_id)
        assert [(each.get("again", False), each["position"]) for each in told] == [
            (False, 1),
            (True, 2),
        ]
        assert await rig.why(request_id) == f"behind {tail} in its session"
        status = await rig.status(request_id)
        assert (status["attempts_spent"], status["error"], status["finished_at"]) == (0, None, None)
        assert status["deadline_left_s"] == 100
        for number in (3, 4):
            (await rig.calls(number))[-1].go.set()
        (await rig.calls(5))[4].fail(ErrorKind.PROVIDER_ERROR)
        await rig.state(request_id, State.RETRYING)
        rig.advance(10)
        (await rig.calls(6))[5].go.set()
        await rig.settled()
        assert rig.p.prompts == ["again", "again", "ahead", "tail", "again", "again"]
        status = await rig.status(request_id)
        assert (status["status"], status["attempts_spent"]) == ("completed", 2)
        assert [attempt["attempt"] for attempt in status["attempts"]] == [1, 2, 3, 4]
        assert [e["what"] for e in status["timeline"]].count("retry") == 1


async def test_in_place_undoes_a_cancel(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        ids = [await rig.submit(f"{number}", session_id="s") for number in range(4)]
        await rig.calls(1)
        await rig.emit("completion:cancel", request_id=ids[1])
        await rig.ended(ids[1])
        await retry(rig, ids[1], in_place=True)
        assert await rig.why(ids[1]) == f"behind {ids[0]} in its session"
        assert await rig.why(ids[2]) == f"behind {ids[1]} in its session"
        for number in range(4):
            (await rig.calls(number + 1))[number].go.set()
        await rig.settled()
        assert rig.p.prompts == ["0", "1", "2", "3"]


async def test_all_of_a_session_that_ended_badly(tmp_path: Path) -> None:
    settings = config(tmp_path, retry={"max_attempts": 1})
    async with running(settings) as rig:
        good = await rig.submit("good", session_id="s")
        await rig.ended(good)
        rig.p.script = BOOM
        bad = [await rig.submit(f"bad {number}", session_id="s") for number in range(2)]
        await rig.ended(*bad)
        rig.p.script = answers
        answer = await rig.emit("completion:retry", session_id="s")
        assert answer == {
            "retried": [{"request_id": each, "was": "failed", "changed": True} for each in bad]
        }
        await rig.settled()
        assert rig.core.counts[State.COMPLETED] == 3
        assert rig.core.counts[State.FAILED] == 0


async def test_a_backoff_in_a_session_ends_when_the_session_is_retried(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 60})
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(BOOM, answers)
        request_id = await rig.submit(session_id="s")
        await rig.state(request_id, State.RETRYING)
        behind = await rig.submit(session_id="s")
        answer = await rig.emit("completion:retry", session_id="s")
        assert [each["request_id"] for each in answer["retried"]] == [request_id]
        await rig.ended(request_id, behind)


@pytest.mark.parametrize("state", ["completed", "processing", "queued"])
async def test_anything_else_is_a_conflict(tmp_path: Path, state: str) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        first = await rig.submit("1", session_id="s")
        second = await rig.submit("2", session_id="s")
        (up,) = await rig.calls(1)
        target = second if state == "queued" else first
        if state == "completed":
            up.go.set()
            await rig.ended(first)
        answer = await retry(rig, target)
        assert answer["code"] == "conflict"
        assert f"{target} is {state}" in answer["error"]


async def test_retrying_twice_at_once_runs_it_once(tmp_path: Path) -> None:
    settings = config(tmp_path, retry={"max_attempts": 1})
    async with running(settings, scripts={"p": BOOM}) as rig:
        request_id = await rig.submit()
        await rig.ended(request_id)
        rig.p.script = held
        first = await retry(rig, request_id)
        second = await retry(rig, request_id)
        assert "code" not in first
        assert second["code"] == "conflict"
        (await rig.calls(2))[1].go.set()
        await rig.settled()
        assert len(rig.p.calls) == 2


async def test_a_cancel_just_after_a_retry_is_final(tmp_path: Path) -> None:
    settings = config(tmp_path, retry={"max_attempts": 1})
    async with running(settings, scripts={"p": BOOM}) as rig:
        request_id = await rig.submit()
        await rig.ended(request_id)
        await rig.settled()
        rig.p.script = held
        async with rig.engine.subscribe("completion:cancelled"):
            answer = await retry(rig, request_id)
            assert answer["retried"][0]["changed"] is True
            await rig.emit("completion:cancel", request_id=request_id)
        await rig.settled()
        assert (await rig.status(request_id))["status"] == "cancelled"
        assert dict(rig.core.counts) == dict(await rig.core.store.counts())


# --- by hand: what goes on -----------------------------------------------------------------


async def test_one_in_backoff_goes_now(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 60})
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(BOOM, answers)
        request_id = await rig.submit()
        await rig.state(request_id, State.RETRYING)
        answer = await retry(rig, request_id, by="op")
        assert answer["retried"] == [{"request_id": request_id, "was": "retrying", "changed": True}]
        await rig.ended(request_id)
        assert (await rig.status(request_id))["attempts_spent"] == 2


def two(**first: Any) -> list[dict[str, Any]]:
    return [provider("p", "m*", **first), provider("q", "m*", "n1", priority=2)]


async def test_a_running_one_is_sent_elsewhere(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=two(circuit={"fail_max": 1}))
    async with running(settings, scripts={"p": held}) as rig:
        request_id = await rig.submit("x", session_id="s")
        (up,) = await rig.calls(1)
        up.say("slow", 1)
        answer = await retry(rig, request_id, avoid=["p"], by="op", reason="slow")
        assert answer["retried"] == [
            {"request_id": request_id, "was": "processing", "changed": True}
        ]
        await rig.ended(request_id)
        assert up.cancelled
        up.say("late text of the stopped call")
        status = await rig.status(request_id)
        assert (status["status"], status["provider"], status["avoid"]) == ("completed", "q", ["p"])
        stopped, answered = (a["calls"][0] for a in status["attempts"])
        assert (stopped["outcome"], stopped["waste"], stopped["partial_text"]) == (
            "sent_elsewhere",
            True,
            "slow",
        )
        assert answered["outcome"] == "answered"
        assert [a["spent"] for a in status["attempts"]] == [False, True]
        assert status["attempts_spent"] == 1
        kinds = {v["provider"]: v["kind"] for v in status["attempts"][1]["verdicts"]}
        assert kinds == {"p": "avoided", "q": "taken"}
        circuit = (await rig.emit("completion:provider_status", provider="p"))["circuit_breaker"]
        assert (circuit["state"], circuit["recent_failures"]) == ("closed", 0)
        assert status["text"] == "re: x"


async def test_a_running_one_is_sent_to_another_model(tmp_path: Path) -> None:
    async with running(config(tmp_path, providers=two()), scripts={"p": held}) as rig:
        request_id = await rig.submit()
        await rig.calls(1)
        await retry(rig, request_id, model="n1")
        await rig.ended(request_id)
        status = await rig.status(request_id)
        assert (status["requested_model"], status["model"]) == ("m1", "n1")
        assert rig.providers["q"].calls[0].spec.model == "n1"


async def test_one_that_waits_is_sent_elsewhere_without_being_called(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", max_concurrency=1), provider("q", "n1")])
    async with running(settings, scripts={"p": held}) as rig:
        await rig.submit("holds the slot")
        await rig.calls(1)
        waiting = await rig.submit("waits")
        answer = await retry(rig, waiting, model="n1")
        assert answer["retried"] == [{"request_id": waiting, "was": "queued", "changed": True}]
        await rig.ended(waiting)
        assert rig.p.prompts == ["holds the slot"]


async def test_one_in_backoff_is_sent_elsewhere_at_once(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, providers=two(), retry={"initial_delay_s": 60})
    async with running(settings, clock=clock) as rig:
        rig.p.script = BOOM
        rig.providers["q"].script = in_turn(BOOM, answers)
        request_id = await rig.submit()
        await rig.state(request_id, State.RETRYING)
        await retry(rig, request_id, avoid=["p"])
        await rig.ended(request_id)
        assert (len(rig.p.calls), len(rig.providers["q"].calls)) == (1, 2)


async def test_sent_elsewhere_in_the_moment_of_its_dispatch(tmp_path: Path) -> None:
    async with running(config(tmp_path, providers=two())) as rig:
        request_id = await rig.just_dispatched()
        answer = await retry(rig, request_id, avoid=["p"])
        assert answer["retried"][0]["changed"] is True
        await rig.ended(request_id)
        await rig.settled()
        assert rig.p.calls == []


async def test_nowhere_else_is_a_conflict_and_changes_nothing(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit()
        (up,) = await rig.calls(1)
        answer = await retry(rig, request_id, avoid=["p"])
        assert answer["code"] == "conflict"
        assert "nothing was changed" in answer["error"]
        unknown = await retry(rig, request_id, avoid=["none"])
        assert unknown["code"] == "not_found"
        unserved = await retry(rig, request_id, model="unheard-of")
        assert unserved["code"] == "no_provider"
        up.go.set()
        await rig.ended(request_id)
        assert not up.cancelled


async def test_what_was_sent_elsewhere_stays_there_after_a_restart(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=two())
    async with running(settings, scripts={"p": held, "q": held}) as rig:
        request_id = await rig.submit()
        await rig.calls(1)
        await retry(rig, request_id, avoid=["p"])
        await rig.calls(1, "q")
    async with running(settings) as rig:
        await rig.ended(request_id)
        assert rig.p.calls == []
        assert len(rig.providers["q"].calls) == 1
