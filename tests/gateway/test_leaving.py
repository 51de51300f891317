"""Clients that leave: what nobody waits for any more is cancelled upstream, unless detached."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind
from tests.engine.engine_fixtures import Upstream, fails, held, provider, until
from tests.gateway.fixtures import CHAT, Door, ask, content_of, scripted


async def _post_and_leave(door: Door, up: asyncio.Event, **headers: str) -> None:
    """Post a whole one and leave once its provider is called."""
    posting = asyncio.create_task(door.post(ask(), **headers), name="post")
    await up.wait()
    posting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await posting


async def test_leaving_a_stream_cancels_it_upstream(tmp_path: Path) -> None:
    async with scripted(tmp_path, {"p": held}) as (rig, door):
        posting = asyncio.create_task(door.begun(ask()), name="post")
        (up,) = await rig.calls(1)
        up.say("Once")
        stream = await posting
        await stream.text(1)
        stream.leave()
        await until(lambda: up.cancelled, "the provider's call is closed")
        report = await rig.status(stream.request_id)
        assert (report["status"], report["by"]) == ("cancelled", "gateway")
        assert report["reason"] == "its client disconnected"
        assert report["text"] == "Once"
        await rig.settled()
        closed = await rig.event("completion:upstream_closed", stream.request_id)
        assert closed["confirmed"]


async def test_leaving_a_whole_one_cancels_it_upstream(tmp_path: Path) -> None:
    called = asyncio.Event()

    async def holds(up: Upstream) -> str:
        called.set()
        return await held(up)

    async with scripted(tmp_path, {"p": holds}) as (rig, door):
        await _post_and_leave(door, called)
        await until(lambda: rig.p.calls[0].cancelled)
        await rig.settled()


async def test_leaving_the_line_cancels_what_never_ran(tmp_path: Path) -> None:
    async with scripted(tmp_path, {"p": held}, engine={"max_concurrency": 1}) as (rig, door):
        await rig.submit("first")
        await rig.calls(1)
        stream = await door.begun(ask("second"))
        stream.leave()
        await rig.ended(stream.request_id)
        assert (await rig.status(stream.request_id))["status"] == "cancelled"
        rig.p.calls[0].go.set()
        await rig.settled()
        assert rig.p.prompts == ["first"]


async def test_a_detached_one_goes_on_without_its_client(tmp_path: Path) -> None:
    called = asyncio.Event()

    async def holds(up: Upstream) -> str:
        called.set()
        return await held(up)

    async with scripted(tmp_path, {"p": holds}) as (rig, door):
        headers = {"X-Ksi-Detached": "true", "Idempotency-Key": "k1"}
        await _post_and_leave(door, called, **headers)
        await until(lambda: not rig.engine._router._following, "the gateway saw it leave")
        assert not rig.p.calls[0].cancelled
        rig.p.calls[0].go.set()
        await rig.ended("k1")
        status, answer, _ = await door.post(ask(), Idempotency_Key="k1")
        assert (status, answer["choices"][0]["message"]["content"]) == (200, "re: hello")
        assert len(rig.p.calls) == 1


async def test_who_joins_a_detached_one_does_not_end_it_by_leaving(tmp_path: Path) -> None:
    called = asyncio.Event()

    async def holds(up: Upstream) -> str:
        called.set()
        return await held(up)

    async with scripted(tmp_path, {"p": holds}) as (rig, door):
        headers = {"X-Ksi-Detached": "true", "Idempotency-Key": "k1"}
        await _post_and_leave(door, called, **headers)
        await until(lambda: not rig.engine._router._following)
        stream = await door.begun(ask(), Idempotency_Key="k1")
        stream.leave()
        await until(lambda: not rig.engine._router._following)
        assert not rig.p.calls[0].cancelled
        rig.p.calls[0].go.set()
        await rig.ended("k1")


async def test_the_last_of_several_who_leaves_ends_it(tmp_path: Path) -> None:
    async with scripted(tmp_path, {"p": held}) as (rig, door):
        first = asyncio.create_task(door.begun(ask(), Idempotency_Key="k1"), name="first")
        (up,) = await rig.calls(1)
        second = asyncio.create_task(door.begun(ask(), Idempotency_Key="k1"), name="second")
        await until(lambda: len(rig.engine._router._following["k1"]) == 2)
        up.say("Once")
        one, other = await first, await second
        assert [await one.text(1), await other.text(1)] == ["Once", "Once"]
        one.leave()
        await until(lambda: len(rig.engine._router._following["k1"]) == 1)
        up.say(" upon")
        assert await other.text(1) == " upon"
        assert not up.cancelled
        other.leave()
        await until(lambda: up.cancelled)
        await rig.settled()


async def test_one_that_left_and_comes_back_with_its_key_gets_an_answer(tmp_path: Path) -> None:
    async with scripted(tmp_path, {"p": held}) as (rig, door):
        posting = asyncio.create_task(door.begun(ask(), Idempotency_Key="k1"), name="post")
        (up,) = await rig.calls(1)
        up.say("Once")
        (await posting).leave()
        await until(lambda: up.cancelled)
        again = asyncio.create_task(door.post(ask(), Idempotency_Key="k1"), name="again")
        calls = await rig.calls(2)
        calls[1].go.set()
        status, answer, _ = await again
        assert (status, answer["choices"][0]["message"]["content"]) == (200, "re: hello")


@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_at_every_byte_of_the_request_harms_nothing(
    tmp_path: Path, stream: bool
) -> None:
    body = json.dumps(ask("hi", stream=stream)).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    async with scripted(tmp_path) as (rig, door):
        for cut in range(len(head) + len(body) + 1):
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            writer.write((head + body)[:cut])
            writer.close()
            await writer.wait_closed()
            del reader
        status, _, _ = await door.post(ask("still there"))
        assert status == 200
        await rig.settled()
        assert len(rig.p.calls) <= 2, "half a request is none"
        assert not rig.engine._router._following


async def test_leaving_at_every_point_of_the_answer_harms_nothing(tmp_path: Path) -> None:
    words = 8

    async def talks(up: Upstream) -> str:
        for _ in range(words):
            up.say("word ")
            await asyncio.sleep(0.001)
        return "word " * words

    async with scripted(tmp_path, {"p": talks}) as (rig, door):
        for count in range(words + 4):
            stream = await door.begun(ask())
            for _ in range(count):
                await stream.next()
            stream.leave()
        await until(lambda: not rig.engine._router._following)
        await rig.settled()
        assert content_of(await door.stream(ask())) == "word " * words


@pytest.mark.parametrize("held_up", ["completion:async", "completion:request_status"])
async def test_leaving_with_anothers_id_as_key_harms_it_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_up: str
) -> None:
    async with scripted(tmp_path, {"p": held}) as (rig, door):
        request_id = await rig.submit("another's")
        (up,) = await rig.calls(1)
        emit, asking, go = rig.engine.emit, asyncio.Event(), asyncio.Event()

        async def slow(name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
            if name == held_up:
                asking.set()
                await go.wait()
            return await emit(name, data)

        monkeypatch.setattr(rig.engine, "emit", slow)
        await _post_and_leave(door, asking, **{"Idempotency-Key": request_id})
        assert rig.engine._router.follows(request_id)
        go.set()
        await until(lambda: not rig.engine._router.follows(request_id))
        assert not up.cancelled
        up.go.set()
        await rig.ended(request_id)
        assert (await rig.status(request_id))["status"] == "completed"


async def test_leaving_while_it_is_put_in_cancels_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripted(tmp_path, {"p": held}) as (rig, door):
        emit, asking, go = rig.engine.emit, asyncio.Event(), asyncio.Event()

        async def slow(name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
            reply = await emit(name, data)
            if name == "completion:async":
                asking.set()
                await go.wait()
            return reply

        monkeypatch.setattr(rig.engine, "emit", slow)
        await _post_and_leave(door, asking, **{"Idempotency-Key": "k1"})
        go.set()
        await rig.ended("k1")
        assert (await rig.status("k1"))["status"] == "cancelled"
        await rig.settled()


async def test_a_broken_stream_ends_nothing_for_those_who_wait_for_the_whole(
    tmp_path: Path,
) -> None:
    async def breaks(up: Upstream) -> str:
        up.say("Once")
        await up.go.wait()
        return await fails(ErrorKind.NETWORK_ERROR)(up)

    two = [provider("a", priority=1), provider("b", priority=2)]
    async with scripted(tmp_path, {"a": breaks}, providers=two) as (rig, door):
        posting = asyncio.create_task(door.begun(ask(), Idempotency_Key="k1"), name="stream")
        (up,) = await rig.calls(1, "a")
        stream = await posting
        whole = asyncio.create_task(door.post(ask(), Idempotency_Key="k1"), name="whole")
        await until(lambda: len(rig.engine._router._following["k1"]) == 2)
        await until(lambda: not any(t.get_name() == "submit k1" for t in asyncio.all_tasks()))
        up.go.set()
        await stream.text(1)
        assert (await stream.next())["error"]["code"] == "stream_interrupted"
        status, answer, _ = await whole
        assert (status, answer["choices"][0]["message"]["content"]) == (200, "re: hello")
