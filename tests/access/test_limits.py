"""What one caller may take: bodies, headers, connections, requests, and time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ksi_tui.access.roles import Role
from tests.access.listener import BOUND_S, Listener, running

POST = "POST /events/completion:status HTTP/1.1\r\nHost: localhost\r\n"


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 1000):
        yield b" " * 1000


# --- bodies and headers ---------------------------------------------------------------------


async def test_a_body_that_is_too_large_is_refused_however_it_comes(tmp_path: Path) -> None:
    async with running(tmp_path, body_bytes=10_000) as listener:
        fits = b"{}" + b" " * 9_000
        assert (await listener.ask("POST", "/events/completion:status", data=fits)).status == 200
        for data in (b"{}" + b" " * 10_000, chunks(20_000)):
            answer = await listener.ask("POST", "/events/completion:status", data=data)
            assert answer.status == 413
            assert answer.json["code"] == "invalid_request"
            assert "10,000" in answer.json["error"]


async def test_a_body_that_says_it_is_too_large_is_not_waited_for(tmp_path: Path) -> None:
    async with running(tmp_path, body_s=3600) as listener:
        told = await listener.raw(POST.encode() + b"Content-Length: 1000000000\r\n\r\n{")
        assert status(told) == 413


async def test_what_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    import gzip

    async with running(tmp_path, body_bytes=100_000) as listener:
        bomb = gzip.compress(b" " * 1_000_000)
        assert len(bomb) < 10_000
        packed = {"Content-Encoding": "gzip"}
        path = "/events/completion:status"
        assert (await listener.ask("POST", path, data=bomb, headers=packed)).status == 413


async def test_the_gateways_paths_refuse_in_openais_shape(tmp_path: Path) -> None:
    async with running(tmp_path, guarded=True, body_bytes=1_000) as listener:
        answer = await listener.ask("POST", "/v1/chat/completions", data=b" " * 10)
        assert answer.status == 401
        error = answer.json["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
        token = listener.tokens[Role.SUBMIT]
        answer = await listener.ask("POST", "/v1/chat/completions", token=token, data=b" " * 2_000)
        assert answer.status == 413
        assert answer.json["error"]["type"] == "invalid_request_error"
        rebound = {"Host": "evil.example"}
        answer = await listener.ask("GET", "/v1/models", token=token, headers=rebound)
        assert answer.status == 421
        assert answer.json["error"]["code"] == "invalid_request"


@pytest.mark.parametrize(
    "head",
    [
        b"X-Long: " + b"a" * 40_000,
        b"X-Long: " + b"a" * 32_740,
        b"\r\n".join(b"X-%d: %s" % (n, b"a" * 900) for n in range(40)),
        b"\r\n".join(b"X-%d: a" % n for n in range(99)),
    ],
    ids=["far too long", "too long", "too much together", "too many"],
)
async def test_headers_that_are_too_large_are_refused(tmp_path: Path, head: bytes) -> None:
    async with running(tmp_path, header_count=90) as listener:
        told = await listener.raw(
            b"GET /hello HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\nConnection: close\r\n\r\n"
        )
        assert status(told) == 431
        assert b"aaaa" not in told
        assert b"X-1" not in told
        assert (await listener.ask("GET", "/healthz")).status == 200


async def test_a_long_line_is_431(tmp_path: Path) -> None:
    async with running(tmp_path) as listener:
        told = await listener.raw(b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: l\r\n\r\n")
        assert status(told) == 431
        token = b"ksi_01234567_secret" + b"a" * 40_000
        head = b"GET /hello HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token
        told = await listener.raw(head + b"\r\n\r\n")
        assert status(told) == 431
        assert b"secret" not in told


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03ksi_secret",
        b"ksi_secret\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: localhost\r\nksi_secret\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: localhost\r\nBad Name: ksi_secret\r\n\r\n",
        POST.encode() + b"Content-Length: -1\r\n\r\n",
        POST.encode() + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST.encode() + b"Transfer-Encoding: chunked\r\n\r\nksi_secret\r\n",
    ],
)
async def test_what_is_no_http_is_refused_without_its_words(
    tmp_path: Path, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with running(tmp_path) as listener:
        told = await listener.raw(sent)
        assert status(told) == 400
        assert b"secret" not in told
        assert (await listener.ask("GET", "/healthz")).status == 200
    assert "secret" not in caplog.text


# --- how often and how many -----------------------------------------------------------------


async def test_over_its_rate_a_caller_is_told_when_to_come_again(tmp_path: Path) -> None:
    async with running(tmp_path, guarded=True, requests_per_s=0.01, burst=3) as listener:
        view, submit = listener.tokens[Role.VIEW], listener.tokens[Role.SUBMIT]
        for _ in range(3):
            assert (await listener.ask("GET", "/hello", token=view)).status == 200
        answer = await listener.ask("GET", "/hello", token=view)
        assert answer.status == 429
        assert 0 < int(answer.headers["Retry-After"]) <= 100
        assert answer.json["code"] == "rate_limited"
        assert (await listener.ask("GET", "/hello", token=submit)).status == 200


async def test_without_tokens_the_rate_is_the_peers(tmp_path: Path) -> None:
    async with running(tmp_path, requests_per_s=0.01, burst=2) as listener:
        told = [(await listener.ask("GET", "/v1/models")).status for _ in range(3)]
        assert told[2] == 429
        assert 429 not in told[:2]


async def test_a_full_queue_says_when_to_come_again(tmp_path: Path) -> None:
    async with running(tmp_path) as listener:
        await listener.engine.emit("queue:pause", {"scope": "engine"})
        full = listener.engine.config.engine.max_session_depth
        asked = [{"prompt": "x", "session_id": "s"} for _ in range(full)]
        reply = await listener.engine.emit("completion:batch", {"requests": asked})
        assert "code" not in reply
        answer = await listener.ask("POST", "/events/completion:async", json=asked[0])
        assert answer.status == 429
        assert answer.json["code"] == "queue_full"
        assert answer.headers["Retry-After"] == "1"


async def test_a_stranger_may_not_ask_for_long(tmp_path: Path) -> None:
    async with running(tmp_path, guarded=True, strangers_per_s=0.01, strangers_burst=3) as listener:
        told = [await listener.ask("GET", "/hello", token="wrong") for _ in range(4)]
        assert [each.status for each in told] == [401, 401, 401, 429]
        assert "Retry-After" in told[3].headers
        right = listener.tokens[Role.VIEW]
        assert (await listener.ask("GET", "/hello", token=right)).status == 200


async def test_one_connection_too_many_is_turned_away(tmp_path: Path) -> None:
    async with running(tmp_path, connections=3) as listener:
        opened = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(3)]
        for reader, writer in opened:  # each is answered, so each is counted
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" in await reader.readline()
        told = await listener.raw(b"")
        assert status(told) == 429
        assert b"Retry-After: 1\r\n" in told
        opened[0][1].close()
        await opened[0][1].wait_closed()
        await served(listener)
        for _, writer in opened[1:]:
            writer.close()


# --- how slowly -----------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"GET /hel", b"GET /hello HTTP/1.1\r\nHost: loc"])
async def test_who_sends_no_head_is_cut_off(tmp_path: Path, sent: bytes) -> None:
    async with running(tmp_path, head_s=0.2) as listener:
        assert await listener.raw(sent) == b""


async def test_a_head_that_drips_is_cut_off_all_the_same(tmp_path: Path) -> None:
    async with running(tmp_path, head_s=0.3) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        dripping = asyncio.create_task(drip(writer))
        try:
            async with asyncio.timeout(BOUND_S):
                assert await all_of(reader) == b""
        finally:
            dripping.cancel()
            await asyncio.wait([dripping])
            writer.close()


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """Return all that comes until the connection ends, in whichever way."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def drip(writer: asyncio.StreamWriter) -> None:
    for sign in b"GET /hello HTTP/1.1\r\nX-Slow: " + b"a" * 10_000:
        writer.write(bytes([sign]))
        await asyncio.sleep(0.01)


async def test_the_next_head_on_a_connection_has_no_longer(tmp_path: Path) -> None:
    ask = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with running(tmp_path, head_s=0.5, idle_s=3600) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        async with asyncio.timeout(BOUND_S):
            writer.write(ask)
            await reader.readuntil(b"}")
            writer.write(ask[:8])
            assert await all_of(reader) == b""
        writer.close()


async def test_a_next_head_that_came_along_has_as_long_as_who_is_idle(tmp_path: Path) -> None:
    async with running(tmp_path, head_s=0.3, idle_s=0.6) as listener:
        told = await listener.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hel")
        assert status(told) == 200
        assert told.count(b"HTTP/1.1") == 1


async def test_a_connection_may_be_idle_for_longer_than_a_head_may_take(tmp_path: Path) -> None:
    ask = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with running(tmp_path, head_s=0.3, idle_s=3600) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        async with asyncio.timeout(BOUND_S):
            for _ in range(3):
                writer.write(ask)
                assert b"200" in await reader.readline()
                await reader.readuntil(b"}")
                await elapsed(0.6)
        writer.close()


async def test_who_is_idle_for_too_long_is_cut_off(tmp_path: Path) -> None:
    async with running(tmp_path, idle_s=0.2) as listener:
        told = await listener.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert told.count(b"HTTP/1.1 200") == 1


async def test_an_answer_may_take_longer_than_a_head(tmp_path: Path) -> None:
    async with running(tmp_path, head_s=0.3, idle_s=0.3) as listener:
        lines = listener.stream("/events")
        await anext(lines)
        await elapsed(0.7)
        await listener.engine.emit("queue:pause", {"scope": "engine"})
        async with asyncio.timeout(BOUND_S):
            async for line in lines:
                if "queue:paused" in line:
                    break


async def elapsed(seconds: float) -> None:
    """Let a while pass in which something must not happen."""
    await asyncio.sleep(seconds)


@pytest.mark.parametrize(("path", "code"), [("/hello", 401), ("/healthz", 200)])
async def test_a_stranger_is_not_kept(tmp_path: Path, path: str, code: int) -> None:
    async with running(tmp_path, guarded=True, idle_s=3600) as listener:
        ask = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        told = await listener.raw(ask.encode())
        assert status(told) == code
        assert b"Connection: close" in told


async def test_a_body_that_drips_is_cut_off(tmp_path: Path) -> None:
    async with running(tmp_path, body_s=0.2) as listener:
        told = await listener.raw(POST.encode() + b"Content-Length: 100\r\n\r\n{")
        assert status(told) == 408
        assert b"Connection: close" in told


async def test_no_body_is_waited_for_of_who_may_not_come(tmp_path: Path) -> None:
    async with running(tmp_path, guarded=True, body_s=3600) as listener:
        told = await listener.raw(POST.encode() + b"Content-Length: 100\r\n\r\n{")
        assert status(told) == 401


async def test_many_who_are_slow_keep_nobody_out(tmp_path: Path) -> None:
    async with running(tmp_path, head_s=0.3, connections=20) as listener:
        slow = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(30)]
        for _, writer in slow:
            writer.write(b"GET /hello HTTP/1.1\r\n")
        await served(listener)
        for _, writer in slow:
            writer.close()


async def served(listener: Listener) -> None:
    async with asyncio.timeout(BOUND_S):
        while (await listener.ask("GET", "/healthz")).status != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_the_system_drops_who_takes_nothing(tmp_path: Path) -> None:
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None:
        pytest.skip("the system has no such option; Linux does")
    seen: list[int] = []
    import ksi_tui.access.connections as ours

    class Watched(ours._Connection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            opened = transport.get_extra_info("socket")
            seen.append(opened.getsockopt(socket.IPPROTO_TCP, option))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ours, "_Connection", Watched)
        async with running(tmp_path, unread_s=7) as listener:
            await listener.ask("GET", "/healthz")
    assert seen == [7000]
