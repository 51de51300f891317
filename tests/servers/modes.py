"""How the misbehaving server replies, one function a mode."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from aiohttp import web

SENTENCE = "The quick brown fox jumps over the lazy dog and then rests a while."
WORDS = SENTENCE.split()


class Reply:
    """One request to reply to. `option` is what follows `@` in the mode: `ok@50` paces at 50/s.

    `turn` counts the requests of this mode from 1.
    """

    def __init__(
        self,
        request: web.Request,
        body: dict[str, Any],
        option: str,
        *,
        turn: int,
        on_sent: Callable[[], None],
    ) -> None:
        self.request = request
        self.body = body
        self.option = option
        self.turn = turn
        self.on_sent = on_sent
        self.model = str(body.get("model", "m"))

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def wants_usage(self) -> bool:
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    def whole(self, message: dict[str, Any], **more: Any) -> web.Response:
        """Return a chat.completion."""
        choice = {"index": 0, "message": message, "finish_reason": more.pop("finish", "stop")}
        data = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.model,
            "choices": more.pop("choices", [choice]),
            **more,
        }
        self.on_sent()
        return web.json_response(data)

    def chunk(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        """Return one server-sent chunk."""
        choice = {"index": more.pop("index", 0), "delta": delta, "finish_reason": finish}
        data = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": self.model,
            "choices": more.pop("choices", [choice]),
            **more,
        }
        return b"data: " + json.dumps(data).encode() + b"\n\n"

    def error(
        self, status: int, message: str, code: str | None = None, **headers: str
    ) -> web.Response:
        """Return an error in OpenAI's shape."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"error": {"message": message, "type": "error", "code": code, "param": None}}
        return web.json_response(body, status=status, headers=names)

    async def begin(self) -> web.StreamResponse:
        """Send the headers of a stream."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(self.request)
        return response

    async def send(self, response: web.StreamResponse, data: bytes) -> None:
        """Send a piece of a stream."""
        await response.write(data)
        self.on_sent()

    async def words(self, response: web.StreamResponse, words: Iterable[str], pace: float) -> None:
        """Stream words, `pace` a second (0: as fast as they go)."""
        await self.send(response, self.chunk({"role": "assistant", "content": ""}))
        for word in words:
            if pace:
                await asyncio.sleep(1 / pace)
            await self.send(response, self.chunk({"content": word + " "}))

    async def end(
        self, response: web.StreamResponse, usage: dict[str, Any] | None, finish: str = "stop"
    ) -> web.StreamResponse:
        """Send the end that a whole stream has."""
        await self.send(response, self.chunk({}, finish))
        if usage is not None and self.wants_usage:
            await self.send(response, self.chunk({}, choices=[], usage=usage))
        await self.send(response, b"data: [DONE]\n\n")
        return response


Mode = Callable[[Reply], Awaitable[web.StreamResponse]]
MODES: dict[str, Mode] = {}
USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 14,
    "total_tokens": 34,
    "prompt_tokens_details": {"cached_tokens": 8},
    "completion_tokens_details": {"reasoning_tokens": 4},
}


def mode(name: str) -> Callable[[Mode], Mode]:
    """Register a mode under its name."""

    def register(function: Mode) -> Mode:
        MODES[name] = function
        return function

    return register


def _count(reply: Reply) -> int:
    return int(reply.body.get("max_tokens") or len(WORDS))


def _text(count: int) -> Iterator[str]:
    """Yield words that differ from their neighbours."""
    return (f"{WORDS[i % len(WORDS)]}{i // len(WORDS) or ''}" for i in range(count))


async def _answer(reply: Reply, usage: dict[str, Any] | None) -> web.StreamResponse:
    words = _text(_count(reply))
    if not reply.stream:
        more = {} if usage is None else {"usage": usage}
        return reply.whole({"role": "assistant", "content": " ".join(words)}, **more)
    response = await reply.begin()
    await reply.words(response, words, float(reply.option or 0))
    return await reply.end(response, usage)


@mode("ok")
async def ok(reply: Reply) -> web.StreamResponse:
    """As it should be; `max_tokens` words; `ok@50` streams 50 a second."""
    return await _answer(reply, USAGE)


@mode("no_usage")
async def no_usage(reply: Reply) -> web.StreamResponse:
    """Whole, but without usage."""
    return await _answer(reply, None)


@mode("no_done")
async def no_done(reply: Reply) -> web.StreamResponse:
    """Whole, with a finish reason, but without the closing [DONE]."""
    response = await reply.begin()
    await reply.words(response, WORDS, 0)
    await reply.send(response, reply.chunk({}, "stop"))
    return response


@mode("429")
async def rate_limited(reply: Reply) -> web.StreamResponse:
    """Too many requests; `429@7` asks to wait 7 s."""
    wait = {"Retry_After": reply.option} if reply.option else {}
    return reply.error(429, "Rate limit reached for requests", "rate_limit_exceeded", **wait)


@mode("429_quota")
async def quota(reply: Reply) -> web.StreamResponse:
    """No money left."""
    return reply.error(429, "You exceeded your current quota.", "insufficient_quota")


_ERRORS: dict[str, tuple[int, str, str | None]] = {
    "400": (400, "Unknown parameter: 'colour'.", None),
    "400_window": (400, "This model's maximum context length is 8192 tokens.", None),
    "400_context": (
        400,
        "This model's maximum context length is 8192 tokens. However, you requested 9001 tokens.",
        "context_length_exceeded",
    ),
    "400_policy": (
        400,
        "Your request was rejected as a result of our safety system.",
        "content_policy_violation",
    ),
    "400_filter": (400, "The prompt was filtered by Azure's content management policy.", None),
    "401": (401, "Incorrect API key provided.", "invalid_api_key"),
    "402": (402, "Payment required.", None),
    "403": (403, "You are not allowed to use this model.", None),
    "404": (404, "The model `m` does not exist.", "model_not_found"),
    "408": (408, "Request timeout.", None),
    "409": (409, "Conflict.", None),
    "413": (413, "Request too large.", None),
    "418": (418, "I'm a teapot.", None),
    "422": (422, "messages: field required", None),
    "500": (500, "The server had an error while processing your request.", None),
    "501": (501, "Not implemented.", None),
    "502": (502, "Bad gateway.", None),
    "503": (503, "The engine is overloaded.", None),
    "504": (504, "Gateway timeout.", None),
    "529": (529, "Overloaded.", "overloaded_error"),
}


def _error_mode(status: int, message: str, code: str | None) -> Mode:
    async def refuse(reply: Reply) -> web.StreamResponse:
        wait = {"Retry_After": reply.option} if reply.option else {}
        return reply.error(status, message, code, **wait)

    return refuse


for _name, _error in _ERRORS.items():
    MODES[_name] = _error_mode(*_error)


@mode("echo_key")
async def echo_key(reply: Reply) -> web.StreamResponse:
    """An error that quotes the key it was sent."""
    sent = reply.request.headers.get("Authorization", "")
    return reply.error(401, f"Incorrect API key provided: {sent.removeprefix('Bearer ')}.")


@mode("hang")
async def hang(_: Reply) -> web.StreamResponse:
    """No headers, ever."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


@mode("stall_first")
async def stall_first(reply: Reply) -> web.StreamResponse:
    """Headers, then nothing."""
    await reply.begin()
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


@mode("stall")
async def stall(reply: Reply) -> web.StreamResponse:
    """Five words, then nothing."""
    response = await reply.begin()
    await reply.words(response, WORDS[:5], 0)
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


@mode("stall_once")
async def stall_once(reply: Reply) -> web.StreamResponse:
    """Five words, then nothing; but for the first request, as it should be."""
    return await (stall(reply) if reply.turn == 1 else _answer(reply, USAGE))


@mode("drip")
async def drip(reply: Reply) -> web.StreamResponse:
    """Words without end, `drip@20` a second (10 unless told otherwise)."""
    response = await reply.begin()
    await reply.words(response, _text(1_000_000), float(reply.option or 10))
    return response


@mode("keepalive")
async def keepalive(reply: Reply) -> web.StreamResponse:
    """Nothing but comments, ten a second."""
    response = await reply.begin()
    while True:
        await reply.send(response, b": keep-alive\n\n")
        await asyncio.sleep(0.1)


@mode("cut")
async def cut(reply: Reply) -> web.StreamResponse:
    """Breaks off in the middle: of the stream's chunk, or of the body."""
    if reply.stream:
        response = await reply.begin()
        await reply.words(response, WORDS[:5], 0)
        await response.write(b'data: {"id": "chatc')
    else:
        response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Content-Length": "1000"}
        )
        await response.prepare(reply.request)
        await reply.send(response, b'{"id": "chatcmpl-1", "choices"')
    transport_of(reply).close()
    return response


@mode("reset")
async def reset(reply: Reply) -> web.StreamResponse:
    """Resets the connection before any answer."""
    transport_of(reply).abort()
    return web.Response()


def transport_of(reply: Reply) -> asyncio.Transport:
    """Return the connection that the request came on."""
    transport = reply.request.transport
    assert isinstance(transport, asyncio.Transport)
    return transport


@mode("error_frame")
async def error_frame(reply: Reply) -> web.StreamResponse:
    """Three words, then an error as the stream's next piece; `error_frame@429` with that code."""
    response = await reply.begin()
    await reply.words(response, WORDS[:3], 0)
    code = int(reply.option) if reply.option else None
    frame = {"error": {"message": "The server is overloaded.", "type": "error", "code": code}}
    await reply.send(response, b"data: " + json.dumps(frame).encode() + b"\n\n")
    return response


@mode("bad_json")
async def bad_json(reply: Reply) -> web.StreamResponse:
    """What is no JSON, as a body or after three words of a stream."""
    if not reply.stream:
        return web.Response(body=b'{"id": nothing', content_type="application/json")
    response = await reply.begin()
    await reply.words(response, WORDS[:3], 0)
    await reply.send(response, b"data: {this is no json}\n\n")
    return response


@mode("truncated")
async def truncated(reply: Reply) -> web.StreamResponse:
    """Ends early but cleanly, without a finish reason."""
    if not reply.stream:
        return web.json_response({})
    response = await reply.begin()
    await reply.words(response, WORDS[:5], 0)
    return response


@mode("empty")
async def empty(reply: Reply) -> web.StreamResponse:
    """A success that says nothing."""
    if not reply.stream:
        return reply.whole({"role": "assistant", "content": ""}, usage=USAGE)
    response = await reply.begin()
    return await reply.end(response, USAGE)


@mode("no_choices")
async def no_choices(reply: Reply) -> web.StreamResponse:
    """A success without choices."""
    if not reply.stream:
        return reply.whole({}, choices=[], usage=USAGE)
    response = await reply.begin()
    await reply.send(response, reply.chunk({}, choices=[]))
    await reply.send(response, b"data: [DONE]\n\n")
    return response


@mode("html")
async def html(_: Reply) -> web.StreamResponse:
    """A web page with status 200, as of a login or a proxy."""
    page = "<!doctype html><html><body><h1>Sign in</h1></body></html>"
    return web.Response(text=page, content_type="text/html")


@mode("html_502")
async def html_502(_: Reply) -> web.StreamResponse:
    """A proxy's error page."""
    page = "<html><head><title>502</title></head><body><h1>502 Bad Gateway</h1></body></html>"
    return web.Response(text=page, status=502, content_type="text/html")


@mode("repeat")
async def repeat(reply: Reply) -> web.StreamResponse:
    """The same word 150 times, then a regular end."""
    if not reply.stream:
        return reply.whole({"role": "assistant", "content": "word " * 150}, usage=USAGE)
    response = await reply.begin()
    await reply.words(response, ["word"] * 150, 0)
    return await reply.end(response, USAGE)


def _call(index: int, city: str) -> dict[str, Any]:
    arguments = json.dumps({"city": city})
    return {
        "index": index,
        "id": f"call_{index}",
        "type": "function",
        "function": {"name": "weather", "arguments": arguments},
    }


@mode("tools")
async def tools(reply: Reply) -> web.StreamResponse:
    """Two tool calls, no text; streamed with their arguments in pieces."""
    calls = [_call(0, "Paris"), _call(1, "Rome")]
    if not reply.stream:
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        return reply.whole(message, finish="tool_calls", usage=USAGE)
    response = await reply.begin()
    for call in calls:
        arguments = call["function"]["arguments"]
        head = {**call, "function": {"name": "weather", "arguments": ""}}
        await reply.send(response, reply.chunk({"tool_calls": [head]}))
        for start in range(0, len(arguments), 5):
            piece = {
                "index": call["index"],
                "function": {"arguments": arguments[start : start + 5]},
            }
            await reply.send(response, reply.chunk({"tool_calls": [piece]}))
    return await reply.end(response, USAGE, "tool_calls")


@mode("refusal")
async def refusal(reply: Reply) -> web.StreamResponse:
    """A refusal in place of text."""
    said = "I can't help with that."
    if not reply.stream:
        message = {"role": "assistant", "content": None, "refusal": said}
        return reply.whole(message, usage=USAGE)
    response = await reply.begin()
    await reply.send(response, reply.chunk({"role": "assistant", "content": None, "refusal": ""}))
    for word in ("I can't ", "help ", "with that."):
        await reply.send(response, reply.chunk({"refusal": word}))
    return await reply.end(response, USAGE)


@mode("reasoning")
async def reasoning(reply: Reply) -> web.StreamResponse:
    """Thinks aloud before it answers."""
    if not reply.stream:
        message = {"role": "assistant", "content": "42", "reasoning_content": "six by seven"}
        return reply.whole(message, usage=USAGE)
    response = await reply.begin()
    for word in ("six ", "by ", "seven"):
        await reply.send(response, reply.chunk({"reasoning_content": word}))
    await reply.send(response, reply.chunk({"content": "42"}))
    return await reply.end(response, USAGE)


@mode("two")
async def two(reply: Reply) -> web.StreamResponse:
    """Two choices, as `n = 2` asks for."""
    texts = ("left side", "right side")
    if not reply.stream:
        choices = [
            {"index": i, "message": {"role": "assistant", "content": t}, "finish_reason": "stop"}
            for i, t in enumerate(texts)
        ]
        return reply.whole({}, choices=choices, usage=USAGE)
    response = await reply.begin()
    for words in zip(*(text.replace(" ", " |").split("|") for text in texts), strict=True):
        for index, word in enumerate(words):
            await reply.send(response, reply.chunk({"content": word}, index=index))
    for index in range(2):
        await reply.send(response, reply.chunk({}, "stop", index=index))
    await reply.send(response, reply.chunk({}, choices=[], usage=USAGE))
    await reply.send(response, b"data: [DONE]\n\n")
    return response


@mode("flaky")
async def flaky(reply: Reply) -> web.StreamResponse:
    """Every second request a 503, the first one included; the others as they should be."""
    if reply.turn % 2:
        return reply.error(503, "The engine is overloaded.")
    return await _answer(reply, USAGE)


@mode("anthropic")
async def anthropic(reply: Reply) -> web.StreamResponse:
    """Answers the way the Messages API does, with a thought and a prompt read from the cache.

    `anthropic@cut` ends cleanly in mid-stream, `anthropic@stall` goes silent there.
    """
    usage = {"input_tokens": 5, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 30}
    thought = {"type": "thinking", "thinking": "six by seven", "signature": "s1"}
    if not reply.stream:
        answer = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": reply.model,
            "content": [thought, {"type": "text", "text": "forty two"}],
            "stop_reason": "end_turn",
            "usage": {**usage, "output_tokens": 9},
        }
        return web.json_response(answer)
    response = await reply.begin()
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": reply.model}
    start = {**message, "content": [], "usage": {**usage, "output_tokens": 1}}
    await _send_event(reply, response, "message_start", message=start)
    empty = {"type": "thinking", "thinking": "", "signature": ""}
    await _send_event(reply, response, "content_block_start", index=0, content_block=empty)
    for piece in ("six by ", "seven"):
        delta = {"type": "thinking_delta", "thinking": piece}
        await _send_event(reply, response, "content_block_delta", index=0, delta=delta)
    signed = {"type": "signature_delta", "signature": "s1"}
    await _send_event(reply, response, "content_block_delta", index=0, delta=signed)
    await _send_event(reply, response, "content_block_stop", index=0)
    text = {"type": "text", "text": ""}
    await _send_event(reply, response, "content_block_start", index=1, content_block=text)
    for piece in ("forty", " two"):
        delta = {"type": "text_delta", "text": piece}
        await _send_event(reply, response, "content_block_delta", index=1, delta=delta)
    if reply.option == "stall":
        await asyncio.Event().wait()
    if reply.option == "cut":
        return response
    await _send_event(reply, response, "content_block_stop", index=1)
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    spent = {**usage, "output_tokens": 9}
    await _send_event(reply, response, "message_delta", delta=end, usage=spent)
    await _send_event(reply, response, "message_stop")
    return response


async def _send_event(reply: Reply, response: web.StreamResponse, kind: str, **fields: Any) -> None:
    data = json.dumps({"type": kind, **fields})
    await reply.send(response, f"event: {kind}\ndata: {data}\n\n".encode())
