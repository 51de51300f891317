"""What litellm, OpenAI's SDK and httpx do with every call and no call of the engine needs.

Left out in a worker alone, once, after litellm is imported. Each part is somebody's own business:
where a later version has no such name it does it again, and nothing else changes.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, Final

_NOT_BROKEN_DOWN: Final = SimpleNamespace(
    reasoning_cost=None, cache_read_cost=None, cache_creation_cost=None, rates=None
)


def leave_out() -> None:
    """Leave all of it out."""
    _success_log()
    _search_of_bodies()
    _idle_cookies()


def _success_log() -> None:
    """Tell litellm that its caller keeps the books: its own log of each call is a quarter of it."""
    with suppress(ImportError):
        context = importlib.import_module("litellm._internal_context")
        context.is_internal_call.set(True)
    # What of a cost was for which kind of token stands in that log alone; a call's cost is
    # reckoned before. It takes 6 % of the call.
    with suppress(ImportError):
        costs: Any = importlib.import_module("litellm.cost_calculator")
        if hasattr(costs, "get_token_type_cost_breakdown"):
            costs.get_token_type_cost_breakdown = lambda **_: _NOT_BROKEN_DOWN


def _search_of_bodies() -> None:
    """Have OpenAI's SDK send a chat completion as it was put together.

    Else it looks through every part of it for what has another name on the wire or is no JSON,
    0.7 ms a call. No field of a chat completion has, and what the engine sends is JSON.
    """
    with suppress(ImportError, AttributeError):
        given = importlib.import_module("openai._utils").is_given
        chat: Any = importlib.import_module("openai.resources.chat.completions.completions")

        async def only_given(body: Mapping[str, Any], _: object) -> dict[str, Any]:
            return {name: value for name, value in body.items() if given(value)}

        if hasattr(chat, "async_maybe_transform"):
            chat.async_maybe_transform = only_given


def _idle_cookies() -> None:
    """Have httpx look for cookies only in answers that set some: to look is 5 % of a call."""
    with suppress(ImportError, AttributeError):
        cookies: Any = importlib.import_module("httpx").Cookies
        found_in = cookies.extract_cookies

        def extract_cookies(jar: Any, response: Any) -> None:
            if "set-cookie" in response.headers:
                found_in(jar, response)

        cookies.extract_cookies = extract_cookies
