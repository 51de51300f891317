"""What a request may ask of a provider beside its messages, by OpenAI's names.

Two ways lead to a provider: `params`, which each provider is given in its own spelling, and
`extra_body`, which is sent as it is. Keys and addresses are taken by neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ksi_tui.known_providers import KEY_NAMES

CALL_PARAMS = frozenset(
    {
        *("audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs"),
        *("max_completion_tokens", "modalities", "n", "parallel_tool_calls", "prediction"),
        *("presence_penalty", "prompt_cache_key", "prompt_cache_retention", "reasoning_effort"),
        *("response_format", "safety_identifier", "seed", "service_tier", "stop", "store"),
        *("thinking", "tool_choice", "top_logprobs", "top_p", "user", "verbosity"),
        "web_search_options",
    }
)
"""Names of `params`; source: OpenAI's reference of POST /v1/chat/completions, which is what
litellm translates from. `temperature`, `max_tokens` and `tools` stand beside `params`."""


def check_names(params: Mapping[str, Any] | None) -> None:
    """Raise ValueError where `params` holds what is no call parameter."""
    for name in params or ():
        if name not in CALL_PARAMS:
            raise ValueError(
                f"unknown {name!r}; allowed: {', '.join(sorted(CALL_PARAMS))}; what a provider "
                "knows beyond them goes into extra_body"
            )


def check_no_keys(body: Any) -> None:
    """Raise ValueError where a value holds, however deep, a name under which keys are given."""
    for name in _names_in(body):
        if name.lower() in KEY_NAMES:
            raise ValueError(
                f"{name} is not taken here, since requests are kept on disk: keys come from "
                "the environment, by a provider's api_key_env"
            )


def _names_in(value: Any) -> Iterator[str]:
    """Yield the names of all keys in a value, however deep."""
    left = [value]
    while left:
        match left.pop():
            case dict() as inner:
                yield from map(str, inner)
                left += inner.values()
            case list() as inner:
                left += inner
