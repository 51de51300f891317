"""What an attempt is: one walk, even where it has to wait for a candidate, and one number each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

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
from tests.engine.test_recovery import killed

UNKNOWN = fails(ErrorKind.MODEL_NOT_FOUND, "no such model", status=404)
NO_KEY = fails(ErrorKind.AUTH_ERROR, "no key", status=401)
BOOM = fails(ErrorKind.PROVIDER_ERROR, "boom", status=503)


def two(folder: Path, **retry: Any) -> Any:
    return config(
        folder,
        providers=[provider("p"), provider("q", priority=2, max_concurrency=1)],
        retry={"max_attempts": 1, **retry},
    )


async def laid_by(rig: Rig) -> tuple[str, str]:
    """Return a request that holds `q`, and one that `p` has refused and that waits for `q`."""
    rig.p.script = UNKNOWN
    rig.providers["q"].script = held
    first = await rig.submit("1")
    await rig.calls(1, "q")
    second = await rig.submit("2")
    await rig.state(second, State.RETRYING)
    return first, second


def summary(status: Mapping[str, Any]) -> list[Any]:
    """Return an attempt each: its number, whether it was spent, and its calls."""
    return [
        (
            attempt["attempt"],
            attempt["spent"],
            [(call["ordinal"], call["provider"], call["outcome"]) for call in attempt["calls"]],
        )
        for attempt in status["attempts"]
    ]


async def test_an_attempt_that_waits_for_a_busy_candidate_goes_on_as_the_same(
    tmp_path: Path,
) -> None:
    async with running(two(tmp_path)) as rig:
        first, second = await laid_by(rig)
        status = await rig.status(second)
        assert (status["why"], status["attempts_spent"]) == ("q at 1 of 1", 0)
        assert summary(status) == [(1, False, [(1, "p", "failed")])]
        rig.providers["q"].calls[0].go.set()
        await rig.calls(2, "q")
        status = await rig.status(second)
        assert summary(status)[0][2] == [(1, "p", "failed"), (2, "q", "running")]
        rig.providers["q"].calls[1].go.set()
        await rig.ended(first, second)
        status = await rig.status(second)
        assert (status["status"], status["attempts_spent"]) == ("completed", 1)
        assert summary(status) == [(1, True, [(1, "p", "failed"), (2, "q", "answered")])]
        verdicts = [(v["provider"], v["kind"]) for v in status["attempts"][0]["verdicts"]]
        assert verdicts == [("p", "taken"), ("q", "full"), ("q", "taken")]
        assert len(rig.p.calls) == 2  # one a request
        await rig.settled()


@pytest.mark.parametrize("max_attempts", [1, 2])
async def test_its_end_spends_one_and_never_more_than_there_are(
    tmp_path: Path, max_attempts: int
) -> None:
    async with running(two(tmp_path, max_attempts=max_attempts)) as rig:
        _, second = await laid_by(rig)
        rig.providers["q"].script = BOOM
        rig.providers["q"].calls[0].go.set()
        told = await rig.event("completion:error", second)
        assert (told["kind"], told["attempts"]) == ("provider_error", max_attempts)
        status = await rig.status(second)
        assert [attempt["spent"] for attempt in status["attempts"]] == [True] * max_attempts
        assert [call["provider"] for call in status["attempts"][0]["calls"]] == ["p", "q"]


async def test_when_who_it_waited_for_is_of_no_use_it_fails_as_it_had(tmp_path: Path) -> None:
    async with running(two(tmp_path)) as rig:
        _, second = await laid_by(rig)
        rig.providers["q"].calls[0].fail(ErrorKind.AUTH_ERROR, "no key", status=401)
        told = await rig.event("completion:error", second)
        assert (told["kind"], told["attempts"]) == ("model_not_found", 1)
        assert "no such model" in told["error"]
        assert "q is open and not waited for" in told["error"]
        assert summary(await rig.status(second)) == [(1, True, [(1, "p", "failed")])]
        await rig.settled()


async def test_who_will_not_be_back_by_himself_is_not_waited_for(tmp_path: Path) -> None:
    async with running(two(tmp_path)) as rig:
        rig.providers["q"].script = NO_KEY
        rig.p.script = UNKNOWN
        await rig.ended(await rig.submit("opens q"))
        told = await rig.event("completion:error", await rig.submit("then"))
        assert (told["kind"], told["attempts"]) == ("model_not_found", 1)


async def test_the_deadline_of_one_that_waits_spends_its_attempt(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(two(tmp_path), clock=clock) as rig:
        _, second = await laid_by(rig)
        rig.advance(901)
        told = await rig.event("completion:error", second)
        assert (told["kind"], told["attempts"]) == ("deadline_exceeded", 1)
        assert summary(await rig.status(second)) == [(1, True, [(1, "p", "failed")])]


async def test_one_that_waits_can_be_cancelled_and_go_again(tmp_path: Path) -> None:
    async with running(two(tmp_path)) as rig:
        first, second = await laid_by(rig)
        reply = await rig.emit("completion:cancel", request_id=second)
        assert reply["status"] == "cancelled"
        rig.providers["q"].calls[0].go.set()
        await rig.ended(first, second)
        rig.p.script = answers
        await rig.emit("completion:retry", request_id=second)
        await rig.settled()
        status = await rig.status(second)
        assert (status["status"], status["attempts_spent"]) == ("completed", 1)
        assert summary(status)[-1] == (2, True, [(1, "p", "answered")])


async def test_after_an_end_of_the_engine_it_is_walked_anew(tmp_path: Path) -> None:
    async with running(two(tmp_path)) as rig:
        _, second = await laid_by(rig)
    async with running(two(tmp_path), scripts={"p": UNKNOWN}) as rig:
        await rig.ended(second)
        status = await rig.status(second)
        assert (status["status"], status["attempts_spent"]) == ("completed", 1)
        assert summary(status) == [
            (1, False, [(1, "p", "failed")]),
            (2, True, [(1, "p", "failed"), (2, "q", "answered")]),
        ]


async def test_errors_that_are_retried_end_the_attempt_though_somebody_is_busy(
    tmp_path: Path,
) -> None:
    async with running(two(tmp_path)) as rig:
        first = await laid_by(rig)
        rig.p.script = in_turn(BOOM, answers)
        told = await rig.event("completion:error", await rig.submit("3"))
        assert (told["kind"], told["attempts"]) == ("provider_error", 1)
        rig.providers["q"].calls[0].go.set()
        (await rig.calls(2, "q"))[1].go.set()
        await rig.ended(*first)


async def test_an_attempt_cut_short_by_a_kill_is_told_and_its_number_is_not_used_again(
    tmp_path: Path,
) -> None:
    for life in ("first", "second"):
        # What ends after the dispatch of the other is on disk after it.
        asked = [{"prompt": each, "request_id": each} for each in ("cut", life)]
        seen: set[str] = set()
        async with killed(tmp_path, asked, ["cut"]) as lines:
            async for line in lines:
                seen |= {f"{key} {value}" for key, value in line.items()}
                if {"called cut", f"done {life}"} <= seen:
                    break
    async with running(config(tmp_path)) as rig:
        await rig.ended("cut")
        status = await rig.status("cut")
        assert summary(status) == [
            (1, False, []),
            (2, False, []),
            (3, True, [(1, "p", "answered")]),
        ]
        assert [each["error_kind"] for each in status["attempts"]] == [
            "daemon_restart",
            "daemon_restart",
            None,
        ]
        assert (status["attempts_spent"], status["interruptions"]) == (1, 2)
        begun = [each["started_at"] for each in status["attempts"]]
        assert begun == sorted(begun)
        assert begun[0] == status["started_at"]
        told = [entry for entry in status["timeline"] if entry["what"] == "interrupted"]
        assert [entry["text"] for entry in told] == [
            f"attempt {number} was cut short: the engine had ended" for number in (1, 2)
        ]
