"""The listener as a whole: where it may be, who acts by it, what it tells, and how it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from ksi_tui.access import tokens
from ksi_tui.access.audit import ACTED
from ksi_tui.access.connections import ListenFault, bound, parsed
from ksi_tui.access.guard import Guard
from ksi_tui.access.listening import Place, listening
from ksi_tui.access.roles import Role
from ksi_tui.access.tokens import TokenFault
from ksi_tui.door.opening import opened_door
from ksi_tui.engine import CompletionEngine
from ksi_tui.gateway.serving import BY
from tests.access.listener import BOUND_S, engine_config, running, token_file
from tests.engine.engine_fixtures import until

HANGS = {"prompt": "wait", "model": "sim/hang"}


# --- where ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("127.0.0.1:4000", ("127.0.0.1", 4000)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_an_address_is_host_and_port(address: str, found: tuple[str, int]) -> None:
    assert parsed(address) == found


@pytest.mark.parametrize(
    "address",
    [
        "",
        "4000",
        ":4000",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "::1:4000",
        "a:65536",
        "a:-1",
        "[]:1",
        "a:٣",
        "a:1 ",
    ],
)
def test_what_is_none_says_what_would_be(address: str) -> None:
    with pytest.raises(ListenFault, match="--listen"):
        parsed(address)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_other_machines_need_tokens(address: str) -> None:
    with pytest.raises(ListenFault, match="needs --tokens"):
        bound(address, anywhere=False)


def test_with_tokens_any_address_may_be(tmp_path: Path) -> None:
    file, _ = token_file(tmp_path)
    place = Place.take("0.0.0.0:0", file)
    try:
        assert place.sock.getsockname()[0] == "0.0.0.0"
        assert "whoever has a token" in place.told
    finally:
        place.close()


def test_a_file_without_tokens_opens_nothing(tmp_path: Path) -> None:
    with pytest.raises(TokenFault):
        Place.take("127.0.0.1:0", tmp_path / "none.json")


def test_a_port_that_is_taken_is_named() -> None:
    with bound("127.0.0.1:0", anywhere=False) as first:
        port = first.getsockname()[1]
        with pytest.raises(ListenFault, match=f"port {port} is taken"):
            bound(f"127.0.0.1:{port}", anywhere=False)


def test_a_name_that_nobody_knows_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "scripted")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ListenFault, match="no address"):
        bound("no-such-host.invalid:1", anywhere=True)


def test_a_name_that_leads_elsewhere_needs_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    found = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [found])
    with pytest.raises(ListenFault, match="needs --tokens"):
        bound("localhost:0", anywhere=False)


async def test_the_other_loopback_is_served_too(tmp_path: Path) -> None:
    try:
        bound("[::1]:0", anywhere=False).close()
    except ListenFault:
        pytest.skip("this machine has no IPv6; one that has runs it")
    async with running(tmp_path, address="[::1]:0") as listener:
        assert listener.url.startswith("http://[::1]:")
        assert (await listener.ask("GET", "/hello")).status == 200


async def test_the_agreed_shape_serves_and_gives_the_place_up(tmp_path: Path) -> None:
    config = engine_config(tmp_path)
    async with (
        CompletionEngine(config) as engine,
        opened_door(engine, config, "test") as host,
    ):
        door = await host.door()
        assert door is not None
        async with (
            listening(host, door, "127.0.0.1:0") as url,
            ClientSession() as session,
            session.get(f"{url}/hello") as response,
        ):
            assert (await response.json())["service"] == "ksi-tui"
        assert (await host.emit("completion:status", {}))["code"] == "not_ready"
    port = int(url.rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


# --- who ------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [{}, {"by": "somebody else"}])
async def test_a_token_signs_what_is_done_with_it(tmp_path: Path, said: dict[str, str]) -> None:
    async with running(tmp_path, guarded=True) as listener:
        token = listener.tokens[Role.OPERATE]
        answer = await listener.ask(
            "POST",
            "/events/queue:pause",
            token=token,
            headers={"X-Ksi-Operator": "somebody else"},
            json={"scope": "engine", **said},
        )
        assert answer.status == 200
        (pause,) = listener.engine.snapshot().pauses
        assert pause.by == "operate token"


async def test_without_tokens_who_says_who_they_are_is_believed(tmp_path: Path) -> None:
    async with running(tmp_path) as listener:
        headers = {"X-Ksi-Operator": "op1"}
        await listener.ask("POST", "/events/queue:pause", headers=headers, json={"scope": "engine"})
        assert [pause.by for pause in listener.engine.snapshot().pauses] == ["op1"]


async def test_who_is_attached_is_told_by_the_token(tmp_path: Path) -> None:
    async with running(tmp_path, guarded=True) as listener:
        token = listener.tokens[Role.VIEW]
        says = {"X-Ksi-Operator": "the boss", "X-Ksi-Kind": "dashboard"}
        attached = listener.stream("/events", token, says)
        await anext(attached)
        hello = await listener.ask("GET", "/hello", token=token)
        assert [each["operator"] for each in hello.json["attached"]] == ["view token"]
        metrics = await listener.ask("GET", "/metrics", token=token)
        assert "ksi_attached_clients 1.0" in metrics.text.splitlines()
        await attached.aclose()  # type: ignore[attr-defined]


async def test_every_acting_request_is_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(tmp_path, guarded=True) as listener:
        view, submit, operate = (listener.tokens[role] for role in Role)
        asked = {"prompt": "my secret prompt", "model": "sim/echo", "session_id": "s1"}
        put_in = await listener.ask("POST", "/events/completion:async", token=submit, json=asked)
        request_id = put_in.json["request_id"]
        await listener.ask("POST", "/events/completion:status", token=view, json={})
        await listener.ask("GET", "/hello", token=operate)
        await listener.ask(
            "POST", "/events/completion:cancel", token=operate, json={"request_id": "r-none"}
        )
        await listener.ask("POST", "/events/queue:pause", token=view, json={"scope": "engine"})
        noted = [vars(record) for record in caplog.records if record.getMessage() == ACTED]
        kept = tokens.read(listener.file or Path())
    assert [(each["did"], each["who"], each["status"], each["on"]) for each in noted] == [
        ("completion:async", "submit token", 200, {"request_id": request_id, "session_id": "s1"}),
        ("completion:cancel", "operate token", 404, {"request_id": "r-none"}),
    ]
    assert [each["who_id"] for each in noted] == [kept[1].id, kept[2].id]
    refused = [each for each in caplog.records if "role is too small" in each.getMessage()]
    assert [vars(each)["who"] for each in refused] == ["view token"]
    assert "secret prompt" not in caplog.text


async def test_a_call_whose_client_leaves_is_in_the_log_with_its_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def noted() -> list[dict[str, object]]:
        return [vars(record) for record in caplog.records if record.getMessage() == ACTED]

    async with running(tmp_path, guarded=True) as listener, ClientSession() as http:
        said = {"role": "user", "content": "hello"}
        long = {"words": 4000, "tokens_per_s": 20}
        body = {"model": "sim/slow", "stream": True, "messages": [said], "sim": long}
        head = {"Authorization": f"Bearer {listener.tokens[Role.SUBMIT]}"}
        url = f"{listener.url}/v1/chat/completions"
        async with http.post(url, json=body, headers=head) as response:
            assert response.status == 200
            request_id = response.headers["X-Request-Id"]
        await until(noted)
    (each,) = noted()
    assert (each["who"], each["on"]) == ("submit token", {"request_id": request_id})


@pytest.mark.parametrize(
    "header",
    ["Bearer wrong", "Basic {token}", "{token}", "Bearer", "Bearer ", "Bearer {token}x", "bearer"],
)
async def test_what_is_no_token_lets_nobody_in(tmp_path: Path, header: str) -> None:
    async with running(tmp_path, guarded=True) as listener:
        token = listener.tokens[Role.OPERATE]
        sent = {"Authorization": header.format(token=token)}
        assert (await listener.ask("GET", "/hello", headers=sent)).status == 401
        sent = {"Authorization": f"bEaReR  {token} "}
        assert (await listener.ask("GET", "/hello", headers=sent)).status == 200


@pytest.mark.parametrize("right_first", [False, True])
async def test_two_headers_let_nobody_in(tmp_path: Path, right_first: bool) -> None:
    async with running(tmp_path, guarded=True) as listener:
        both = [b"wrong", listener.tokens[Role.OPERATE].encode()]
        first, second = reversed(both) if right_first else both
        told = await listener.raw(
            b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Authorization: Bearer " + first + b"\r\n"
            b"Authorization: Bearer " + second + b"\r\n\r\n"
        )
        assert told.split(b" ", 2)[1] in (b"400", b"401")


@pytest.mark.parametrize("token", [b"\xff\xfe", "ключ".encode(), b"a" * 8_000, b"\t", b"ksi_"])
async def test_bytes_that_are_no_token_let_nobody_in(tmp_path: Path, token: bytes) -> None:
    async with running(tmp_path, guarded=True) as listener:
        told = await listener.raw(
            b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Authorization: Bearer " + token + b"\r\n\r\n"
        )
        assert told.split(b" ", 2)[1] in (b"400", b"401")


async def test_a_token_in_the_address_is_none(tmp_path: Path) -> None:
    async with running(tmp_path, guarded=True) as listener:
        token = listener.tokens[Role.OPERATE]
        for name in ("token", "access_token", "key"):
            assert (await listener.ask("GET", f"/hello?{name}={token}")).status == 401


async def test_tokens_are_told_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told = []
    async with running(tmp_path, guarded=True) as listener:
        token = listener.tokens[Role.VIEW]
        wrong = f"{token}x"
        for method, path in (
            ("GET", "/hello"),
            ("GET", "/metrics"),
            ("GET", "/snapshot"),
            ("GET", "/nowhere"),
            ("POST", "/events/queue:pause"),
            ("POST", "/events/completion:status"),
            ("POST", "/v1/chat/completions"),
        ):
            for each in (token, wrong):
                answer = await listener.ask(method, path, token=each, data=b"{")
                told.append(answer.text + str(answer.headers))
    secret = token[-20:]
    assert not [each for each in told if secret in each]
    assert secret not in caplog.text
    assert not [each for each in caplog.records if secret in repr(vars(each))]


async def test_a_token_that_is_revoked_ends_what_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ksi_tui.access.listening._LOOK_EVERY_S", 0.02)
    async with running(tmp_path, guarded=True) as listener:
        view, operate = listener.tokens[Role.VIEW], listener.tokens[Role.OPERATE]
        gone, stays = listener.stream("/events", view), listener.stream("/events", operate)
        await anext(gone)
        await anext(stays)
        assert listener.file is not None
        tokens.revoke(listener.file, "view token")
        assert (await listener.ask("GET", "/hello", token=view)).status == 401
        async with asyncio.timeout(BOUND_S):
            with suppress(Exception):  # however the client names a line that was cut
                async for _ in gone:
                    pass
        await listener.engine.emit("queue:pause", {"scope": "engine"})
        async with asyncio.timeout(BOUND_S):
            async for line in stays:
                if "queue:paused" in line:
                    break


async def test_what_a_revoked_token_had_asked_for_is_cancelled_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ksi_tui.access.listening._LOOK_EVERY_S", 0.02)
    asked = {**HANGS, "messages": [{"role": "user", "content": "x"}], "stream": True}
    del asked["prompt"]
    async with running(tmp_path, guarded=True) as listener:
        seen = listener.engine.subscribe("completion:*")
        token = listener.tokens[Role.SUBMIT]
        asking = asyncio.create_task(
            listener.ask("POST", "/v1/chat/completions", token=token, json=asked), name="asking"
        )
        async with asyncio.timeout(BOUND_S):
            async for event in seen:
                if event.name == "completion:progress":
                    assert listener.file is not None
                    tokens.revoke(listener.file, "submit token")
                if event.name == "completion:cancelled":
                    break
        assert (event.data["by"], event.data["reason"]) == (BY, "its client's token was revoked")
        await asyncio.wait([asking])
        assert asking.exception() is not None
        await seen.aclose()


async def test_looking_for_revoked_tokens_goes_on_after_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ksi_tui.access.listening._LOOK_EVERY_S", 0.001)
    looked: list[int] = []

    def end_revoked(_: Guard) -> None:
        looked.append(1)
        if len(looked) == 1:
            raise RuntimeError("scripted")

    monkeypatch.setattr(Guard, "end_revoked", end_revoked)
    async with running(tmp_path, guarded=True):
        async with asyncio.timeout(BOUND_S):
            while len(looked) < 3:  # noqa: ASYNC110 - the task's own beat
                await asyncio.sleep(0.001)
    assert "could not be looked up" in caplog.text


# --- how it ends ----------------------------------------------------------------------------


async def test_at_the_end_streams_end_and_the_engine_has_ended(tmp_path: Path) -> None:
    lines: list[str] = []
    async with running(tmp_path) as listener:
        stream = listener.stream("/events")
        lines.append(await anext(stream))

        async def rest() -> None:
            lines.extend([line async for line in stream])

        reading = asyncio.create_task(rest(), name="reading")
        engine = listener.engine
    await asyncio.wait([reading], timeout=BOUND_S)
    assert reading.done()
    assert (await engine.emit("completion:status", {}))["code"] == "not_ready"


@pytest.mark.parametrize("stream", [False, True])
async def test_who_waits_gets_the_answer_while_the_engine_drains(
    tmp_path: Path, stream: bool
) -> None:
    asked = {
        "model": "sim/slow",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": stream,
    }
    async with ClientSession() as session:
        async with running(tmp_path) as listener:
            asking = asyncio.create_task(
                answer(session, f"{listener.url}/v1/chat/completions", asked), name="asking"
            )
            seen = listener.engine.subscribe("completion:progress")
            async with asyncio.timeout(BOUND_S):
                await anext(seen)
                await anext(seen)
            assert not asking.done()
        status, text = await asyncio.wait_for(asking, BOUND_S)
    assert status == 200
    assert "hello" in text
    assert text.endswith("data: [DONE]\n\n") is stream


async def answer(session: ClientSession, url: str, data: Any) -> tuple[int, str]:
    async with session.post(url, json=data) as response:
        return response.status, await response.text()


@pytest.mark.parametrize("path", ["/events/completion:async", "/v1/chat/completions"])
async def test_who_breaks_off_at_any_byte_hurts_nobody(
    tmp_path: Path, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked = {"model": "sim/echo", "messages": [{"role": "user", "content": "hello"}]}
    body = json.dumps(asked).encode()
    async with running(tmp_path, guarded=True) as listener:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {listener.tokens[Role.SUBMIT]}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        whole = head.encode() + body
        for end in range(0, len(whole), 3):
            _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(whole[:end])
            writer.close()
        token = listener.tokens[Role.OPERATE]
        answer = await listener.ask("POST", "/events/completion:status", token=token, json={})
        assert answer.status == 200
        assert answer.json["active_completions"] == 0
        assert sum(answer.json["status_counts"].values()) == 0
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


# --- the gateway behind it --------------------------------------------------------------------


async def test_an_unchanged_client_is_served_by_its_token_and_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    asked = {"model": "sim/echo", "messages": [{"role": "user", "content": "hello"}]}
    async with running(tmp_path, guarded=True) as listener:
        token = listener.tokens[Role.SUBMIT]
        answer = await listener.ask("POST", "/v1/chat/completions", token=token, json=asked)
        assert answer.status == 200
        assert answer.json["choices"][0]["message"]["content"]
        request_id = answer.headers["X-Request-Id"]
    (noted,) = [vars(record) for record in caplog.records if record.getMessage() == ACTED]
    assert noted["did"] == "/v1/chat/completions"
    assert noted["who"] == "submit token"
    assert noted["on"] == {"request_id": request_id}


async def test_a_client_that_leaves_cancels_its_request(tmp_path: Path) -> None:
    asked = {**HANGS, "messages": [{"role": "user", "content": "x"}], "stream": True}
    del asked["prompt"]
    async with running(tmp_path) as listener:
        seen = listener.engine.subscribe("completion:*")
        asking = asyncio.create_task(
            listener.ask("POST", "/v1/chat/completions", json=asked), name="asking"
        )
        async with asyncio.timeout(BOUND_S):
            async for event in seen:
                if event.name == "completion:progress":
                    asking.cancel()
                if event.name == "completion:cancelled":
                    break
        await asyncio.wait([asking])
        await seen.aclose()
