"""The whole way: the `openai` client, the gateway, a real litellm worker, a server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from openai import BadRequestError, InternalServerError, RateLimitError

from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine
from tests.engine.engine_fixtures import until
from tests.gateway.fixtures import Door, ask, content_of, door_to
from tests.servers.misbehaving import MisbehavingServer

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("warm_workers"),
]

MODES = ("ok", "ok@50", "tools", "two", "refusal", "reasoning", "hang", "429", "401", "400")


def _provider(mode: str, base: str) -> dict[str, Any]:
    name = mode.replace("@", "-")
    return {"name": name, "models": [name], "model": "openai/some-model", "api_base": base}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server() -> AsyncIterator[MisbehavingServer]:
    async with MisbehavingServer() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def door(
    server: MisbehavingServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Door]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    claude = {
        **_provider("claude", server.base("400").removesuffix("/v1")),
        "model": "anthropic/claude-haiku-4-5",
    }
    config = Config.model_validate(
        {
            "engine": {"database": str(folder / "ksi.db"), "shutdown_grace_s": 0},
            "retry": {"max_attempts": 1},
            "providers": [claude, *(_provider(mode, server.base(mode)) for mode in MODES)],
        }
    )
    async with CompletionEngine(config) as engine, door_to(engine) as door:
        yield door


def _arguments(events: list[Any]) -> dict[int, str]:
    """Return the arguments of a stream's tool calls, put together by their index."""
    found: dict[int, str] = {}
    for event in events:
        for choice in event["choices"] if event != "[DONE]" else ():
            for call in choice["delta"].get("tool_calls") or ():
                piece = call["function"].get("arguments") or ""
                found[call["index"]] = found.get(call["index"], "") + piece
    return found


async def test_a_stream_through_all_of_it(door: Door) -> None:
    answer = await door.openai.chat.completions.create(**ask(model="ok"))
    stream = await door.openai.chat.completions.create(**ask(model="ok-50"), stream=True)
    texts = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(texts).strip() == answer.choices[0].message.content
    assert len([text for text in texts if text]) > 5, "it came as it was written"


async def test_tool_calls_come_in_pieces(door: Door) -> None:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    answer = await door.openai.chat.completions.create(**ask(model="tools"), tools=tools)
    calls = answer.choices[0].message.tool_calls or []
    whole = {i: call.function.arguments for i, call in enumerate(calls) if call.type == "function"}
    assert answer.choices[0].finish_reason == "tool_calls"
    assert len(whole) == 2
    events = await door.stream(ask(model="tools", tools=tools))
    assert _arguments(events) == whole
    assert events[-2]["choices"][0]["finish_reason"] == "tool_calls"
    ids = [
        call["id"]
        for event in events[:-1]
        for choice in event["choices"]
        for call in choice["delta"].get("tool_calls") or ()
        if call.get("id")
    ]
    assert ids == [call.id for call in calls]


async def test_two_choices_stay_apart(door: Door) -> None:
    events = await door.stream(ask(model="two", n=2, stream_options={"include_usage": True}))
    assert [content_of(events, index) for index in range(2)] == ["left side", "right side"]
    ends = {c["index"]: c["finish_reason"] for e in events[:-2] for c in e["choices"]}
    assert ends == {0: "stop", 1: "stop"}
    assert events[-2]["choices"] == []
    assert events[-2]["usage"]["total_tokens"] > 0


async def test_a_refusal_and_a_thought_are_what_they_are(door: Door) -> None:
    refused = await door.stream(ask(model="refusal"))
    deltas = [c["delta"] for e in refused[:-1] for c in e["choices"]]
    assert "".join(d.get("refusal") or "" for d in deltas) == "I can't help with that."
    assert not content_of(refused)
    thought = await door.stream(ask(model="reasoning"))
    deltas = [c["delta"] for e in thought[:-1] for c in e["choices"]]
    assert "".join(d.get("reasoning_content") or "" for d in deltas) == "six by seven"
    assert content_of(thought) == "42"


async def test_every_parameter_reaches_the_provider(door: Door, server: MisbehavingServer) -> None:
    given: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_completion_tokens": 7,
        "stop": ["\n"],
        "seed": 3,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "logit_bias": {"50256": -100},
        "response_format": {"type": "json_object"},
        "reasoning_effort": "low",
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "user": "u1",
        "service_tier": "flex",
        "verbosity": "low",
    }
    unknown = {"top_k": 5, "guided_json": {"type": "object"}}
    await door.openai.chat.completions.create(**ask(model="ok", **given), extra_body=unknown)
    body = server.requests[-1].body
    assert {name: body.get(name) for name in given} == given
    assert {name: body.get(name) for name in unknown} == unknown
    assert "metadata" not in body


async def test_parameters_are_put_into_another_providers_words(
    door: Door, server: MisbehavingServer
) -> None:
    with pytest.raises(BadRequestError):
        await door.openai.chat.completions.create(**ask(model="claude", stop=["END"], top_p=0.5))
    body = server.requests[-1].body
    assert body["stop_sequences"] == ["END"]
    assert body["top_p"] == 0.5
    assert "stop" not in body


async def test_a_providers_failures_keep_their_meaning(door: Door) -> None:
    with pytest.raises(RateLimitError) as limited:
        await door.openai.chat.completions.create(**ask(model="429"))
    assert int(limited.value.response.headers["retry-after"]) >= 1
    with pytest.raises(InternalServerError) as auth:
        await door.openai.chat.completions.create(**ask(model="401"))
    assert (auth.value.status_code, auth.value.code) == (502, "provider_auth_error")
    with pytest.raises(BadRequestError) as bad:
        await door.openai.chat.completions.create(**ask(model="400"), stream=True)
    assert bad.value.code == "invalid_request"


async def test_who_leaves_closes_the_providers_own_connection(
    door: Door, server: MisbehavingServer
) -> None:
    stream = await door.begun(ask(model="ok-50"))
    await stream.text(1)
    seen = server.requests[-1]
    assert seen.ended_at is None
    stream.leave()
    await until(lambda: seen.ended_at is not None, "the upstream's connection is closed")
    assert seen.closed


async def test_who_leaves_a_provider_that_says_nothing_closes_its_connection(
    door: Door, server: MisbehavingServer
) -> None:
    before = len(server.requests)
    posting = asyncio.create_task(door.post(ask(model="hang")), name="post")
    await until(lambda: len(server.requests) > before)
    posting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await posting
    await until(lambda: server.requests[-1].ended_at is not None)
    assert server.requests[-1].closed
