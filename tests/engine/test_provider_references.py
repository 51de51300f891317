"""What a provider takes from the environment: resolved for its calls, named where it is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from ksi_tui.engine.errors import ErrorKind, ProviderFault
from ksi_tui.engine.providers.framing import Kind
from ksi_tui.engine.providers.litellm import LitellmProvider
from ksi_tui.engine.providers.pool import WorkerPool
from ksi_tui.engine.providers.process import Sink
from ksi_tui.engine.providers.tokens import Tokens
from ksi_tui.engine.providers.upstream import Upstream
from tests.servers.calling import Observer, settings, spec

ENVIRON = {"BASE": "http://127.0.0.1:9/v1", "TEAM": "support", "ACCESS": "of-the-gateway"}
ANSWER: dict[str, Any] = {
    "kind": Kind.ANSWER,
    "response": {},
    "text": "",
    "usage": {},
    "raw_usage": None,
    "cost": None,
    "price_version": None,
    "tool_schema_tokens": None,
    "cache_savings": None,
}


class Pool:
    """Answers at once and keeps what it was sent."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, Any]] = []

    def open(self, body: Mapping[str, Any], sink: Sink) -> int:
        self.sent.append(body)
        asyncio.get_running_loop().call_soon(sink.on_message, ANSWER)
        return 1


async def sent(environ: Mapping[str, str], asked: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
    """Return what a worker is sent for a call with `asked`; `own` are the provider's params."""
    pool = Pool()
    made = settings("os.environ/BASE", params=own)
    provider = LitellmProvider(made, cast(WorkerPool, pool), environ)
    await provider.call(spec(params=asked), Observer())
    return pool.sent[0]


async def test_references_of_the_settings_are_resolved_and_those_of_a_caller_are_not() -> None:
    own = {
        "user": "os.environ/TEAM",
        "extra_headers": {"x-api-key": "os.environ/ACCESS", "x-plain": "p"},
    }
    asked = {"stop": ["os.environ/ACCESS"], "extra_body": {"a": "os.environ/ACCESS"}}
    body = await sent(ENVIRON, asked, own)
    assert body["api_base"] == ENVIRON["BASE"]
    assert body["params"] == {
        "user": "support",
        "extra_headers": {"x-api-key": "of-the-gateway", "x-plain": "p"},
        **asked,
    }
    assert body["hidden_envs"] == ["ACCESS"]


async def test_a_variable_that_is_missing_is_named_before_anything_is_sent() -> None:
    with pytest.raises(ProviderFault) as caught:
        await sent({"TEAM": "t"}, {}, {"user": "os.environ/TEAM"})
    assert caught.value.kind is ErrorKind.AUTH_ERROR
    assert caught.value.message == (
        "the environment variable BASE, which is needed by provider upstream, is not set"
    )


class Litellm:
    """Refuses every call and keeps its arguments."""

    def __init__(self, message: str) -> None:
        self.message = message
        self.arguments: dict[str, Any] = {}

    async def acompletion(self, **arguments: Any) -> Any:
        self.arguments = arguments
        raise RuntimeError(self.message)


async def called(model: str, *, message: str = "no", **more: Any) -> tuple[dict[str, Any], Any]:
    """Return the arguments that litellm was given, and what was said of the call."""
    litellm = Litellm(message)
    said: list[dict[str, Any]] = []
    upstream = Upstream(litellm, Tokens(litellm, "1"), said.append, ENVIRON)
    request = {
        "model": model,
        "messages": [],
        "history": [],
        "stream": False,
        "params": {},
        "api_base": "http://127.0.0.1:9",
        "key_env": None,
        **more,
    }
    await upstream.call(1, request)
    return litellm.arguments, said[0]


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("openai/m", "none"),
        ("anthropic/m", "none"),
        ("azure/m", None),
        ("bedrock/m", None),
        ("vertex_ai/m", None),
    ],
)
async def test_a_made_up_key_never_hides_other_credentials(model: str, key: str | None) -> None:
    arguments, _ = await called(model)
    assert arguments.get("api_key") == key


async def test_no_secret_that_a_reference_names_leaves_the_worker() -> None:
    _, said = await called("openai/m", message="bad: of-the-gateway", hidden_envs=["ACCESS"])
    assert said["message"].endswith("bad: (hidden)")
