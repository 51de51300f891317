"""What a worker spares its calls: a search of each body for other names, and litellm's own log."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from openai import NotGiven

from ksi_tui.engine.providers import worker


async def test_a_body_is_sent_as_it_came_without_what_was_not_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    completions: Any = import_module("openai.resources.chat.completions.completions")
    monkeypatch.setattr(completions, "async_maybe_transform", completions.async_maybe_transform)
    worker._without_search()
    messages = [{"role": "user", "content": "a question"}]
    body = {"model": "m", "messages": messages, "stop": None, "seed": NotGiven()}
    sent = await completions.async_maybe_transform(body, object)
    assert sent == {"model": "m", "messages": messages, "stop": None}
    assert sent["messages"] is messages


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
    worker._without_success_log()
    assert context.is_internal_call.get()
    told = costs.get_token_type_cost_breakdown(model="m", usage=None)
    assert (told.reasoning_cost, told.cache_read_cost, told.rates) == (None, None, None)
