"""Clients that break off, send nonsense, or take their time: nothing is lost, nothing is hurt."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from ksi_tui.door import server, wire
from ksi_tui.door.server import Door
from tests.door.visiting import BOUND_S, fake_door, visiting
from tests.engine.engine_fixtures import config, running, until

BODY = b'{"request_id":"r-1"}'
WHOLE = (
    b"POST /events/completion:cancel HTTP/1.1\r\nHost: ksi\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
)


async def say(place: Path, sent: bytes) -> bytes:
    """Send bytes and return all that comes back until the door hangs up."""
    reader, writer = await asyncio.open_unix_connection(place)
    writer.write(sent)
    try:
        async with asyncio.timeout(BOUND_S):
            return await reader.read()
    finally:
        writer.close()


def connections(door: Door) -> int:
    assert door._runner is not None
    assert door._runner.server is not None
    return len(door._runner.server.connections)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /hello HTTP/9.9\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nno colon here\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nX-Long: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /hello?" + b"x" * (server.MOST_LINE + 10) + b" HTTP/1.1\r\n\r\n",
        b"GET /hello HTTP/1.1\r\n" + b"X-More: x\r\n" * 200 + b"\r\n",
        b"POST /events/a:b HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /events/a:b HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /events/a:b HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: x\r\n\r\n",
    ],
    ids=lambda sent: sent[:30],
)
async def test_what_is_no_http_is_refused_and_hung_up_on(
    sent: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with fake_door(tmp_path) as (engine, door, visitor):
        answer = await say(door.socket, sent)
        assert answer.split(b"\r\n")[0].split(b" ")[1] == b"400"
        assert b"Traceback" not in answer
        assert caplog.records == []  # nobody fills our log by sending nonsense
        assert (await visitor.get("/healthz"))[0] == 200
        assert engine.asked == []


async def test_a_chunk_that_is_none_is_refused(tmp_path: Path) -> None:
    head = b"POST /events/a:b HTTP/1.1\r\nHost: ksi\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with fake_door(tmp_path) as (engine, door, _):
        answer = await say(door.socket, head + b"zz\r\nnot a chunk\r\n0\r\n\r\n")
        assert b" 400 " in answer.split(b"\r\n")[0]
        assert engine.asked == []


async def test_breaking_off_at_any_byte_does_nothing(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, door, visitor):
        for length in range(len(WHOLE)):
            _, writer = await asyncio.open_unix_connection(door.socket)
            writer.write(WHOLE[:length])
            writer.close()
            await writer.wait_closed()
        assert (await visitor.emit("queue:pause", {}))[0] == 200
        assert [name for name, _ in engine.asked] == ["queue:pause"]
        await until(lambda: connections(door) == 1)  # the visitor's


async def test_breaking_off_after_the_last_byte_does_what_was_asked(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, door, _):
        _, writer = await asyncio.open_unix_connection(door.socket)
        writer.write(WHOLE)
        writer.close()
        await until(lambda: engine.finished == ["completion:cancel"])


async def test_a_head_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE_S", 0.2)
    async with fake_door(tmp_path) as (_, door, _visitor):
        assert await say(door.socket, b"") == b""
        assert await say(door.socket, WHOLE[:40]) == b""
        first = b"GET /healthz HTTP/1.1\r\nHost: ksi\r\n\r\n"
        answer = await say(door.socket, first + WHOLE[:40])  # nor the second one's
        assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_body_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "BODY_WITHIN_S", 0.05)
    async with fake_door(tmp_path) as (engine, door, _):
        reader, writer = await asyncio.open_unix_connection(door.socket)
        writer.write(WHOLE[:-5])
        answer = await asyncio.wait_for(reader.readuntil(b"}"), BOUND_S)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"invalid_request"' in answer
        assert engine.asked == []
        writer.close()


async def test_there_are_only_so_many_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 2)
    async with fake_door(tmp_path) as (_, door, _visitor):
        first = await asyncio.open_unix_connection(door.socket)
        second = await asyncio.open_unix_connection(door.socket)
        await until(lambda: connections(door) == 2)
        with suppress(ConnectionError):
            assert await say(door.socket, b"GET /healthz HTTP/1.1\r\nHost: ksi\r\n\r\n") == b""
        first[1].close()
        await until(lambda: connections(door) == 1)
        async with visiting(door.socket) as visitor:
            assert (await visitor.get("/healthz"))[0] == 200
        second[1].close()


async def test_nothing_is_lost_when_clients_come_and_go_all_the_time(tmp_path: Path) -> None:
    """What the engine accepted completes, whoever waited for the answer; the rest is not there."""
    async with (
        running(config(tmp_path)) as rig,
        Door(rig.engine, database=tmp_path / "ksi.db") as door,
    ):

        async def hasty(number: int) -> None:
            body = b'{"prompt":"p","request_id":"r%d"}' % number
            head = (
                b"POST /events/completion:async HTTP/1.1\r\nHost: k\r\nContent-Length: %d\r\n\r\n"
            )
            sent = head % len(body) + body
            _, writer = await asyncio.open_unix_connection(door.socket)
            writer.write(sent if number % 2 else sent[: -1 - number % 7])
            for _ in range(number % 5):
                await asyncio.sleep(0)
            writer.close()

        await asyncio.gather(*(hasty(number) for number in range(40)))
        await rig.ended(*(f"r{number}" for number in range(1, 40, 2)))
        await rig.settled()
        status = await rig.emit("completion:status")
        assert status["status_counts"]["completed"] == 20
        assert sum(status["status_counts"].values()) == 20
