"""What a worker spares its calls: searches that find nothing, and litellm's own log."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from contextvars import ContextVar, copy_context
from enum import Enum
from functools import partial, wraps
from importlib import import_module
from types import ModuleType
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, NotGiven

from ksi_tui.engine.providers import left_out


async def test_a_body_is_sent_as_it_came_without_what_was_not_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    completions: Any = import_module("openai.resources.chat.completions.completions")
    monkeypatch.setattr(completions, "async_maybe_transform", completions.async_maybe_transform)
    left_out._search_of_bodies()
    messages = [{"role": "user", "content": "a question"}]
    body = {"model": "m", "messages": messages, "stop": None, "seed": NotGiven()}
    sent = await completions.async_maybe_transform(body, object)
    assert sent == {"model": "m", "messages": messages, "stop": None}
    assert sent["messages"] is messages


def test_cookies_are_kept_and_looked_for_only_where_some_are_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[httpx.Response] = []
    search = httpx.Cookies.extract_cookies

    def note(jar: httpx.Cookies, response: httpx.Response) -> None:
        looked.append(response)
        search(jar, response)

    monkeypatch.setattr(httpx.Cookies, "extract_cookies", note)
    left_out._idle_cookies()
    asked = httpx.Request("GET", "https://provider.invalid/")
    jar = httpx.Cookies()
    jar.extract_cookies(httpx.Response(200, request=asked))
    assert not looked
    setting = httpx.Response(200, headers={"Set-Cookie": "a=b"}, request=asked)
    jar.extract_cookies(setting)
    assert (looked, jar.get("a")) == ([setting], "b")


async def test_a_cost_is_not_broken_down_for_a_log_that_nobody_keeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context: Any = ModuleType("litellm._internal_context")
    context.is_internal_call = ContextVar("is_internal_call", default=False)
    costs: Any = ModuleType("litellm.cost_calculator")
    costs.get_token_type_cost_breakdown = lambda **_: pytest.fail("it was broken down")
    for module in (context, costs):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "litellm", ModuleType("litellm"))
    left_out._success_log()
    assert context.is_internal_call.get()
    told = costs.get_token_type_cost_breakdown(model="m", usage=None)
    assert (told.reasoning_cost, told.cache_read_cost, told.rates) == (None, None, None)


def _asked(model: str, name: str = "acompletion") -> partial[Any]:
    """Return work as litellm hands it to a thread; it tells the thread that it ran in."""
    completion = partial(lambda **_: threading.current_thread(), model=model, **{name: True})
    return partial(copy_context().run, completion)


async def test_a_call_to_an_openai_server_is_put_together_where_it_is() -> None:
    loop, here = asyncio.get_running_loop(), threading.current_thread()
    left_out._hop_to_a_thread(loop)
    assert await loop.run_in_executor(None, _asked("openai/gpt-4o")) is here
    for work in (_asked("bedrock/claude"), _asked("openai/gpt-4o", "aembedding")):
        assert await loop.run_in_executor(None, work) is not here
    assert await asyncio.to_thread(threading.current_thread) is not here
    assert await loop.run_in_executor(None, str, 1) == "1"

    def refuse(**_: Any) -> None:
        raise ValueError("no such parameter")

    refused = partial(copy_context().run, partial(refuse, model="openai/m", acompletion=True))
    with pytest.raises(ValueError, match="no such parameter"):
        await loop.run_in_executor(None, refused)


def _answer(**message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "a", **message}}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{**choice, "finish_reason": "stop"}],
    }


ANSWERS: list[dict[str, Any]] = [
    _answer(),
    {**_answer(), "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}},
    {**_answer(), "usage": {"cost": 0.1, "prompt_tokens_details": {"x": 1}}, "service_tier": "odd"},
    _answer(content=None, refusal="no", reasoning_content="r"),
    _answer(tool_calls=[{"id": "t", "type": "function", "function": {"name": "f"}}]),
    _answer(tool_calls=[{"id": "t", "type": "custom", "custom": {"name": "f", "input": "x"}}]),
    _answer(annotations=[{"type": "url_citation", "more": True}], role="model"),
    {**_answer(), "created": "1", "choices": None, "more": [1.0]},
    {"error": "x"},
]


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_the_same_whoever_puts_it_together(
    answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind: Any = import_module("openai.types.chat").ChatCompletion
    by_hand = kind.construct(**answer)
    monkeypatch.setattr(kind, "construct", kind.construct)
    left_out._assembly_by_hand()
    assert json.dumps(kind.construct(**answer).model_dump()) == json.dumps(by_hand.model_dump())


def test_an_address_is_put_together_once_for_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    clients: Any = import_module("openai._base_client").BaseClient
    for name in ("litellm.main", "litellm.utils", "litellm.types.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(clients, "_prepare_url", clients._prepare_url)
    left_out._searches_of_lists()
    for base in ("https://one.invalid/v1", "https://other.invalid"):
        client = AsyncOpenAI(api_key="none", base_url=base)
        found = [client._prepare_url("/chat/completions") for _ in range(2)]
        assert str(found[0]) == f"{base}/chat/completions"
        assert found[0] is found[1]
    assert str(client._prepare_url("https://elsewhere.invalid/x")) == "https://elsewhere.invalid/x"


def test_facts_of_a_model_are_looked_up_once_and_written_into_by_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    main, utils, types = (
        ModuleType(f"litellm.{name}") for name in ("main", "utils", "types.utils")
    )
    facts = {"mode": "chat"}
    main.__dict__["get_model_info_helper"] = lambda **_: pytest.fail("it was looked up anew")
    utils.__dict__["cached_get_model_info_helper"] = lambda **_: facts
    providers: Any = Enum("providers", {"OPENAI": "openai", "XAI": "xai"})
    types.__dict__["LlmProviders"] = providers
    for module in (main, utils, types):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    clients: Any = import_module("openai._base_client").BaseClient
    monkeypatch.setattr(clients, "_prepare_url", clients._prepare_url)
    left_out._searches_of_lists()
    main.__dict__["get_model_info_helper"](model="m", custom_llm_provider="p")["mode"] = "other"
    assert main.__dict__["get_model_info_helper"](model="m", custom_llm_provider="p") == facts
    assert facts == {"mode": "chat"}
    assert [each.value for each in providers] == ["openai", "xai"]
    assert providers("xai") is providers.XAI


def _costs(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[Any]]:
    """Return the module that reckons costs, in litellm's place, and what its rates are asked."""
    asked: list[Any] = []

    def rates(
        model_info: Any, usage: Any, service_tier: Any = None, current_time: Any = None
    ) -> tuple[Any, ...]:
        asked.append((model_info["key"], usage, service_tier, current_time))
        return model_info["input_cost_per_token"], service_tier, usage, current_time

    costs: Any = ModuleType("litellm.litellm_core_utils.llm_cost_calc.utils")
    costs._get_token_base_cost = rates
    monkeypatch.setitem(sys.modules, costs.__name__, costs)
    left_out._search_of_tiers()
    return costs, asked


def test_rates_that_are_the_same_for_every_call_are_looked_up_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    costs, asked = _costs(monkeypatch)
    facts = {"key": "m", "input_cost_per_token": 1, "tiered_pricing": None}
    facts["input_cost_per_token_above_200k_tokens"] = None
    found = [
        costs._get_token_base_cost(model_info=facts, usage=usage, service_tier=tier)[:2]
        for usage in (1, 2)
        for tier in (None, "priority")
    ]
    assert found == [(1, None), (1, "priority")] * 2
    assert asked == [("m", 1, None, None), ("m", 1, "priority", None)]
    dearer = {**facts, "input_cost_per_token": 2}
    assert costs._get_token_base_cost(dearer, 3)[0] == 2
    assert costs._get_token_base_cost(facts, 4)[0] == 1


@pytest.mark.parametrize(
    "fact", ["input_cost_per_token_above_200k_tokens", "tiered_pricing", "off_peak_pricing"]
)
def test_rates_by_size_or_hour_are_looked_up_for_each_call(
    fact: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs, asked = _costs(monkeypatch)
    facts = {"key": "m", "input_cost_per_token": 1, fact: [1]}
    for number in (1, 2):
        found = costs._get_token_base_cost(facts, usage=number, current_time=number)
        assert found == (1, None, number, number)
    assert len(asked) == 2


async def test_a_request_is_made_without_the_clock_of_litellms_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Server:
        async def make_openai_chat_completion_request(self, text: str) -> str:
            return text

    made = Server.make_openai_chat_completion_request

    @wraps(made)
    async def timed(*_: Any) -> str:
        pytest.fail("it was timed")

    monkeypatch.setattr(Server, made.__name__, timed)
    openai: Any = ModuleType("litellm.llms.openai.openai")
    openai.OpenAIChatCompletion = Server
    monkeypatch.setitem(sys.modules, openai.__name__, openai)
    left_out._unheard_clock()
    assert await Server().make_openai_chat_completion_request("made") == "made"
