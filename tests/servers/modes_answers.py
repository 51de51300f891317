"""Ways for the misbehaving server to answer in full, but not as the simplest client expects."""

from __future__ import annotations

import asyncio
import json
import random
from itertools import pairwise
from typing import Any

from aiohttp import web

from tests.servers.modes import SENTENCE, USAGE, WORDS, Reply, mode

ACCENTED = "Zażółć gęślą jaźń – 日本語 🙂 done."
"""Text whose letters take one to four bytes each in UTF-8."""
HUGE_WORDS = 200_000


@mode("bytes")
async def single_bytes(reply: Reply) -> web.StreamResponse:
    """As it should be, but one byte at a time, so that every letter is split."""
    if not reply.stream:
        message = {"role": "assistant", "content": ACCENTED}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": reply.model,
            "choices": [choice],
            "usage": USAGE,
        }
        data = json.dumps(body, ensure_ascii=False).encode()
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(reply.request)
        await _drip(reply, response, data)
        return response
    response = await reply.begin()
    pieces = [ACCENTED[start : start + 9] for start in range(0, len(ACCENTED), 9)]
    for piece in pieces:
        await _drip(reply, response, _unescaped(reply.chunk({"content": piece})))
    return await reply.end(response, USAGE)


def _unescaped(chunk: bytes) -> bytes:
    """Return the chunk with its letters as they are and not as escapes."""
    data = json.loads(chunk.removeprefix(b"data: "))
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


async def _drip(reply: Reply, response: web.StreamResponse, data: bytes) -> None:
    for byte in data:
        await reply.send(response, bytes([byte]))


@mode("commented")
async def commented(reply: Reply) -> web.StreamResponse:
    """As it should be, with keep-alive comments (of a body: blanks) before and between."""
    if not reply.stream:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(reply.request)
        for _ in range(20):
            await reply.send(response, b"\n ")
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": SENTENCE},
            "finish_reason": "stop",
        }
        body = {"id": "c", "object": "chat.completion", "model": reply.model, "choices": [choice]}
        await reply.send(response, json.dumps({**body, "created": 1, "usage": USAGE}).encode())
        return response
    response = await reply.begin()
    for word in WORDS:
        await reply.send(response, b": PROCESSING\n\n")
        await reply.send(response, reply.chunk({"content": word + " "}))
    return await reply.end(response, USAGE)


@mode("length")
async def length(reply: Reply) -> web.StreamResponse:
    """Stopped by the limit of tokens."""
    if not reply.stream:
        message = {"role": "assistant", "content": " ".join(WORDS)}
        return reply.whole(message, finish="length", usage=USAGE)
    response = await reply.begin()
    await reply.words(response, WORDS, 0)
    return await reply.end(response, USAGE, "length")


@mode("usage_with_finish")
async def usage_with_finish(reply: Reply) -> web.StreamResponse:
    """Usage on the chunk that holds the finish reason, none of its own."""
    response = await reply.begin()
    await reply.words(response, WORDS, 0)
    await reply.send(response, reply.chunk({}, "stop", usage=USAGE))
    await reply.send(response, b"data: [DONE]\n\n")
    return response


@mode("usage_every_chunk")
async def usage_every_chunk(reply: Reply) -> web.StreamResponse:
    """Usage so far on every chunk; the last is the true one."""
    response = await reply.begin()
    for count, word in enumerate(WORDS, 1):
        so_far = {"prompt_tokens": 20, "completion_tokens": count, "total_tokens": 20 + count}
        await reply.send(response, reply.chunk({"content": word + " "}, usage=so_far))
    await reply.send(response, reply.chunk({}, "stop", usage=USAGE))
    await reply.send(response, b"data: [DONE]\n\n")
    return response


@mode("usage_long")
async def usage_long(reply: Reply) -> web.StreamResponse:
    """2,000 words, with usage so far on every chunk."""
    response = await reply.begin()
    for count in range(1, 2001):
        so_far = {"prompt_tokens": 20, "completion_tokens": count, "total_tokens": 20 + count}
        await reply.send(response, reply.chunk({"content": f"w{count} "}, usage=so_far))
    await reply.send(response, reply.chunk({}, "stop"))
    await reply.send(response, b"data: [DONE]\n\n")
    return response


@mode("usage_null")
async def usage_null(reply: Reply) -> web.StreamResponse:
    """Whole, with a usage of null."""
    if not reply.stream:
        return reply.whole({"role": "assistant", "content": " ".join(WORDS)}, usage=None)
    response = await reply.begin()
    for word in WORDS:
        await reply.send(response, reply.chunk({"content": word + " "}, usage=None))
    await reply.send(response, reply.chunk({}, "stop", usage=None))
    await reply.send(response, b"data: [DONE]\n\n")
    return response


@mode("huge")
async def huge(reply: Reply) -> web.StreamResponse:
    """More than a megabyte in one chunk."""
    text = "".join(f"w{number} " for number in range(HUGE_WORDS))
    if not reply.stream:
        return reply.whole({"role": "assistant", "content": text}, usage=USAGE)
    response = await reply.begin()
    await reply.send(response, reply.chunk({"role": "assistant", "content": text}))
    return await reply.end(response, USAGE)


@mode("finish_twice")
async def finish_twice(reply: Reply) -> web.StreamResponse:
    """The chunk with the finish reason comes twice."""
    response = await reply.begin()
    await reply.words(response, WORDS, 0)
    await reply.send(response, reply.chunk({}, "stop"))
    return await reply.end(response, USAGE)


@mode("filtered")
async def filtered(reply: Reply) -> web.StreamResponse:
    """A success without text whose finish reason is the provider's content filter."""
    if not reply.stream:
        message = {"role": "assistant", "content": None}
        return reply.whole(message, finish="content_filter", usage=USAGE)
    response = await reply.begin()
    return await reply.end(response, USAGE, "content_filter")


@mode("text_and_tools")
async def text_and_tools(reply: Reply) -> web.StreamResponse:
    """Text first, then a tool call without arguments, as some servers send it."""
    call: dict[str, Any] = {
        "index": 0,
        "id": "call_0",
        "type": "function",
        "function": {"name": "now", "arguments": "{}"},
    }
    said = "Let me see."
    if not reply.stream:
        whole = {name: value for name, value in call.items() if name != "index"}
        message = {"role": "assistant", "content": said, "tool_calls": [whole]}
        return reply.whole(message, finish="tool_calls", usage=USAGE)
    response = await reply.begin()
    await reply.send(response, reply.chunk({"role": "assistant", "content": said}))
    await reply.send(response, reply.chunk({"tool_calls": [call]}))
    return await reply.end(response, USAGE, "tool_calls")


def recorded(reply: Reply) -> bytes:
    """Return a stream with all that a stream can hold: thought, text, calls, two choices."""
    call = _head("call_0", "weather")
    deltas: list[tuple[int, dict[str, Any], str | None]] = [
        (0, {"role": "assistant", "content": ""}, None),
        (0, {"reasoning_content": "where is "}, None),
        (1, {"role": "assistant", "content": "Inną "}, None),
        (0, {"reasoning_content": "that?"}, None),
        (0, {"content": ACCENTED}, None),
        (0, {"tool_calls": [call]}, None),
        (1, {"content": "odpowiedź."}, None),
        (0, {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": "Łó'}}]}, None),
        (0, {"tool_calls": [{"index": 0, "function": {"arguments": 'dź"}'}}]}, None),
        (1, {}, "stop"),
        (0, {}, "tool_calls"),
    ]
    chunks = [_unescaped(reply.chunk(delta, end, index=at)) for at, delta, end in deltas]
    chunks.append(reply.chunk({}, choices=[], usage=USAGE))
    return b"".join([*chunks, b"data: [DONE]\n\n"])


def _head(call_id: str, name: str) -> dict[str, Any]:
    function = {"name": name, "arguments": ""}
    return {"index": 0, "id": call_id, "type": "function", "function": function}


@mode("chopped")
async def chopped(reply: Reply) -> web.StreamResponse:
    """One recorded stream, sent at once; `chopped@7`: cut at random places, by that seed."""
    data = recorded(reply)
    rng = random.Random(int(reply.option or 0))
    cuts = rng.sample(range(1, len(data)), rng.randint(1, 60)) if reply.option else []
    response = await reply.begin()
    for start, end in pairwise([0, *sorted(cuts), len(data)]):
        await reply.send(response, data[start:end])
        await asyncio.sleep(0)  # so that each piece goes out by itself
    return response
