"""Answers in OpenAI's shape: a whole one, and what a stream still owes of one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

_TEXTS: Final = ("reasoning_content", "content", "refusal")
_OTHERS: Final = (
    *("tool_calls", "function_call", "thinking_blocks", "annotations", "images", "audio"),
)


def answer_id(request_id: str) -> str:
    """Return the id of a request's answer: the same for every way and time it is handed out."""
    return f"chatcmpl-{request_id}"


def usage_of(usage: Mapping[str, Any] | None) -> dict[str, int] | None:
    """Return the engine's usage in OpenAI's names: what is left where a provider told none."""
    if usage is None:
        return None
    prompt = usage["input"] + usage["cache_read"] + usage["cache_write"]
    completion = usage["output"] + usage["reasoning"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def whole(envelope: Mapping[str, Any], usage: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the chat.completion of a result as it came, completed where a provider left gaps.

    `usage` stands in where the response itself tells none.
    """
    response, ksi = envelope["response"], envelope["ksi"]
    return {
        **response,
        "id": answer_id(ksi["request_id"]),
        "object": "chat.completion",
        "created": response.get("created") or _epoch(ksi["timestamp"]),
        "model": response.get("model") or ksi["model"],
        "choices": [_choice(i, each) for i, each in enumerate(response.get("choices") or ())],
        "usage": response.get("usage") or usage,
    }


def _epoch(timestamp: str) -> int:
    return int(datetime.fromisoformat(timestamp).timestamp())


def _choice(place: int, choice: Mapping[str, Any]) -> dict[str, Any]:
    message = choice.get("message") or {}
    return {
        **choice,
        "index": choice.get("index", place),
        "message": {"role": "assistant", "content": None, **message},
        "logprobs": choice.get("logprobs"),
        "finish_reason": choice.get("finish_reason") or _reason(message),
    }


def _reason(message: Mapping[str, Any]) -> str:
    return "tool_calls" if message.get("tool_calls") else "stop"


@dataclass(slots=True, kw_only=True)
class Sent:
    """What of one choice has been sent: characters of each text, and what else there was of it."""

    chars: dict[str, int] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)

    def note(self, delta: Mapping[str, Any]) -> None:
        """Count a delta that goes out."""
        for name, value in delta.items():
            if name in _TEXTS and isinstance(value, str):
                self.chars[name] = self.chars.get(name, 0) + len(value)
            elif name in _OTHERS:
                self.others.add(name)

    def rest(self, message: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what is still to be sent of a message, as one delta.

        None where more was sent than there is: what was sent is no part of it.
        """
        delta: dict[str, Any] = {}
        for name in _TEXTS:
            text, sent = message.get(name), self.chars.get(name, 0)
            length = len(text) if isinstance(text, str) else 0
            if sent > length:
                return None
            if isinstance(text, str) and sent < length:
                delta[name] = text[sent:]
        for name in _OTHERS:
            value = message.get(name)
            if value and name not in self.others:
                delta[name] = _numbered(value) if name == "tool_calls" else value
        return delta


def _numbered(calls: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return tool calls as a stream has them: each with its index."""
    return [{"index": index, **call} for index, call in enumerate(calls)]
