"""From a provider's usage object to the five disjoint buckets. Pure; knows no prices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ksi_tui.engine.models import Usage


def buckets(raw: Mapping[str, Any], *, estimated: bool = False) -> Usage:
    """Return the buckets of an OpenAI-shaped usage object, as litellm gives it for every route.

    There `prompt_tokens` includes what was read from and written to a cache, and
    `completion_tokens` includes reasoning, unless `total_tokens` proves otherwise.
    """
    prompt, completion = _count(raw, "prompt_tokens"), _count(raw, "completion_tokens")
    details = _table(raw, "prompt_tokens_details")
    read = max(_count(details, "cached_tokens"), _count(raw, "cache_read_input_tokens"))
    written = max(
        _count(raw, "cache_creation_input_tokens"), _count(details, "cache_creation_tokens")
    )
    read = min(read, prompt)
    written = min(written, prompt - read)
    reasoning = _count(_table(raw, "completion_tokens_details"), "reasoning_tokens")
    apart = reasoning > 0 and _count(raw, "total_tokens") == prompt + completion + reasoning
    if not apart:
        reasoning = min(reasoning, completion)
        completion -= reasoning
    return Usage(
        input=prompt - read - written,
        cache_read=read,
        cache_write=written,
        output=completion,
        reasoning=reasoning,
        estimated=estimated,
    )


def said_nothing(raw: Mapping[str, Any] | None) -> bool:
    """Whether the provider sent no usage: none, or the SDK's object of zeros."""
    return not raw or not (_count(raw, "prompt_tokens") or _count(raw, "completion_tokens"))


def from_json(data: Mapping[str, Any] | None) -> Usage | None:
    """Return what `Usage.plain` wrote, or None."""
    return None if data is None else Usage(**data)


def _table(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = raw.get(name)
    return value if isinstance(value, Mapping) else {}


def _count(raw: Mapping[str, Any], name: str) -> int:
    value = raw.get(name)
    return int(value) if isinstance(value, int | float) and value > 0 else 0
