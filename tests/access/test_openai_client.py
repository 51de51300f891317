"""An unchanged client of OpenAI's behind tokens and limits: it raises what its user expects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest

from ksi_tui.access.roles import Role
from tests.access.listener import Listener, running


@asynccontextmanager
async def client(listener: Listener, token: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{listener.url}/v1", api_key=token, max_retries=0
    ) as found:
        yield found


async def said(api: openai.AsyncOpenAI) -> str | None:
    answer = await api.chat.completions.create(
        model="sim/echo", messages=[{"role": "user", "content": "hello there"}]
    )
    text: str | None = answer.choices[0].message.content
    return text


async def test_a_token_is_an_api_key(tmp_path: Path) -> None:
    async with running(tmp_path, guarded=True) as listener:
        async with client(listener, listener.tokens[Role.SUBMIT]) as api:
            whole = await said(api)
            stream = await api.chat.completions.create(
                model="sim/echo",
                messages=[{"role": "user", "content": "hello there"}],
                stream=True,
            )
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            models = [model.id async for model in api.models.list()]
        async with client(listener, listener.tokens[Role.VIEW]) as api:
            assert [model.id async for model in api.models.list()] == models
            with pytest.raises(openai.PermissionDeniedError, match="the role submit"):
                await said(api)
        async with client(listener, "sk-somebody-elses") as api:
            with pytest.raises(openai.AuthenticationError) as refused:
                await said(api)
            assert refused.value.code == "invalid_api_key"
    assert "hello there" in (whole or "")
    assert "".join(pieces) == whole


async def test_without_tokens_any_key_will_do(tmp_path: Path) -> None:
    async with running(tmp_path) as listener, client(listener, "sk-anything") as api:
        assert "hello there" in (await said(api) or "")


async def test_limits_are_the_errors_that_it_knows(tmp_path: Path) -> None:
    async with (
        running(tmp_path, requests_per_s=0.01, burst=2, body_bytes=2_000) as listener,
        client(listener, "sk-anything") as api,
    ):
        with pytest.raises(openai.APIStatusError) as large:
            await api.chat.completions.create(
                model="sim/echo", messages=[{"role": "user", "content": "x" * 3_000}]
            )
        assert large.value.status_code == 413
        await said(api)
        with pytest.raises(openai.RateLimitError) as often:
            await said(api)
        assert int(often.value.response.headers["Retry-After"]) > 0
