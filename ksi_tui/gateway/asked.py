"""What is asked: the body of POST /v1/chat/completions, turned into `completion:async` data.

Every parameter of OpenAI's reference is carried or refused by name; a name that is not known
goes to the provider as it is (`extra_body`), as OpenAI-compatible servers do it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ksi_tui.engine.call_params import CALL_PARAMS
from ksi_tui.gateway.faults import Refused, bad_request
from ksi_tui.gateway.terms import Terms, terms

BODY_HASH: Final = "body_sha256"
"""Name in a request's metadata of its body's hash, by which a key that comes again is judged."""

DEEPEST: Final = 100

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Whole = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    """One part of a message's content: text, an image, audio, a file, a refusal …"""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    type: str


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Part] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class _StreamOptions(BaseModel):
    """`include_obfuscation` pads chunks against eavesdroppers: it may be asked not to."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class Chat(BaseModel):
    """The body of a chat completion. What it does not name goes to the provider as it is."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    messages: Annotated[list[_Message], Field(min_length=1)]
    model: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    metadata: dict[str, Any] | None = None
    user: str | None = None
    temperature: _Number | None = None
    max_tokens: _Whole | None = None
    tools: list[dict[str, Any]] | None = None
    audio: dict[str, Any] | None = None
    frequency_penalty: _Number | None = None
    function_call: str | dict[str, Any] | None = None
    functions: list[dict[str, Any]] | None = None
    logit_bias: dict[str, _Number] | None = None
    logprobs: bool | None = None
    max_completion_tokens: _Whole | None = None
    modalities: list[str] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    parallel_tool_calls: bool | None = None
    prediction: dict[str, Any] | None = None
    presence_penalty: _Number | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    reasoning_effort: str | None = None
    response_format: dict[str, Any] | None = None
    safety_identifier: str | None = None
    seed: int | None = None
    service_tier: str | None = None
    stop: str | list[str] | None = None
    store: bool | None = None
    thinking: dict[str, Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    top_p: _Number | None = None
    verbosity: str | None = None
    web_search_options: dict[str, Any] | None = None


_CARRIED: Final = frozenset(Chat.model_fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as the gateway carries it; `data` is what `completion:async` gets.

    `body_hash` is there where the caller gave the id; else that is empty until the engine has
    given one (`named`). `model` is None where none is named.
    """

    request_id: str
    data: Mapping[str, Any]
    stream: bool
    include_usage: bool
    detached: bool
    model: str | None
    body_hash: str | None

    def named(self, request_id: str) -> Asked:
        """Return the same with an id."""
        data = {**self.data, "request_id": request_id}
        return replace(self, request_id=request_id, data=data)


def asked(raw: bytes, headers: Mapping[str, str]) -> Asked:
    """Return what a body and its headers ask for; raises Refused."""
    body = _object(raw)
    chat = _checked(body)
    found = terms(headers, chat.metadata or {}, chat.user)
    request_id, body_hash = _identity(found, body)
    data: dict[str, Any] = {**found.data, **_question(body, found)}
    if body_hash is not None:
        data["request_id"] = request_id
        data["metadata"] = {**data.get("metadata", {}), BODY_HASH: body_hash}
    params = {name: body[name] for name in CALL_PARAMS if body.get(name) is not None}
    extra = {name: value for name, value in body.items() if name not in _CARRIED}
    named = {name: body.get(name) for name in ("model", "temperature", "max_tokens", "tools")}
    data |= {name: value for name, value in named.items() if value is not None}
    data |= {"params": params} if params else {}
    data |= {"extra_body": extra} if extra else {}
    if not chat.stream:
        data["stream"] = False
    options = chat.stream_options
    return Asked(
        request_id=request_id,
        data=data,
        stream=bool(chat.stream),
        include_usage=bool(options and options.include_usage),
        detached=found.detached,
        model=chat.model,
        body_hash=body_hash,
    )


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"the body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise bad_request("the body is a JSON object", code="invalid_json")
    if _too_deep(body):
        raise bad_request(f"the body is nested over {DEEPEST} levels deep", code="invalid_json")
    return body


def _too_deep(body: Any) -> bool:
    """Whether a value is nested deeper than can be written again wherever it goes."""
    level = [body]
    for _ in range(DEEPEST):
        inner = [each.values() if isinstance(each, dict) else each for each in level]
        level = [one for each in inner for one in each if isinstance(one, dict | list)]
        if not level:
            return False
    return True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _checked(body: Mapping[str, Any]) -> Chat:
    if "messages" not in body:
        raise bad_request(
            "Missing required parameter: 'messages'.",
            param="messages",
            code="missing_required_parameter",
        )
    try:
        chat = Chat.model_validate(body)
    except ValidationError as error:
        raise _wrong(error) from None
    if chat.stream_options is not None and not chat.stream:
        raise bad_request("stream_options goes with stream: true", param="stream_options")
    if chat.max_tokens is not None and chat.max_completion_tokens is not None:
        raise bad_request(
            "max_tokens and max_completion_tokens mean the same: give one of them",
            param="max_tokens",
        )
    for index, message in enumerate(chat.messages):
        _check_message(index, message)
    return chat


def _check_message(index: int, message: _Message) -> None:
    where = f"messages[{index}]"
    if message.role == "tool" and not message.tool_call_id:
        name = f"{where}.tool_call_id"
        raise bad_request(f"Missing required parameter: '{name}'.", param=name)
    if message.content is None and message.role != "assistant":
        name = f"{where}.content"
        raise bad_request(f"Missing required parameter: '{name}'.", param=name)


def _wrong(error: ValidationError) -> Refused:
    """Return the refusal of the first thing that is wrong, named as OpenAI names it."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    param = ""
    for part in found["loc"]:
        if isinstance(part, int):
            param += f"[{part}]"
        elif part in ("str", "list[str]", "dict[str,any]", "list[_Part]"):
            break  # which of several types was tried is no part of the name
        else:
            param += f".{part}" if param else part
    return bad_request(f"Invalid value for '{param}': {found['msg']}.", param=param)


def _identity(found: Terms, body: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the caller's own id, if any, and the hash of what was asked under it.

    How the answer is to be handed out is no part of that.
    """
    if found.key is None:
        return "", None
    question = {n: v for n, v in body.items() if n not in ("stream", "stream_options")}
    text = json.dumps(question, sort_keys=True, separators=(",", ":"))
    return found.key, hashlib.sha256(text.encode("ascii")).hexdigest()


def _question(body: Mapping[str, Any], found: Terms) -> dict[str, Any]:
    """Return the messages as they are; with history a single question is the session's next turn.

    Only a prompt has the session's earlier turns sent along.
    """
    messages: Sequence[Mapping[str, Any]] = body["messages"]
    *before, last = messages
    single = last["role"] == "user" and [m["role"] for m in before] in ([], ["system"])
    texts = [message.get("content") for message in messages]
    if not (found.history and single and all(isinstance(t, str) and t for t in texts)):
        return {"messages": [dict(message) for message in messages]}
    return {"prompt": texts[-1]} | ({"system": texts[0]} if before else {})
