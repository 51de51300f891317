"""What litellm knows of models: token counts, windows and prices. Runs inside a worker only.

The module litellm is handed in by the worker, which alone imports it. litellm raises
bare exceptions for models it does not know; here that is an answer (None), not an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ksi_tui.engine.models import Message, Usage
from ksi_tui.engine.providers.base import in_order

_PROBE = ({"role": "user", "content": "."},)
"""What tools are counted beside: litellm counts them with messages only."""
_SCHEMAS_KEPT = 256
"""How many counts of tool schemas are remembered: agents send the same ones with every call."""
_UNCOUNTED_PART = 256
"""Tokens taken for a part of a message that litellm has no count for; about a small image."""
_REPLY_SHARE = 8
"""Where a call sets no limit, one part in so many of the window is left for the reply."""
_MANY = 1_000_000
"""Tokens by which a model's saving for one is found."""
_PLAIN_USAGE = frozenset(
    f"{side}_tokens{more}" for side in ("prompt", "completion") for more in ("", "_details")
) | {"total_tokens"}
"""What a usage object says where a cached token's price depends on nothing else of it."""
_OVERHEAD = 8
"""Tokens that a message costs beside its content; generous, since it only spares a count."""


class Tokens:
    """Counts, windows and prices by the given litellm module."""

    def __init__(self, litellm: Any, version: str) -> None:
        self._litellm = litellm
        self._price_version = f"litellm {version} map"
        self._schemas: dict[tuple[str, str], int] = {}
        self._spared: dict[str, tuple[Any, float | None]] = {}

    def count(
        self,
        model: str,
        *,
        messages: Sequence[Message] | None = None,
        text: str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> int:
        """Return the tokens of messages (with tool schemas) or of a text; blocks while it counts.

        Images count as litellm's default size: none is fetched. What litellm cannot count
        (audio, video, documents) has a flat price, so that it stands in nobody's way.
        """
        if text is not None:
            return int(self._litellm.token_counter(model=model, text=text))
        plain, flat = _countable(messages or ())
        found = self._litellm.token_counter(
            model=model,
            messages=plain,
            tools=list(tools) if tools else None,
            use_default_image_token_count=True,
        )
        return int(found) + flat

    def window(self, model: str) -> int | None:
        """Return how many tokens may be sent to the model, None when nobody knows."""
        try:
            found = self._litellm.get_model_info(model).get("max_input_tokens")
        except Exception:  # litellm's "not mapped" is a bare one
            return None
        return int(found) if found else None

    def fitted(
        self,
        model: str,
        history: Sequence[Message],
        messages: Sequence[Message],
        *,
        reply_tokens: int = 0,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[Message]:
        """Return what is sent: without the oldest turns that the model's window cannot hold.

        What `messages` begins with in the role `system` stays in front of the history. A turn
        is a user message with what follows it. `messages` are always kept whole, and so is
        the history of a model whose window is unknown. Room is left for the reply:
        `reply_tokens`, or (0) a share of the window. Blocks while it counts.
        """
        window = self.window(model) if history else None
        if window is not None and not reply_tokens:
            reply_tokens = window // _REPLY_SHARE
        if window is None or _certainly_fits([*history, *messages], tools, window - reply_tokens):
            return in_order(history, messages)
        room = window - reply_tokens - self.count(model, messages=messages, tools=tools)
        kept: list[Message] = []
        for turn in reversed(_turns(history)):
            room -= self.count(model, messages=turn)
            if room < 0:
                break
            kept[:0] = turn
        return in_order(kept, messages)

    def estimate(self, model: str, sent: Sequence[Message], written: str, tools: Any) -> Usage:
        """Return the counted usage of a call whose provider told none; blocks while it counts."""
        return Usage(
            input=self.count(model, messages=sent, tools=tools),
            output=self.count(model, text=written) if written else 0,
            estimated=True,
        )

    def tool_schemas(self, model: str, tools: Sequence[Mapping[str, Any]] | None) -> int | None:
        """Return the tokens that tools add to a call's input; blocks while it counts.

        None where litellm cannot tell: it only knows schemas of OpenAI's shape.
        """
        if not tools:
            return 0
        key = (model, json.dumps(tools, sort_keys=True))
        found = self._schemas.get(key)
        if found is None:
            try:
                found = self.count(model, messages=_PROBE, tools=tools)
                found -= self.count(model, messages=_PROBE)
            except Exception:  # what it makes of other shapes is not in its contract
                return None
            while len(self._schemas) >= _SCHEMAS_KEPT:
                del self._schemas[next(iter(self._schemas))]
            self._schemas[key] = found
        return found

    def savings(self, model: str, usage: Usage, raw: Mapping[str, Any] | None) -> float | None:
        """Return the dollars that reading from a cache has spared; None without a price.

        It is what the same call would have cost had nothing been in the cache, less what it
        costs with it; so the map's tiers count, and a model without a cache price saves 0.
        """
        if not usage.cache_read:
            return 0.0
        if raw is None:
            return None
        if _is_plain(raw, usage) and (spared := self._spared_by_one(model)) is not None:
            return spared * usage.cache_read
        return self._saved(model, usage, raw)

    def _saved(self, model: str, usage: Usage, raw: Mapping[str, Any]) -> float | None:
        """Return the same by pricing the call twice, which takes 0.6 ms."""
        paid = self.cost(model, usage, raw)
        if paid is None:
            return None
        details = {**(raw.get("prompt_tokens_details") or {}), "cached_tokens": 0}
        details.pop("text_tokens", None)  # what was neither read from nor written to a cache
        uncached = {**raw, "prompt_tokens_details": details, "cache_read_input_tokens": 0}
        full = self.cost(model, usage, uncached)
        return None if full is None else full - paid

    def _spared_by_one(self, model: str) -> float | None:
        """Return what one cached token spares; None where tiers or the hour have a say in that.

        Kept as long as litellm holds the same facts of the model: a price given with a call
        makes new ones.
        """
        try:
            info = self._litellm.get_model_info(model)
        except Exception:  # litellm's "not mapped" is a bare one
            return None
        kept_for, spared = self._spared.get(model, (None, None))
        if kept_for is not info:
            spared = None
            if not any(varies(name) for name, value in info.items() if value is not None):
                usage = Usage(input=0, cache_read=_MANY)
                details = {"cached_tokens": _MANY}
                many = {"prompt_tokens": _MANY, "prompt_tokens_details": details}
                saved = self._saved(model, usage, many)
                spared = None if saved is None else saved / _MANY
            while len(self._spared) >= _SCHEMAS_KEPT:
                del self._spared[next(iter(self._spared))]
            self._spared[model] = info, spared
        return spared

    def cost(self, model: str, usage: Usage, raw: Mapping[str, Any] | None) -> float | None:
        """Return dollars for a usage, from the provider's own object where there is one."""
        try:
            if raw is not None:
                prices = self._litellm.cost_per_token(
                    model=model, usage_object=self._litellm.Usage(**raw)
                )
            else:
                prices = self._litellm.cost_per_token(
                    model=model,
                    prompt_tokens=usage.input,
                    completion_tokens=usage.output + usage.reasoning,
                )
        except Exception:  # litellm's "no price" is a bare one
            return None
        return float(sum(prices))

    def price_version(self, cost: float | None) -> str | None:
        """Return the name of the price list behind a cost, None where there is no cost."""
        return None if cost is None else self._price_version


def _is_plain(raw: Mapping[str, Any], usage: Usage) -> bool:
    """Whether nothing but the number of its cached tokens decides what a usage has spared."""
    details = raw.get("prompt_tokens_details")
    return (
        isinstance(details, Mapping)
        and {name for name, value in details.items() if value} == {"cached_tokens"}
        and details["cached_tokens"] == usage.cache_read
        and _PLAIN_USAGE.issuperset(name for name, value in raw.items() if value)
    )


def varies(name: str) -> bool:
    """Return whether a fact of a model is a price for large calls or certain hours only."""
    large = "_above_" in name and "_tokens" in name
    return large or name in ("tiered_pricing", "off_peak_pricing")


def _countable(messages: Sequence[Message]) -> tuple[list[dict[str, Any]], int]:
    """Return messages with those parts only that litellm counts, and tokens for the others."""
    plain: list[dict[str, Any]] = []
    flat = 0
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            parts = [part for part in content if _counted(part)]
            flat += _UNCOUNTED_PART * (len(content) - len(parts))
            plain.append({**message, "content": parts})
        else:
            plain.append(dict(message))
    return plain, flat


def _counted(part: Any) -> bool:
    if not isinstance(part, Mapping):
        return isinstance(part, str)
    match part.get("type"):
        case "text":
            return isinstance(part.get("text"), str)
        case "image_url":
            return isinstance(part.get("image_url"), str | Mapping)
    return False


def _turns(history: Sequence[Message]) -> list[list[Message]]:
    turns: list[list[Message]] = []
    for message in history:
        if message.get("role") == "user" or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns


def _certainly_fits(messages: Sequence[Message], tools: Any, window: int) -> bool:
    """Whether even one token a byte would fit, so that nothing needs to be counted.

    True of byte-level tokenizers, which all of litellm's are; a message with anything but
    plain text, or a call with tools, is counted.
    """
    if tools:
        return False
    size = 0
    for message in messages:
        content = message.get("content")
        if not isinstance(content, str) or len(message) > 2:
            return False
        size += len(content.encode("utf-8", "replace")) + _OVERHEAD
    return size <= window
