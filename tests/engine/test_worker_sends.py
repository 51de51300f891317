"""A worker's chat completions go to OpenAI's SDK as they are, not searched for other names."""

from __future__ import annotations

from importlib import import_module
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
