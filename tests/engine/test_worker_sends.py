"""What a worker spares its calls: searches that find nothing, and litellm's own log."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from importlib import import_module
from types import ModuleType
from typing import Any

import httpx
import pytest
from openai import NotGiven

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
