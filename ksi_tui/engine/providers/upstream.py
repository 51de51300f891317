"""One call through litellm, inside a worker: arguments, stream, answer, fault, close.

The module litellm is handed in by the worker, which alone imports it. Everything that
leaves here is a plain message; nothing in here knows pipes or processes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from ksi_tui.engine.call_params import CALL_PARAMS
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import Message, Usage
from ksi_tui.engine.providers import usage as usages
from ksi_tui.engine.providers.assembly import (
    Assembly,
    empty_reply,
    first_text,
    with_refusals,
    written,
)
from ksi_tui.engine.providers.connections import Held
from ksi_tui.engine.providers.deltas import Deltas
from ksi_tui.engine.providers.evidence import evidence_of, let_go
from ksi_tui.engine.providers.faults import Fault, classify
from ksi_tui.engine.providers.framing import Kind
from ksi_tui.engine.providers.gathering import FOLLOWED_S, INTERVAL_S, Gatherer
from ksi_tui.engine.providers.tokens import Tokens
from ksi_tui.engine.providers.watched import WatchedStream
from ksi_tui.redaction import redacted, secrets_of

Send = Callable[[dict[str, Any]], None]

_NO_KEY = "none"  # keyless local servers want some key to be sent
_OTHER_CREDENTIALS = (
    *("azure/", "azure_ai/", "bedrock/", "sagemaker/", "sagemaker_chat/", "vertex_ai/"),
    *("vertex_ai_beta/", "watsonx/", "databricks/", "oci/", "snowflake/"),
)
"""Routes that are signed in to by other means than a key, which a made-up key would hide."""
_OPENAI_SHAPED = ("openai/", "azure/", "hosted_vllm/", "openrouter/")
"""Routes whose servers speak OpenAI's own shape: they say themselves what they do not know."""
_SHORTEST_KEY = 4  # a shorter one is no secret, and would be found in every word
_QUIET_S = 0.03
_COUNT_AFTER_S = 0.5
"""When what cancelled calls have used is counted: after so long without another, or so long."""
_KEPT_CHUNKS, _FEW_CHUNKS = 1000, 10
_NO_TIMEOUT_S = 86_400.0  # the clocks are the engine's; litellm's would be per read


class Upstream:
    """Performs calls with the given litellm module and sends what becomes of them."""

    def __init__(
        self, litellm: Any, tokens: Tokens, send: Send, environ: Mapping[str, str]
    ) -> None:
        self._litellm = litellm
        self._tokens = tokens
        self._send = send
        self._environ = environ
        self._secrets = secrets_of(environ)
        self._last_close = 0.0
        self._connections: dict[int, Held] = {}
        self._cut_at: dict[int, float] = {}

    async def call(self, call_id: int, request: Mapping[str, Any]) -> None:
        """Perform one call; its end is an answer, a fault, or, when it is cancelled, a close."""
        call = _Call(call_id, request)
        held = self._connections[call_id] = Held()
        held.hold()
        try:
            end = await self._end(call, held)
        except asyncio.CancelledError:
            # The task's only canceller is the message that asks for it, and its end is the reply.
            held.hear()  # before what its end may wait for
            end = {"kind": Kind.CLOSED, "closed_at": time.monotonic()}
            if call.assembly.everything:
                await self._others_closed()
            end |= await self._consumed(call)
        finally:
            held.hear()  # of one that was cut and yet answered, or it would wait for another call
            del self._connections[call_id]
            cut_at = self._cut_at.pop(call_id, None)
        if cut_at is not None:
            end["closed_at"] = cut_at
        self._send({**end, "id": call_id})

    async def _end(self, call: _Call, held: Held) -> dict[str, Any]:
        """Return a call's answer or fault; also one that hears of its cut before its cancel."""
        try:
            call.sent = await self._messages(call.request)
            return await (self._stream if call.request["stream"] else self._whole)(call)
        except Exception as error:  # the task's boundary: whatever it was is the call's fault
            fault = _fault_of(error, call, held)
            let_go(error)
        return await self._fault(call, fault)

    def cut(self, call_id: int) -> bool:
        """Close a call's connection; returns whether its task may be cancelled a moment later.

        Else it has to be in this same turn of the loop: its connection is yet to be opened.
        """
        if (held := self._connections.get(call_id)) is None or not held.cut():
            return False
        self._cut_at[call_id] = time.monotonic()
        return True

    async def _others_closed(self) -> None:
        """Wait until those that are cancelled in the same moment are closed, too.

        To count tokens takes a thread: while one counts, every close waits for the interpreter.
        """
        loop = asyncio.get_running_loop()
        now = self._last_close = loop.time()
        latest = now + _COUNT_AFTER_S
        while (at := min(self._last_close + _QUIET_S, latest)) > now:
            await asyncio.sleep(at - now)
            now = loop.time()

    def scrubbed(self, text: str, *variables: str) -> str:
        """Return text that may leave the worker: without the environment's secrets.

        `variables` hold secrets whatever their names look like.
        """
        values = (self._environ.get(name, "") for name in variables)
        known = (value for value in values if len(value) >= _SHORTEST_KEY)
        secrets = sorted({*known, *self._secrets}, key=len, reverse=True)
        return redacted(text, tuple(secrets))

    async def _whole(self, call: _Call) -> dict[str, Any]:
        answer = await self._litellm.acompletion(**self._arguments(call))
        response = with_refusals(answer.model_dump())
        if (empty := empty_reply(response)) is not None:
            return await self._fault(call, empty)
        raw = _raw_usage(answer)
        usage = await self._usage(call, raw, "" if raw else written(response))
        cost = answer._hidden_params.get("response_cost") if not usage.estimated else None
        return await self._answer(call, response, usage, raw, cost)

    async def _stream(self, call: _Call) -> dict[str, Any]:
        stream = await self._litellm.acompletion(**self._arguments(call))
        pace = INTERVAL_S if call.deltas is None else FOLLOWED_S
        gatherer = Gatherer(call.deliver_to(self._send), pace)
        watched = _watch(stream, call, gatherer)
        raw: dict[str, Any] | None = None
        # A stream that is left without closing it keeps the upstream's connection open.
        async with aclosing(stream):
            try:
                async for chunk in stream:
                    call.take(chunk, gatherer)
                    raw = _raw_usage(chunk) or raw
                    _forget(stream.chunks)
            finally:
                gatherer.flush()
        if not _finished(stream, call.request["params"]):
            return await self._fault(call, _truncated(call.assembly))
        raw, cost = _told(stream.chunks, raw)
        call.assembly.finish(watched.finish_reasons if watched else {})
        if not call.assembly.whole:
            return await self._fault(call, _truncated(call.assembly))
        response = call.assembly.response(raw)
        if (empty := empty_reply(response)) is not None:
            return await self._fault(call, empty)
        usage = await self._usage(call, raw, call.assembly.everything)
        return await self._answer(call, response, usage, raw, cost)

    async def _messages(self, request: Mapping[str, Any]) -> list[Message]:
        params = request["params"]
        if not request["history"]:
            return list(request["messages"])
        return await asyncio.to_thread(
            self._tokens.fitted,
            _priced_as(request),
            request["history"],
            request["messages"],
            reply_tokens=params.get("max_completion_tokens") or params.get("max_tokens") or 0,
            tools=params.get("tools"),
        )

    def _arguments(self, call: _Call) -> dict[str, Any]:
        request = call.request
        arguments = {"timeout": _NO_TIMEOUT_S, **request["params"]}
        if request["stream"]:
            asked = arguments.get("stream_options") or {}
            arguments["stream_options"] = {**asked, "include_usage": True}
        if request["api_base"]:
            arguments["api_base"] = request["api_base"]
        if request["key_env"]:
            arguments["api_key"] = self._environ.get(request["key_env"], "")
        elif request["api_base"] and not request["model"].startswith(_OTHER_CREDENTIALS):
            arguments["api_key"] = _NO_KEY
        if request["model"].startswith(_OPENAI_SHAPED):
            arguments["allowed_openai_params"] = [n for n in arguments if n in CALL_PARAMS]
        return {
            **arguments,
            "model": request["model"],
            "messages": call.sent,
            "stream": request["stream"],
            "max_retries": 0,
            "num_retries": 0,
            # Else litellm 1.106.2 imports the package mcp for every call with tools, to see
            # whether its own gateway is meant, and fails where that is not installed.
            "_skip_mcp_handler": True,
        }

    async def _usage(self, call: _Call, raw: Mapping[str, Any] | None, text: str) -> Usage:
        if raw is not None:
            return usages.buckets(raw)
        return await asyncio.to_thread(
            self._tokens.estimate,
            _priced_as(call.request),
            call.sent,
            text,
            call.request["params"].get("tools"),
        )

    async def _tool_schema_tokens(self, call: _Call) -> int | None:
        tools = call.request["params"].get("tools")
        if not tools:
            return 0
        return await asyncio.to_thread(self._tokens.tool_schemas, _priced_as(call.request), tools)

    async def _answer(
        self,
        call: _Call,
        response: dict[str, Any],
        usage: Usage,
        raw: Mapping[str, Any] | None,
        cost: float | None,
    ) -> dict[str, Any]:
        if cost is None:
            cost = self._tokens.cost(_priced_as(call.request), usage, raw)
        return {
            "kind": Kind.ANSWER,
            "response": response,
            "text": first_text(response),
            "usage": usage.plain(),
            "raw_usage": raw,
            "cost": cost,
            "price_version": self._tokens.price_version(cost),
            "tool_schema_tokens": await self._tool_schema_tokens(call),
            "cache_savings": self._tokens.savings(_priced_as(call.request), usage, raw),
        }

    async def _fault(self, call: _Call, fault: Fault) -> dict[str, Any]:
        return {
            "kind": Kind.FAULT,
            "error": fault.kind,
            "message": self.scrubbed(fault.message, *_secret_variables(call.request)),
            "status": fault.status,
            "retry_after_s": fault.retry_after_s,
            **await self._consumed(call),
        }

    async def _consumed(self, call: _Call) -> dict[str, Any]:
        """Return usage and cost of a call that became no answer; nothing before its text."""
        if not (text := call.assembly.everything):
            return {"usage": None, "cost": None, "price_version": None}
        usage = await self._usage(call, None, text)
        cost = self._tokens.cost(_priced_as(call.request), usage, None)
        return {
            "usage": usage.plain(),
            "cost": cost,
            "price_version": self._tokens.price_version(cost),
            "tool_schema_tokens": await self._tool_schema_tokens(call),
        }


class _Call:
    """One call as it goes: what was asked, what was sent, what has come."""

    __slots__ = ("assembly", "call_id", "deltas", "request", "sent")

    def __init__(self, call_id: int, request: Mapping[str, Any]) -> None:
        self.call_id = call_id
        self.request = request
        self.sent: list[Message] = []
        self.assembly = Assembly(request["model"])
        self.deltas = Deltas() if request.get("deltas") else None

    def take(self, chunk: Any, gatherer: Gatherer) -> None:
        """Keep one chunk of the answer, object or mapping, and hand its text on."""
        delta = self.assembly.add(chunk)
        if self.deltas is not None:
            self.deltas.add(chunk)
        if delta.tokens:
            gatherer.add(delta.text, delta.tokens)

    def deliver_to(self, send: Send) -> Callable[[str, int], None]:
        """Return the sink of this call's gathered text."""
        deltas = self.deltas

        def deliver(text: str, tokens: int) -> None:
            more = deltas.told() if deltas is not None else {}
            send({"kind": Kind.TEXT, "id": self.call_id, "text": text, "tokens": tokens, **more})

        return deliver


def _fault_of(error: Exception, call: _Call, held: Held) -> Fault:
    if held.refused is not None:
        return Fault(kind=ErrorKind.PROVIDER_ERROR, message=held.refused)
    evidence = evidence_of(error, mid_stream=bool(call.assembly.everything))
    return classify(evidence, now=time.time())


def _secret_variables(request: Mapping[str, Any]) -> list[str]:
    key = [request["key_env"]] if request["key_env"] else []
    return [*key, *request.get("hidden_envs", ())]


def _priced_as(request: Mapping[str, Any]) -> str:
    """Return the model whose price and tokenizer apply: a deployment's own name says neither."""
    return str(request["params"].get("base_model") or request["model"])


def _watch(stream: Any, call: _Call, gatherer: Gatherer) -> WatchedStream | None:
    """Look at what litellm reads, where that is an asynchronous stream that is open already."""
    if not isinstance(stream.completion_stream, AsyncIterable):
        return None

    def refuse(index: int, text: str) -> None:
        call.assembly.add_refusal(index, text)
        if call.deltas is not None:
            call.deltas.refuse(index, text)
        gatherer.add("" if index else text, 1)

    def more_text(text: str) -> None:
        call.take({"choices": [{"delta": {"content": text}}]}, gatherer)

    stream.completion_stream = watched = WatchedStream(stream.completion_stream, refuse, more_text)
    return watched


def _finished(stream: Any, params: Mapping[str, Any]) -> bool:
    """Whether the provider itself ended the stream: litellm invents "stop" where it did not.

    litellm's own mock has no provider and always ends.
    """
    sent = stream.received_finish_reason or stream.intermittent_finish_reason
    return bool(sent) or "mock_response" in params


def _truncated(assembly: Assembly) -> Fault:
    begun = bool(assembly.everything)
    return Fault(
        kind=ErrorKind.PROVIDER_ERROR,
        message="the stream ended without a finish reason" if begun else "the reply is empty",
    )


def _told(
    chunks: Sequence[Any], raw: dict[str, Any] | None
) -> tuple[dict[str, Any] | None, float | None]:
    """Return usage as the provider told it, and its cost.

    litellm estimates where the provider told nothing, which the chunks reveal, and adds
    the cost, which some providers tell themselves.
    """
    told = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
    if raw is None or not told:
        return None, None
    cost = raw.get("cost")
    if not any(getattr(usage, "cost", None) for usage in told):
        raw = {name: value for name, value in raw.items() if name != "cost"}
    return raw, cost


def _forget(chunks: list[Any]) -> None:
    """Let go of the chunks that litellm keeps, 5 KB each, to work out usage nobody told.

    It compares the last ones, and what was told is read from them.
    """
    if len(chunks) > _KEPT_CHUNKS:
        chunks[:-_FEW_CHUNKS] = [c for c in chunks[:-_FEW_CHUNKS] if getattr(c, "usage", None)][-1:]


def _raw_usage(answer: Any) -> dict[str, Any] | None:
    """Return the usage object that an answer or chunk carries, without its empty fields."""
    usage = getattr(answer, "usage", None)
    raw: dict[str, Any] | None = usage.model_dump(exclude_none=True) if usage else None
    return None if usages.said_nothing(raw) else raw
