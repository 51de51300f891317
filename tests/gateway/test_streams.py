"""Streams as they come, over providers that a test holds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from ksi_tui.gateway import sink
from tests.engine.engine_fixtures import Upstream, fails, held, in_turn, provider, until
from tests.gateway.fixtures import ask, content_of, scripted

TWO = [provider("a", priority=1), provider("b", priority=2)]
CALL = {"index": 0, "id": "call_1", "type": "function"}


async def test_text_goes_out_as_it_comes(tmp_path: Path) -> None:
    async with scripted(tmp_path, {"p": held}) as (rig, door):
        posting = asyncio.create_task(door.begun(ask()), name="post")
        (up,) = await rig.calls(1)
        up.say("Hel")
        stream = await posting
        assert await stream.text(1) == "Hel"
        up.say("lo")
        assert await stream.text(1) == "lo"
        up.answer = "Hello"
        up.go.set()
        end = await stream.next()
        assert end["choices"] == [
            {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
        ]
        assert await stream.next() == "[DONE]"
        assert await stream.next() is None


async def test_what_waits_in_line_has_its_head_at_once(tmp_path: Path) -> None:
    async with scripted(tmp_path, {"p": held}, engine={"max_concurrency": 1}) as (rig, door):
        await rig.submit("first")
        await rig.calls(1)
        stream = await door.begun(ask("second"))
        assert rig.ticket(stream.request_id).state is State.QUEUED
        rig.p.of("first").go.set()
        await rig.calls(2)
        rig.p.of("second").say("re: second")
        rig.p.of("second").go.set()
        assert await stream.text(1) == "re: second"


async def test_a_silent_line_is_kept_open_by_comments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "CALLING_S", 0.01)
    monkeypatch.setattr(sink, "ALIVE_S", 0.01)
    async with scripted(tmp_path, {"p": held}) as (rig, door):
        stream = await door.begun(ask())
        async with asyncio.timeout(20):
            assert await stream.response.content.readline() == b": keep-alive\n"
            assert await stream.response.content.readline() == b"\n"
        rig.p.calls[0].go.set()
        assert await stream.text(1) == "re: hello"


async def test_a_failover_before_any_text_is_not_seen(tmp_path: Path) -> None:
    scripts = {"a": fails(ErrorKind.PROVIDER_ERROR)}
    async with scripted(tmp_path, scripts, providers=TWO) as (_, door):
        events = await door.stream(ask())
        assert content_of(events) == "re: hello"
        assert events[-1] == "[DONE]"


async def test_a_retry_before_any_text_is_not_seen(tmp_path: Path) -> None:
    async def answers_late(up: Upstream) -> str:
        up.say("re: hello")
        return "re: hello"

    script = in_turn(fails(ErrorKind.TIMEOUT), fails(ErrorKind.NETWORK_ERROR), answers_late)
    async with scripted(tmp_path, {"p": script}) as (rig, door):
        assert content_of(await door.stream(ask())) == "re: hello"
        assert len(rig.p.calls) == 3


async def test_a_failover_after_text_ends_the_stream_and_the_request(tmp_path: Path) -> None:
    async def breaks(up: Upstream) -> str:
        up.say("Once upon")
        return await fails(ErrorKind.NETWORK_ERROR)(up)

    async with scripted(tmp_path, {"a": breaks, "b": held}, providers=TWO) as (rig, door):
        events = await door.stream(ask())
        assert content_of(events) == "Once upon"
        assert events[-1]["error"]["code"] == "stream_interrupted"
        assert "[DONE]" not in events
        request_id = events[0]["id"].removeprefix("chatcmpl-")
        await rig.ended(request_id)
        report = await rig.status(request_id)
        assert (report["status"], report["by"]) == ("cancelled", "gateway")
        await rig.settled()


async def test_a_detached_one_goes_on_after_its_stream_broke(tmp_path: Path) -> None:
    async def breaks(up: Upstream) -> str:
        up.say("Once upon")
        return await fails(ErrorKind.NETWORK_ERROR)(up)

    async with scripted(tmp_path, {"a": breaks}, providers=TWO) as (rig, door):
        events = await door.stream(ask(), X_Ksi_Detached="1")
        assert events[-1]["error"]["code"] == "stream_interrupted"
        request_id = events[0]["id"].removeprefix("chatcmpl-")
        await rig.ended(request_id)
        assert (await rig.status(request_id))["status"] == "completed"


async def test_one_that_is_sent_elsewhere_after_text_ends_its_stream(tmp_path: Path) -> None:
    async with scripted(tmp_path, {"a": held, "b": held}, providers=TWO) as (rig, door):
        posting = asyncio.create_task(door.begun(ask()), name="post")
        (up,) = await rig.calls(1, "a")
        up.say("Once")
        stream = await posting
        await stream.text(1)
        await rig.emit("completion:retry", request_id=stream.request_id, avoid=["a"])
        assert (await stream.next())["error"]["code"] == "stream_interrupted"


async def test_an_operators_cancel_ends_the_stream(tmp_path: Path) -> None:
    async with scripted(tmp_path, {"p": held}) as (rig, door):
        posting = asyncio.create_task(door.begun(ask()), name="post")
        (up,) = await rig.calls(1)
        up.say("Once")
        stream = await posting
        await stream.text(1)
        told = {"request_id": stream.request_id, "by": "op1", "reason": "runaway"}
        await rig.emit("completion:cancel", **told)
        error = (await stream.next())["error"]
        assert error["code"] == "cancelled"
        assert error["message"] == "the request was cancelled by op1: runaway"
        assert await stream.next() is None


async def test_the_engines_end_ends_the_stream(tmp_path: Path) -> None:
    async with scripted(tmp_path, {"p": held}) as (rig, door):
        posting = asyncio.create_task(door.begun(ask()), name="post")
        (up,) = await rig.calls(1)
        up.say("Once")
        stream = await posting
        await stream.text(1)
        await rig.emit("system:shutdown", grace_s=0)
        assert (await stream.next())["error"]["code"] == "not_ready"
        assert await stream.next() is None


async def test_an_unstreamed_answer_is_streamed_at_its_end(tmp_path: Path) -> None:
    unstreaming = [provider("p", supports_streaming=False)]
    async with scripted(tmp_path, providers=unstreaming) as (rig, door):
        events = await door.stream(ask(stream_options={"include_usage": True}))
        assert not rig.p.calls[0].spec.stream
        assert content_of(events) == "re: hello"
        assert events[-2]["usage"] == {
            "prompt_tokens": 7,
            "completion_tokens": 3,
            "total_tokens": 10,
        }, "no usage from the provider: the engine's stands in"


async def test_a_whole_answer_is_not_streamed_upstream(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (rig, door):
        status, answer, headers = await door.post(ask())
        assert status == 200
        assert not rig.p.calls[0].spec.stream
        assert rig.p.calls[0].spec.on_deltas is None
        assert answer["choices"][0]["message"]["content"] == "re: hello"
        assert answer["usage"]["total_tokens"] == 10
        assert headers["X-Ksi-Request-Id"] == answer["id"].removeprefix("chatcmpl-")


async def test_tool_calls_and_logprobs_pass_as_they_come(tmp_path: Path) -> None:
    async def calls_a_tool(up: Upstream) -> str:
        assert up.spec.on_deltas is not None
        head = {**CALL, "function": {"name": "weather", "arguments": ""}}
        piece = {"index": 0, "function": {"arguments": '{"city"'}}
        up.spec.on_deltas("", 1, [{"index": 0, "delta": {"tool_calls": [head]}}])
        up.spec.on_deltas("", 1, [{"index": 0, "delta": {"tool_calls": [piece]}}])
        probs = {"content": [{"token": "x", "logprob": -0.1}]}
        up.spec.on_deltas("x", 1, [{"index": 1, "delta": {"content": "x"}, "logprobs": probs}])
        return "ignored"

    async with scripted(tmp_path, {"p": calls_a_tool}) as (_, door):
        events = await door.stream(ask(tools=[{"type": "function"}]))
        deltas = [(c["index"], c["delta"]) for e in events[:-1] for c in e["choices"]]
        assert deltas[0] == (0, {"role": "assistant", "content": None})
        assert deltas[1][1]["tool_calls"][0]["function"]["name"] == "weather"
        assert deltas[2][1]["tool_calls"][0]["function"]["arguments"] == '{"city"'
        assert deltas[3:5] == [(1, {"role": "assistant", "content": ""}), (1, {"content": "x"})]
        assert events[4]["choices"][0]["logprobs"]["content"][0]["token"] == "x"


async def test_nothing_is_left_of_streams(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (rig, door):
        await asyncio.gather(*(door.stream(ask(f"n{n}")) for n in range(20)))
        assert not rig.engine._router._following
        await rig.settled()


async def test_a_client_that_takes_nothing_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "STALLED_S", 0.05)
    async with scripted(tmp_path, {"p": held}) as (rig, door):
        posting = asyncio.create_task(door.begun(ask()), name="post")
        (up,) = await rig.calls(1)
        up.say("x")
        stream = await posting
        while not up.cancelled:
            up.say("x" * 1_000_000)
            await asyncio.sleep(0)
        await until(lambda: rig.events("completion:cancelled", stream.request_id))
        stream.leave()
