"""The `openai` client, unchanged but for its base URL, over the simulated provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from tests.gateway.fixtures import Door, simulated


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with simulated(tmp_path) as door:
        yield door


def _ask(content: str = "one two three", model: str = "sim/echo") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": content}]}


async def _chunks(door: Door, **more: Any) -> list[ChatCompletionChunk]:
    stream = await door.openai.chat.completions.create(**_ask(), stream=True, **more)
    return [chunk async for chunk in stream]


async def test_a_whole_answer(door: Door) -> None:
    answer = await door.openai.chat.completions.create(**_ask())
    assert answer.object == "chat.completion"
    assert answer.model == "sim/echo"
    assert answer.choices[0].message.content == "one two three"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 3)
    assert answer._request_id is not None
    assert answer.id == f"chatcmpl-{answer._request_id}"


async def test_a_stream_has_the_role_first_then_text_then_its_end(door: Door) -> None:
    chunks = await _chunks(door)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "one two three"
    assert len(chunks) > 3, "the text came in one piece"
    assert [c.choices[0].finish_reason for c in chunks[-2:]] == [None, "stop"]
    assert len({(c.id, c.created, c.model, c.object) for c in chunks}) == 1
    assert all(c.usage is None for c in chunks)


async def test_usage_comes_last_when_it_is_asked_for(door: Door) -> None:
    chunks = await _chunks(door, stream_options={"include_usage": True})
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 6
    assert [c.usage for c in chunks[:-1]] == [None] * (len(chunks) - 1)


async def test_several_choices_whole_and_streamed(door: Door) -> None:
    answer = await door.openai.chat.completions.create(**_ask(), n=2)
    assert [(c.index, c.message.content) for c in answer.choices] == [
        (0, "one two three"),
        (1, "one two three"),
    ]
    texts = ["", ""]
    ends: dict[int, str | None] = {}
    for chunk in await _chunks(door, n=2):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                ends[choice.index] = choice.finish_reason
    assert texts == ["one two three"] * 2
    assert ends == {0: "stop", 1: "stop"}


async def test_both_choices_come_as_they_are_written(door: Door) -> None:
    order = [c.choices[0].index for c in await _chunks(door, n=2) if c.choices[0].delta.content]
    assert order == [0, 1] * 3


async def test_unknown_names_go_to_the_provider_as_they_are(door: Door) -> None:
    answer = await door.openai.chat.completions.create(**_ask(), extra_body={"sim": {"words": 7}})
    assert len((answer.choices[0].message.content or "").split()) == 7


@pytest.mark.parametrize(
    ("model", "error", "code"),
    [
        ("nobody", openai.NotFoundError, "model_not_found"),
        ("sim/none", openai.NotFoundError, "model_not_found"),
        ("sim/down", openai.InternalServerError, "provider_error"),
        ("sim/cut", openai.InternalServerError, "network_error"),
    ],
)
async def test_failures_are_the_clients_own_errors(
    door: Door, model: str, error: type[openai.APIStatusError], code: str
) -> None:
    with pytest.raises(error) as raised:
        await door.openai.chat.completions.create(**_ask(model=model))
    assert raised.value.code == code


async def test_a_stream_that_fails_before_its_text_fails_with_a_status(door: Door) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        await door.openai.chat.completions.create(**_ask(model="sim/down"), stream=True)
    assert raised.value.code == "provider_error"
    assert raised.value.response.headers["x-ksi-request-id"]


async def test_a_stream_that_breaks_off_raises_where_it_broke(door: Door) -> None:
    texts: list[str] = []
    stream = await door.openai.chat.completions.create(**_ask(model="sim/cut"), stream=True)

    async def read() -> None:
        async for chunk in stream:
            texts.append(chunk.choices[0].delta.content or "")  # noqa: PERF401 - before it raises

    with pytest.raises(openai.APIError) as raised:
        await read()
    assert "".join(texts) == "one"
    assert raised.value.code == "network_error"


async def test_a_rate_limit_says_when_to_ask_again(door: Door) -> None:
    asked = {**_ask(model="sim/limited"), "extra_body": {"sim": {"retry_after_s": 7}}}
    for _ in range(3):
        await door.openai.chat.completions.create(**asked)
    with pytest.raises(openai.RateLimitError) as raised:
        await door.openai.chat.completions.create(**asked)
    assert raised.value.code == "rate_limit_exceeded"
    assert raised.value.response.headers["retry-after"] == "7"


async def test_its_own_deadline_ends_a_request(door: Door) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        await door.openai.chat.completions.create(
            **_ask(model="sim/hang"), extra_headers={"X-Ksi-Timeout": "0.05"}
        )
    assert raised.value.status_code == 408
    assert raised.value.code == "deadline_exceeded"


async def test_models(door: Door) -> None:
    found = [model async for model in door.openai.models.list()]
    assert {model.id for model in found} >= {"sim/echo", "sim/slow"}
    assert all(model.owned_by == "sim" for model in found)
    assert not any("*" in model.id for model in found)
    assert (await door.openai.models.retrieve("sim/echo")).id == "sim/echo"
    with pytest.raises(openai.NotFoundError):
        await door.openai.models.retrieve("gpt-unknown")


async def test_many_at_once_get_each_its_own(door: Door) -> None:
    async def one(n: int) -> str | None:
        answer = await door.openai.chat.completions.create(**_ask(f"number {n}"))
        text: str | None = answer.choices[0].message.content
        return text

    assert await asyncio.gather(*map(one, range(20))) == [f"number {n}" for n in range(20)]
