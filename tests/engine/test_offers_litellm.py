"""Models, windows, prices and token counts as a real litellm worker knows them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.offers import ANSWER_S
from tests.servers.calling import BOUND_S
from tests.servers.misbehaving import MisbehavingServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


def settings(folder: Path, server: MisbehavingServer) -> Config:
    base = server.base("ok")
    return Config.model_validate(
        {
            "engine": {"database": str(folder / "ksi.db"), "default_model": "gpt-3.5-turbo"},
            "providers": [
                {"name": "openai", "models": ["gpt-*"], "api_base": base},
                {"name": "azure", "models": ["gpt-4o"], "model": "azure/deployed", "priority": 2,
                 "params": {"base_model": "azure/gpt-4o-mini"}, "api_base": base},
                {"name": "any", "models": ["mistral/*"], "model": "mistral/{match}",
                 "api_base": base},
                {"name": "home", "models": ["home-*", "own"], "api_base": base},
            ],
            "prices": {"gpt-4o-mini": {"input": 1.5, "output": 3}},
        }
    )  # fmt: skip


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine(
    server: MisbehavingServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[CompletionEngine]:
    async with CompletionEngine(settings(tmp_path_factory.mktemp("offers"), server)) as engine:
        before = await engine.emit("completion:models")
        patterns = {row["model"] for row in before["models"] if row["pattern"]}
        assert {"gpt-*", "mistral/*", "home-*"} <= patterns, "no worker can have answered yet"
        preview = await engine.emit("completion:preview", {"prompt": "x", "session_id": "s"})
        assert preview["why_estimated"] == "the provider worker is starting"
        async with asyncio.timeout(BOUND_S):
            async for _ in engine.subscribe("worker:started"):
                if any(w.ready for w in engine._parts.pool.workers):  # type: ignore[union-attr]
                    break
        yield engine


async def listed(engine: CompletionEngine) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}

    async def told() -> bool:
        models = (await engine.emit("completion:models"))["models"]
        rows.update({row["model"]: row for row in models})
        return any(not row["pattern"] and row["window"] for row in models)

    async with asyncio.timeout(BOUND_S):
        while not await told():  # noqa: ASYNC110 - the worker is asked, nothing tells
            await asyncio.sleep(ANSWER_S / 10)
    return {name: row for name, row in rows.items() if name != "gpt-*"}


async def test_a_pattern_becomes_the_models_that_the_price_map_knows(
    engine: CompletionEngine,
) -> None:
    rows = await listed(engine)
    turbo = rows["gpt-3.5-turbo"]
    assert turbo["default"] is True
    assert turbo["window"] == 16_385
    assert (turbo["input_price"], turbo["output_price"]) == (0.5, 1.5)
    assert rows["gpt-4o"]["providers"] == ["openai", "azure"]
    assert rows["gpt-4o"]["window"] == 128_000
    assert "gpt-image-1" not in rows, "makes pictures, answers no completion"
    assert not any(name.startswith("claude") for name in rows)


async def test_prices_of_the_settings_stand_over_the_map(engine: CompletionEngine) -> None:
    rows = await listed(engine)
    mini = rows["gpt-4o-mini"]
    assert (mini["input_price"], mini["output_price"], mini["window"]) == (1.5, 3, 128_000)


async def test_a_route_prefix_in_the_pattern_stays_in_the_name(engine: CompletionEngine) -> None:
    rows = await listed(engine)
    assert rows["mistral/mistral-small-latest"]["providers"] == ["any"]
    assert rows["mistral/mistral-small-latest"]["input_price"] is not None


async def test_a_model_that_nobody_knows_stands_as_it_is(engine: CompletionEngine) -> None:
    rows = await listed(engine)
    own = rows["own"]
    assert (own["window"], own["input_price"], own["pattern"]) == (None, None, False)
    assert rows["home-*"]["pattern"] is True


async def test_a_preview_is_trimmed_and_counted_as_the_call_will_be(
    engine: CompletionEngine, server: MisbehavingServer
) -> None:
    long = "word " * 6000
    for number in range(4):
        await sent(engine, f"{number} {long}")
    data = {"prompt": "and now?", "system": "be short", "session_id": "s"}
    preview = await engine.emit("completion:preview", data)
    assert preview["estimated"] is False
    assert preview["why_estimated"] is None
    assert preview["window"] == 16_385
    assert (preview["turns"], preview["trimmed_turns"]) == (2, 2)
    assert 12_000 < preview["tokens"] < 16_385
    assert preview["messages"][0] == {"role": "system", "content": "be short"}
    await sent(engine, "and now?", system="be short")
    assert server.requests[-1].body["messages"] == preview["messages"]


async def sent(engine: CompletionEngine, prompt: str, **data: Any) -> None:
    async with asyncio.timeout(BOUND_S), engine.subscribe("completion:result") as events:
        reply = await engine.emit("completion:async", {"prompt": prompt, "session_id": "s", **data})
        assert "code" not in reply, reply
        async for event in events:
            if event.data.get("request_id") == reply["request_id"]:
                return
