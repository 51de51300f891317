"""Ways for the misbehaving server to break: connections, streams and bodies that come to no end."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import NoReturn

from aiohttp import web

from tests.servers.modes import MODES, WORDS, Reply, cut, mode, ok, transport_of

_PAUSE_S = 0.05


@mode("429_date")
async def rate_limited_until(reply: Reply) -> web.StreamResponse:
    """Too many requests, with the wait as an HTTP date 30 s ahead; `429_date@3`: 3 s ahead."""
    return reply.error(429, "Rate limit reached", "rate_limit_exceeded", Retry_After=_date(reply))


@mode("503_date")
async def overloaded_until(reply: Reply) -> web.StreamResponse:
    """Overloaded, with the wait as an HTTP date."""
    return reply.error(503, "The engine is overloaded.", Retry_After=_date(reply))


def _date(reply: Reply) -> str:
    ahead = timedelta(seconds=int(reply.option or 30))
    return format_datetime(datetime.now(UTC) + ahead, usegmt=True)


@mode("400_html")
async def refused_by_a_page(_: Reply) -> web.StreamResponse:
    """A 400 that nothing explains, as a proxy's page."""
    page = "<html><head><title>400 Bad Request</title></head><body>nginx</body></html>"
    return web.Response(text=page, status=400, content_type="text/html")


@mode("500_bare")
async def failed_without_a_word(_: Reply) -> web.StreamResponse:
    """A 500 without a body."""
    return web.Response(status=500)


async def _never() -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def _half_a_body(reply: Reply, data: bytes, *, length: int = 1000) -> web.StreamResponse:
    """Send headers that promise more than `data`."""
    headers = {"Content-Type": "application/json", "Content-Length": str(length)}
    response = web.StreamResponse(headers=headers)
    await response.prepare(reply.request)
    if data:
        await reply.send(response, data)
    return response


@mode("503_hang")
async def overloaded_then_silent(reply: Reply) -> web.StreamResponse:
    """Overloaded at the first request; no headers, ever, at the others."""
    return await MODES["503" if reply.turn == 1 else "hang"](reply)


@mode("hangup")
async def hangup(reply: Reply) -> web.StreamResponse:
    """Closes the connection in good order, without any answer."""
    transport_of(reply).close()
    return web.Response()


@mode("stall_body")
async def stall_body(reply: Reply) -> web.StreamResponse:
    """Half a body, then nothing."""
    await _half_a_body(reply, b'{"id": "chatcmpl-1", "choices"')
    await _never()


@mode("cut_first")
async def cut_first(reply: Reply) -> web.StreamResponse:
    """Breaks off after the headers, before any token."""
    if reply.stream:
        response = await reply.begin()
        await reply.send(response, reply.chunk({"role": "assistant", "content": ""}))
    else:
        response = await _half_a_body(reply, b"")
    await asyncio.sleep(_PAUSE_S)  # or the headers would be lost with the connection
    transport_of(reply).close()
    return response


@mode("error_first")
async def error_first(reply: Reply) -> web.StreamResponse:
    """An error with status 200, as the whole body or the stream's first piece; `@code`."""
    code = int(reply.option) if reply.option else None
    error = {"error": {"message": "The server is overloaded.", "type": "error", "code": code}}
    if not reply.stream:
        return web.json_response(error)
    response = await reply.begin()
    await reply.send(response, b"data: " + json.dumps(error).encode() + b"\n\n")
    return response


@mode("truncated_done")
async def truncated_done(reply: Reply) -> web.StreamResponse:
    """Five words, then [DONE], without a finish reason."""
    response = await reply.begin()
    await reply.words(response, WORDS[:5], 0)
    await reply.send(response, b"data: [DONE]\n\n")
    return response


@mode("tools_cut")
async def tools_cut(reply: Reply) -> web.StreamResponse:
    """Ends cleanly in the middle of a tool call's arguments, without a finish reason."""
    response = await reply.begin()
    function = {"name": "weather", "arguments": '{"ci'}
    call = {"index": 0, "id": "call_0", "type": "function", "function": function}
    await reply.send(response, reply.chunk({"tool_calls": [call]}))
    await reply.send(response, b"data: [DONE]\n\n")
    return response


@mode("no_body")
async def no_body(_: Reply) -> web.StreamResponse:
    """A 200 with nothing in it."""
    return web.Response(content_type="application/json")


@mode("nothing")
async def nothing(_: Reply) -> web.StreamResponse:
    """A 200 with an empty object, to whole and stream alike."""
    return web.json_response({})


@mode("null_choices")
async def null_choices(reply: Reply) -> web.StreamResponse:
    """A success whose choices are null."""
    if not reply.stream:
        return web.json_response({"id": "c", "object": "chat.completion", "choices": None})
    response = await reply.begin()
    await reply.send(response, b'data: {"id": "c", "choices": null}\n\n')
    await reply.send(response, b"data: [DONE]\n\n")
    return response


@mode("comments")
async def comments(reply: Reply) -> web.StreamResponse:
    """A few keep-alive comments (of a body: blanks), then a clean end without any answer."""
    response = await reply.begin()
    for _ in range(5):
        await reply.send(response, b": keep-alive\n\n" if reply.stream else b" ")
    return response


@mode("blanks")
async def blanks(reply: Reply) -> web.StreamResponse:
    """A body of nothing but blanks, ten a second: what keeps a proxy's connection alive."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(reply.request)
    while True:
        await reply.send(response, b" ")
        await asyncio.sleep(0.1)


@mode("cut_once")
async def cut_once(reply: Reply) -> web.StreamResponse:
    """Breaks off in the middle the first time; as it should be afterwards."""
    return await (cut if reply.turn == 1 else ok)(reply)


@mode("two_cut")
async def two_cut(reply: Reply) -> web.StreamResponse:
    """Two choices, of which only the first comes to its end."""
    response = await reply.begin()
    for index in range(2):
        await reply.send(response, reply.chunk({"content": WORDS[index]}, index=index))
    await reply.send(response, reply.chunk({}, "stop", index=0))
    await reply.send(response, b"data: [DONE]\n\n")
    return response
