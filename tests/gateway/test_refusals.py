"""What is refused, and how: OpenAI's error shape and the right status, whatever came."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.gateway import routing
from ksi_tui.gateway.faults import fault_of_kind, fault_of_reply
from tests.engine.engine_fixtures import Rig, fails, held, until
from tests.gateway.fixtures import CHAT, Door, ask, content_of, scripted

STATUS = {
    "api_rate_limit": (429, "rate_limit_exceeded"),
    "quota_exceeded": (429, "insufficient_quota"),
    "timeout": (504, "timeout"),
    "deadline_exceeded": (408, "deadline_exceeded"),
    "network_error": (502, "network_error"),
    "provider_error": (502, "provider_error"),
    "auth_error": (502, "provider_auth_error"),
    "model_not_found": (404, "model_not_found"),
    "invalid_request": (400, "invalid_request"),
    "context_window": (400, "context_length_exceeded"),
    "content_policy": (400, "content_policy_violation"),
    "temporary_failure": (502, "temporary_failure"),
    "lock_denied": (409, "lock_denied"),
    "daemon_restart": (503, "interrupted"),
    "worker_lost": (503, "interrupted"),
    "cancelled": (499, "cancelled"),
}
USER = {"role": "user", "content": "x"}


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Rig, Door]]:
    async with scripted(tmp_path) as pair:
        yield pair


def _is_shaped(body: Any) -> bool:
    error = body["error"]
    return set(error) == {"message", "type", "param", "code"} and bool(error["message"])


async def _raw(door: Door, data: bytes, kind: str = "application/json") -> tuple[int, Any]:
    headers = {"Content-Type": kind}
    async with door.http.post(CHAT, data=io.BytesIO(data), headers=headers) as response:
        return response.status, json.loads(await response.text())


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_every_kind_of_error_has_its_status(kind: ErrorKind) -> None:
    fault = fault_of_kind(str(kind), "said", 3.5)
    assert (fault.status, fault.code) == STATUS[kind]
    assert fault.status not in (401, 403), "those are the caller's own"


def test_the_credentials_a_provider_refused_are_not_told() -> None:
    fault = fault_of_kind("auth_error", "Incorrect API key provided: sk-12***89")
    assert "sk-12" not in fault.message


def test_every_refusal_of_the_engine_has_its_status() -> None:
    codes = {
        "invalid_request": 400,
        "not_found": 404,
        "not_ready": 503,
        "queue_full": 429,
        "no_provider": 404,
        "lock_denied": 409,
        "conflict": 409,
    }
    for code, status in codes.items():
        assert fault_of_reply({"code": code, "error": "e"}).status == status


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", [k for k in ErrorKind if k is not ErrorKind.CANCELLED])
async def test_a_failure_has_its_status_streamed_or_not(
    tmp_path: Path, kind: ErrorKind, stream: bool
) -> None:
    script = {"p": fails(kind, "said so")}
    async with scripted(tmp_path, script, retry={"max_attempts": 1}) as (_, door):
        status, body, headers = await door.post(ask(stream=stream))
        assert (status, body["error"]["code"]) == STATUS[kind]
        assert _is_shaped(body)
        assert headers["X-Ksi-Request-Id"]
        asks = status == 503 or kind is ErrorKind.API_RATE_LIMIT
        assert ("Retry-After" in headers) == asks


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content"),
        ({"messages": [USER, {"role": "tool", "content": "x"}]}, "messages[1].tool_call_id"),
        ({"model": 3}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"other": 1}}, "stream_options.other"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": [1]}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 1.5}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
        ({"stop": 3}, "stop"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": 1}, "tool_choice"),
        ({"response_format": "json"}, "response_format"),
        ({"logit_bias": {"1": "a"}}, "logit_bias.1"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"metadata": "m"}, "metadata"),
        ({"user": 1}, "user"),
    ],
)
async def test_what_is_wrong_is_named(
    pair: tuple[Rig, Door], change: dict[str, Any], param: str
) -> None:
    status, body, _ = await pair[1].post(ask(**change))
    assert (status, body["error"]["param"]) == (400, param)
    assert body["error"]["type"] == "invalid_request_error"
    assert _is_shaped(body)


async def test_no_messages_at_all(pair: tuple[Rig, Door]) -> None:
    status, body, _ = await pair[1].post({"model": "m1"})
    assert (status, body["error"]["code"]) == (400, "missing_required_parameter")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b"[" * 100_000,
        b'{"a":' * 101 + b"1" + b"}" * 101,
        b'{"messages":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"n": ' + b"9" * 5000 + b"}",
        b'{"a":1}x',
    ],
    ids=lambda raw: str(raw[:12]),
)
async def test_what_is_no_json_object(pair: tuple[Rig, Door], raw: bytes) -> None:
    status, body = await _raw(pair[1], raw)
    assert (status, body["error"]["code"]) == (400, "invalid_json")
    assert _is_shaped(body)


async def test_another_type_of_content_is_refused(pair: tuple[Rig, Door]) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        status, body = await _raw(pair[1], json.dumps(ask()).encode(), kind=kind)
        assert (status, body["error"]["code"]) == (415, "unsupported_media_type")
    assert not pair[0].p.calls


async def test_keys_are_not_taken_and_not_told(pair: tuple[Rig, Door]) -> None:
    status, body, _ = await pair[1].post(ask(api_key="sk-secret"))
    assert status == 400
    assert "api_key" in body["error"]["message"]
    assert "sk-secret" not in json.dumps(body)


async def test_half_a_surrogate_comes_back_as_it_went(pair: tuple[Rig, Door]) -> None:
    status, body, _ = await pair[1].post(ask("\ud800"))
    assert (status, body["choices"][0]["message"]["content"]) == (200, "re: \ud800")
    events = await pair[1].stream(ask("\ud800"))
    assert content_of(events) == "re: \ud800"


async def test_too_large_a_body(pair: tuple[Rig, Door]) -> None:
    status, body = await _raw(pair[1], json.dumps(ask("x" * 2_000_000)).encode())
    assert (status, body["error"]["code"]) == (413, "request_too_large")
    assert _is_shaped(body)
    assert (await pair[1].post(ask()))[0] == 200


async def test_a_body_that_does_not_come(
    pair: tuple[Rig, Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "BODY_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", pair[1].port)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
    async with asyncio.timeout(20):
        assert await reader.readline() == b"HTTP/1.1 408 Request Timeout\r\n"
    writer.close()
    await writer.wait_closed()


async def test_other_urls_and_methods(pair: tuple[Rig, Door]) -> None:
    http = pair[1].http
    for method, path, status in (
        ("POST", "/v1/embeddings", 404),
        ("GET", "/v1/", 404),
        ("GET", CHAT, 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/models/unknown", 404),
        ("GET", "/v1/models/of%0Atwo%0Alines", 404),
        ("POST", "/v1/of%0Atwo%0Alines", 404),
    ):
        async with http.request(method, URL(path, encoded=True)) as response:
            assert response.status == status, path
            assert ("Allow" in response.headers) == (status == 405)
            assert _is_shaped(await response.json())


async def test_a_full_queue_says_when_to_ask_again(tmp_path: Path) -> None:
    limits = {"max_concurrency": 1, "max_queue_depth": 1}
    async with scripted(tmp_path, {"p": held}, engine=limits) as (rig, door):
        await rig.submit("runs")
        await rig.calls(1)
        await rig.submit("waits")
        for stream in (False, True):
            status, body, headers = await door.post(ask(stream=stream))
            assert (status, body["error"]["code"]) == (429, "queue_full")
            assert headers["Retry-After"] == "2"


async def test_an_engine_that_has_ended_is_not_ready(pair: tuple[Rig, Door]) -> None:
    await pair[0].emit("system:shutdown", grace_s=0)
    for stream in (False, True):
        status, body, headers = await pair[1].post(ask(stream=stream))
        assert (status, body["error"]["code"]) == (503, "not_ready")
        assert "Retry-After" in headers
    async with pair[1].http.get("/v1/models") as response:
        assert response.status == 503


async def test_an_engine_that_ends_answers_who_waits(tmp_path: Path) -> None:
    async with scripted(tmp_path, {"p": held}) as (rig, door):
        posting = asyncio.create_task(door.post(ask()), name="post")
        await rig.calls(1)
        await rig.emit("system:shutdown", grace_s=0)
        status, body, _ = await posting
        assert (status, body["error"]["code"]) == (503, "not_ready")


async def test_a_fault_of_its_own_is_told_without_its_cause(
    pair: tuple[Rig, Door], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret of ours")

    monkeypatch.setattr(routing, "asked", broken)
    status, body, _ = await pair[1].post(ask())
    assert (status, body["error"]["code"]) == (500, "internal_error")
    assert "secret" not in json.dumps(body)
    assert "a request of the gateway failed" in caplog.text


async def test_a_fault_of_its_own_in_a_stream_ends_it_in_its_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripted(tmp_path, {"p": held}) as (rig, door):
        posting = asyncio.create_task(door.begun(ask()), name="post")
        (up,) = await rig.calls(1)
        up.say("Once")
        stream = await posting
        await stream.text(1)

        def broken(*_: object) -> None:
            raise RuntimeError("a secret of ours")

        monkeypatch.setattr("ksi_tui.gateway.story.Story.answer", broken)
        up.go.set()
        assert (await stream.next())["error"]["code"] == "internal_error"
        assert await stream.next() is None
        await until(lambda: not rig.engine._router._following)


@pytest.mark.parametrize("header", ["Idempotency-Key", "X-Ksi-Session", "X-Ksi-Agent"])
async def test_a_header_that_is_no_text_is_refused(pair: tuple[Rig, Door], header: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", pair[1].port)
    body = json.dumps(ask()).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    writer.write(head.encode() + header.encode() + b": a\xff\xfe\r\n")
    writer.write(f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    async with asyncio.timeout(20):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert _is_shaped(json.loads(answer.partition(b"\r\n\r\n")[2]))
    writer.close()
    await writer.wait_closed()


async def test_a_key_of_any_script_is_an_id(pair: tuple[Rig, Door]) -> None:
    status, answer, _ = await pair[1].post(ask(), Idempotency_Key="żółw-🐢")
    assert (status, answer["id"]) == (200, "chatcmpl-żółw-🐢")
