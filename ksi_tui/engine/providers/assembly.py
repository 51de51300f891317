"""Puts one chat.completion together from the pieces of its stream. Pure; knows no SDK's classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.providers.faults import Fault

_TEXTS = ("content", "reasoning_content")
_ANSWERS = ("content", "tool_calls", "function_call", "refusal", "audio", "images")
_LISTS = ("thinking_blocks", "annotations", "images")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What one chunk added: text of the first choice, and about how many tokens of any kind."""

    text: str
    tokens: int


@dataclass(slots=True, kw_only=True)
class _Choice:
    role: str = "assistant"
    texts: dict[str, list[str]] = field(default_factory=dict)
    lists: dict[str, list[Any]] = field(default_factory=dict)
    tool_calls: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    call_at: dict[int, int] = field(default_factory=dict)
    function: dict[str, str] | None = None
    finish_reason: str | None = None
    logprobs: dict[str, list[Any]] = field(default_factory=dict)


class Assembly:
    """Takes chunk after chunk (objects or mappings) and gives the whole answer at the end."""

    def __init__(self, model: str) -> None:
        self._head: dict[str, Any] = {"model": model}
        self._choices: dict[int, _Choice] = {}

    def add(self, chunk: Any) -> Delta:
        """Take one chunk; return what it added."""
        for name in ("id", "created", "model", "system_fingerprint", "service_tier"):
            value = _get(chunk, name)
            if value is not None:
                self._head[name] = value
        text, tokens = "", 0
        for piece in _get(chunk, "choices") or ():
            index = _get(piece, "index") or 0
            choice = self._choices.setdefault(index, _Choice())
            delta = _get(piece, "delta")
            if delta is not None:
                tokens |= self._take(choice, delta)
                if index == 0:
                    text += _get(delta, "content") or ""
            _extend_logprobs(choice.logprobs, _get(piece, "logprobs"))
            choice.finish_reason = _get(piece, "finish_reason") or choice.finish_reason
        return Delta(text=text, tokens=tokens)

    def _take(self, choice: _Choice, delta: Any) -> int:
        """Add a delta to its choice; 1 when it held anything of the answer, else 0."""
        held = 0
        choice.role = _get(delta, "role") or choice.role
        for name in _TEXTS:
            value = _get(delta, name)
            if isinstance(value, str) and value:
                choice.texts.setdefault(name, []).append(value)
                held = 1
        for name in _LISTS:
            if values := _get(delta, name):
                _extend(choice.lists.setdefault(name, []), values)
        for call in _get(delta, "tool_calls") or ():
            _merge_tool_call(choice, call)
            held = 1
        if (function := _get(delta, "function_call")) is not None:
            choice.function = choice.function or {"name": "", "arguments": ""}
            _merge_function(choice.function, function)
            held = 1
        return held

    def add_refusal(self, index: int, text: str) -> None:
        """Take a piece of a choice's refusal."""
        choice = self._choices.setdefault(index, _Choice())
        choice.texts.setdefault("refusal", []).append(text)

    def finish(self, reasons: Mapping[int, str]) -> None:
        """Give each choice the reason that the provider sent for it.

        litellm 1.106.2 keeps one for all choices, and that of the choice which ended first; of
        a single choice its word stands, which is the common name of a provider's own one.
        """
        several = len(self._choices) > 1 and reasons
        for index, choice in self._choices.items():
            if several or choice.finish_reason is None:
                choice.finish_reason = reasons.get(index)

    @property
    def whole(self) -> bool:
        """Whether every choice has a finish reason."""
        return all(choice.finish_reason for choice in self._choices.values())

    @property
    def everything(self) -> str:
        """All that the model wrote, of every choice and kind: what an estimate of usage counts."""
        parts: list[str] = []
        for choice in self._choices.values():
            for texts in choice.texts.values():
                parts += texts
            for _, call in choice.tool_calls:
                parts += [call["function"]["name"], call["function"]["arguments"]]
            if choice.function:
                parts += [choice.function["name"], choice.function["arguments"]]
        return "".join(parts)

    def response(self, usage: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the chat.completion object."""
        choices = [_choice_json(i, choice) for i, choice in sorted(self._choices.items())]
        response = {**self._head, "object": "chat.completion", "choices": choices}
        if usage is not None:
            response["usage"] = dict(usage)
        return response


def empty_reply(response: Mapping[str, Any]) -> Fault | None:
    """Return the fault of a reply without text, tool call or refusal; None when it has any."""
    choices: Sequence[Any] = response.get("choices") or ()
    if not choices:
        return Fault(kind=ErrorKind.PROVIDER_ERROR, message="the reply has no choices")
    messages = [choice.get("message") or {} for choice in choices]
    if any(message.get(name) for message in messages for name in _ANSWERS):
        return None
    reason = choices[0].get("finish_reason")
    if reason == "content_filter":
        return Fault(kind=ErrorKind.CONTENT_POLICY, message="the provider's filter took the reply")
    why = f" (finish reason {reason})" if reason not in (None, "stop") else ""
    return Fault(kind=ErrorKind.PROVIDER_ERROR, message=f"the reply is empty{why}")


def written(response: Mapping[str, Any]) -> str:
    """Return all that the model wrote in a chat.completion: what an estimate of usage counts."""
    assembly = Assembly("")
    choices = response.get("choices") or ()
    assembly.add({"choices": [{**choice, "delta": choice.get("message")} for choice in choices]})
    for choice in choices:
        assembly.add_refusal(0, (choice.get("message") or {}).get("refusal") or "")
    return assembly.everything


def with_refusals(response: dict[str, Any]) -> dict[str, Any]:
    """Return the chat.completion with refusals where the API has them: litellm moves them."""
    for choice in response.get("choices") or ():
        message = choice.get("message") or {}
        moved = (message.get("provider_specific_fields") or {}).get("refusal")
        if moved:
            message["refusal"] = moved
    return response


def first_text(response: Mapping[str, Any]) -> str:
    """Return the text, or the refusal, of a chat.completion's first choice."""
    choices: Sequence[Any] = response.get("choices") or ({},)
    message = choices[0].get("message") or {}
    text = message.get("content") or message.get("refusal")
    return text if isinstance(text, str) else ""


def _choice_json(index: int, choice: _Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": choice.role, "content": None}
    for name, texts in choice.texts.items():
        message[name] = "".join(texts)
    message.update(choice.lists)
    if choice.tool_calls:
        in_order = sorted(choice.tool_calls, key=itemgetter(0))
        message["tool_calls"] = [call for _, call in in_order]
    if choice.function:
        message["function_call"] = choice.function
    whole: dict[str, Any] = {
        "index": index,
        "message": message,
        "finish_reason": choice.finish_reason,
    }
    if choice.logprobs:
        whole["logprobs"] = choice.logprobs
    return whole


def _merge_tool_call(choice: _Choice, piece: Any) -> None:
    """Add a piece to its call: that of its index, or a new one where it has another id.

    Some servers give every call the index 0, or repeat id and name with every piece.
    """
    index, call_id = _get(piece, "index") or 0, _get(piece, "id")
    at = choice.call_at.get(index)
    held = None if at is None else choice.tool_calls[at][1]
    if held is None or (call_id and held["id"] and call_id != held["id"]):
        choice.call_at[index] = len(choice.tool_calls)
        held = {"id": None, "type": "function", "function": {"name": "", "arguments": ""}}
        choice.tool_calls.append((index, held))
    held["id"] = call_id or held["id"]
    held["type"] = _get(piece, "type") or held["type"]
    if (function := _get(piece, "function")) is not None:
        _merge_function(held["function"], function)


def _merge_function(function: dict[str, str], piece: Any) -> None:
    if (name := _get(piece, "name") or "") != function["name"]:
        function["name"] += name
    function["arguments"] += _get(piece, "arguments") or ""


def _extend(kept: list[Any], pieces: Iterable[Any]) -> None:
    """Add what came; the pieces of one thinking block become one, ended by its signature."""
    for piece in map(_plain, pieces):
        last = kept[-1] if kept else None
        thinking = _get(piece, "type") == "thinking" and _get(last, "type") == "thinking"
        if thinking and last is not None and not last.get("signature"):
            last["thinking"] = (last.get("thinking") or "") + (piece.get("thinking") or "")
            last["signature"] = piece.get("signature")
        else:
            kept.append(dict(piece) if isinstance(piece, Mapping) else piece)


def _extend_logprobs(kept: dict[str, list[Any]], piece: Any) -> None:
    for name in ("content", "refusal"):
        if values := _get(piece, name):
            kept.setdefault(name, []).extend(_plain(value) for value in values)


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump() if dump is not None else value
