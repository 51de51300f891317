"""`Idempotency-Key` is the request's id: the same answer again, and nothing runs twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from ksi_tui.engine.errors import ErrorKind
from tests.engine.engine_fixtures import fails, held, until
from tests.gateway.fixtures import ask, content_of, scripted


def _but_message(told: tuple[int, Any, Any]) -> dict[str, Any]:
    return {name: value for name, value in told[1]["error"].items() if name != "message"}


async def test_the_same_key_again_gives_the_same_answer(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (rig, door):
        first = await door.post(ask(), Idempotency_Key="k1")
        again = await door.post(ask(), Idempotency_Key="k1")
        assert first[:2] == again[:2]
        assert first[0] == 200
        assert first[2]["X-Ksi-Request-Id"] == "k1"
        assert len(rig.p.calls) == 1


async def test_the_same_answer_may_come_as_a_stream(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (rig, door):
        await door.post(ask(), Idempotency_Key="k1")
        events = await door.stream(ask(), Idempotency_Key="k1")
        assert content_of(events) == "re: hello"
        assert events[0]["choices"][0]["delta"]["role"] == "assistant"
        assert events[-2]["choices"][0]["finish_reason"] == "stop"
        assert events[-1] == "[DONE]"
        assert len(rig.p.calls) == 1


async def test_the_same_key_at_the_same_time_runs_once(tmp_path: Path) -> None:
    async with scripted(tmp_path, {"p": held}) as (rig, door):
        both = [
            asyncio.create_task(door.post(ask(), Idempotency_Key="k1"), name=f"post {n}")
            for n in range(2)
        ]
        await rig.calls(1)
        await until(lambda: len(rig.engine._router._following["k1"]) == 2)
        rig.p.calls[0].go.set()
        (one, first, _), (other, second, _) = await asyncio.gather(*both)
        assert (one, other) == (200, 200)
        assert first == second
        assert len(rig.p.calls) == 1


async def test_one_that_joins_a_stream_has_all_of_its_text(tmp_path: Path) -> None:
    async with scripted(tmp_path, {"p": held}) as (rig, door):
        posting = asyncio.create_task(door.begun(ask(), Idempotency_Key="k1"), name="post")
        (up,) = await rig.calls(1)
        up.say("Once ")
        stream = await posting
        await stream.text(1)
        joining = asyncio.create_task(door.stream(ask(), Idempotency_Key="k1"), name="join")
        await until(lambda: len(rig.engine._router._following["k1"]) == 2)
        up.say("upon")
        up.answer = "Once upon"
        up.go.set()
        assert content_of(await joining) == "Once upon"
        assert await stream.text(1) == "upon"


async def test_another_body_under_a_key_is_refused(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (rig, door):
        await door.post(ask(), Idempotency_Key="k1")
        for other in (ask("another"), ask(temperature=1), ask(seed=1)):
            status, answer, _ = await door.post(other, Idempotency_Key="k1")
            assert status == 422
            assert answer["error"]["code"] == "idempotency_key_reused"
        assert len(rig.p.calls) == 1


async def test_a_key_opens_no_request_that_came_another_way(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (rig, door):
        request_id = await rig.submit("hello", model="m1")
        await rig.ended(request_id)
        status, answer, _ = await door.post(ask(), Idempotency_Key=request_id)
        assert status == 422
        assert "re: hello" not in str(answer)


async def test_a_failure_is_told_again_and_does_not_run_again(tmp_path: Path) -> None:
    async with scripted(tmp_path, {"p": fails(ErrorKind.CONTEXT_WINDOW, "too long")}) as (
        rig,
        door,
    ):
        first = await door.post(ask(), Idempotency_Key="k1")
        again = await door.post(ask(), Idempotency_Key="k1")
        assert first[0] == again[0] == 400
        assert _but_message(first) == _but_message(again)
        assert first[1]["error"]["code"] == "context_length_exceeded"
        assert first[1]["error"]["message"] in again[1]["error"]["message"]
        assert len(rig.p.calls) == 1


async def test_a_failure_that_is_told_again_does_not_ask_to_wait(tmp_path: Path) -> None:
    limited = fails(ErrorKind.API_RATE_LIMIT, "slow down", retry_after_s=3.0)
    async with scripted(tmp_path, {"p": limited}, retry={"max_attempts": 1}) as (rig, door):
        first = await door.post(ask(), Idempotency_Key="k1")
        assert (first[0], "Retry-After" in first[2]) == (429, True)
        for body in (ask(), ask(stream=True)):
            status, answer, headers = await door.post(body, Idempotency_Key="k1")
            assert status == 429
            assert "Retry-After" not in headers
            assert "takes a new key" in answer["error"]["message"]
            assert "slow down" in answer["error"]["message"]
        assert len(rig.p.calls) == 1


async def test_an_operators_cancel_is_not_undone_by_its_key(tmp_path: Path) -> None:
    async with scripted(tmp_path, {"p": held}) as (rig, door):
        posting = asyncio.create_task(door.post(ask(), Idempotency_Key="k1"), name="post")
        await rig.calls(1)
        await rig.emit("completion:cancel", request_id="k1", by="op1", reason="runaway")
        first = await posting
        again = await door.post(ask(), Idempotency_Key="k1")
        assert first[0] == again[0] == 499
        assert first[1]["error"]["message"] == "the request was cancelled by op1: runaway"
        assert "does not run again" in again[1]["error"]["message"]
        assert "the request was cancelled by op1: runaway" in again[1]["error"]["message"]
        assert len(rig.p.calls) == 1


async def test_a_refused_request_uses_up_no_key(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (_, door):
        status, _, _ = await door.post(ask(model="nobody"), Idempotency_Key="k1")
        assert status == 404
        status, _, _ = await door.post(ask(), Idempotency_Key="k1")
        assert status == 200


async def test_a_key_that_is_no_id_is_refused(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (_, door):
        for key in ("k" * 201, "", "a\u202eb"):
            status, answer, _ = await door.post(ask(), Idempotency_Key=key)
            assert status == 400
            assert answer["error"]["type"] == "invalid_request_error"
