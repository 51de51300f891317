"""Ways for the misbehaving server to send too much, too oddly, or to a place of its choosing."""

from __future__ import annotations

import asyncio
import gzip
import json
import select
import socket
import struct
from collections.abc import Iterator

from aiohttp import web

from tests.servers.modes import USAGE, WORDS, Reply, mode, transport_of

MEGABYTE = 1024 * 1024
_LOOK_EVERY_S = 0.05


def _head(reply: Reply) -> bytes:
    """Return a chat.completion up to the first letter of its text."""
    said = {"id": "c", "object": "chat.completion", "created": 1, "model": reply.model}
    message = '"choices": [{"index": 0, "message": {"role": "assistant", "content": "'
    return json.dumps(said)[:-1].encode() + b", " + message.encode()


_TAIL = b'"}, "finish_reason": "stop"}]}'
_CHUNK_TAIL = b'"}, "finish_reason": null}]}\n\n'


def _chunk_head(reply: Reply) -> bytes:
    said = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": reply.model}
    delta = '"choices": [{"index": 0, "delta": {"content": "'
    return f"data: {json.dumps(said)[:-1]}, {delta}".encode()


def _megabytes(option: str, default: int) -> Iterator[bytes]:
    piece = b"abcdefg " * (MEGABYTE // 8)
    return (piece for _ in range(int(option or default)))


@mode("big")
async def big(reply: Reply) -> web.StreamResponse:
    """100 MB of text in one body, or one chunk of a stream; `big@3`: 3 MB."""
    kind = "text/event-stream" if reply.stream else "application/json"
    response = web.StreamResponse(headers={"Content-Type": kind})
    await response.prepare(reply.request)
    await reply.send(response, _chunk_head(reply) if reply.stream else _head(reply))
    for piece in _megabytes(reply.option, 100):
        await reply.send(response, piece)
    await reply.send(response, _CHUNK_TAIL if reply.stream else _TAIL)
    return await reply.end(response, USAGE) if reply.stream else response


@mode("bomb")
async def bomb(reply: Reply) -> web.StreamResponse:
    """100 MB of text, compressed to 0.1 MB: one body, or one chunk of a stream."""
    kind = "text/event-stream" if reply.stream else "application/json"
    headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(reply.request)
    await reply.send(response, _bomb(reply))
    return response


_bombs: dict[bool, bytes] = {}


def _bomb(reply: Reply) -> bytes:
    if reply.stream not in _bombs:
        head, tail = (_chunk_head(reply), _CHUNK_TAIL) if reply.stream else (_head(reply), _TAIL)
        plain = head + b"a" * (100 * MEGABYTE) + tail
        if reply.stream:
            plain += reply.chunk({}, "stop") + b"data: [DONE]\n\n"
        _bombs[reply.stream] = gzip.compress(plain, 6)
    return _bombs[reply.stream]


@mode("zipped")
async def zipped(reply: Reply) -> web.StreamResponse:
    """As it should be, compressed."""
    text = " ".join(WORDS)
    if reply.stream:
        plain = b"".join(reply.chunk({"content": word + " "}) for word in WORDS)
        plain += reply.chunk({}, "stop") + b"data: [DONE]\n\n"
    else:
        plain = _head(reply) + text.encode() + _TAIL
    kind = "text/event-stream" if reply.stream else "application/json"
    headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
    return web.Response(body=gzip.compress(plain), headers=headers)


@mode("endless")
async def endless(reply: Reply) -> web.StreamResponse:
    """Words, or a body's text, without end and as fast as they go."""
    if reply.stream:
        response = await reply.begin()
        hundred = reply.chunk({"content": "word "}) * 100
    else:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(reply.request)
        await reply.send(response, _head(reply))
        hundred = b"abcdefg " * 8192
    while True:
        await reply.send(response, hundred)
        await asyncio.sleep(0)


@mode("endless_line")
async def endless_line(reply: Reply) -> web.StreamResponse:
    """A stream's chunk without end: one line, as fast as it goes."""
    response = await reply.begin()
    await reply.send(response, _chunk_head(reply))
    while True:
        await reply.send(response, b"abcdefg " * 8192)
        await asyncio.sleep(0)


@mode("bad_utf8")
async def bad_utf8(reply: Reply) -> web.StreamResponse:
    """Text with bytes in it that are no UTF-8."""
    wrong = b"caf\xe9 \xff\xfe \xc3("
    if not reply.stream:
        body = _head(reply) + wrong + _TAIL
        return web.Response(body=body, content_type="application/json")
    response = await reply.begin()
    await reply.send(response, _chunk_head(reply) + wrong + _CHUNK_TAIL)
    return await reply.end(response, USAGE)


@mode("surrogate")
async def surrogate(reply: Reply) -> web.StreamResponse:
    """Half of a pair of surrogates, escaped: JSON that no UTF-8 can hold."""
    if not reply.stream:
        body = _head(reply) + b"a \\ud83d b" + _TAIL
        return web.Response(body=body, content_type="application/json")
    response = await reply.begin()
    await reply.send(response, _chunk_head(reply) + b"a \\ud83d b" + _CHUNK_TAIL)
    return await reply.end(response, USAGE)


@mode("twice")
async def twice(reply: Reply) -> web.StreamResponse:
    """Every chunk comes twice, the last ones too."""
    response = await reply.begin()
    pieces = [reply.chunk({"content": word + " "}) for word in WORDS]
    for piece in [*pieces, reply.chunk({}, "stop"), reply.chunk({}, choices=[], usage=USAGE)]:
        await reply.send(response, piece + piece)
    await reply.send(response, b"data: [DONE]\n\n" * 2)
    return response


@mode("disorder")
async def disorder(reply: Reply) -> web.StreamResponse:
    """Usage first, then the finish reason, then the text, the role last; `@done`: [DONE] first."""
    response = await reply.begin()
    pieces = [
        reply.chunk({}, choices=[], usage=USAGE),
        reply.chunk({}, "stop"),
        *(reply.chunk({"content": word + " "}) for word in WORDS),
        reply.chunk({"role": "assistant"}),
    ]
    done = b"data: [DONE]\n\n"
    for piece in [done, *pieces] if reply.option == "done" else [*pieces, done]:
        await reply.send(response, piece)
    return response


@mode("redirect")
async def redirect(reply: Reply) -> web.StreamResponse:
    """Sends on to the same server's `ok`; `redirect@loop` to itself, `redirect@302` as that."""
    if reply.option == "loop":
        raise web.HTTPTemporaryRedirect(str(reply.request.rel_url))
    place = "/ok/v1/chat/completions"
    if reply.option == "away":  # another host's name for this machine: another origin
        place = f"http://localhost:{reply.request.url.port}/echo_key/v1/chat/completions"
    refuse = web.HTTPFound if reply.option == "302" else web.HTTPTemporaryRedirect
    raise refuse(place)


@mode("rst")
async def rst(reply: Reply) -> web.StreamResponse:
    """Resets the connection in earnest: before any answer, or after five words of a stream."""
    if reply.stream:
        response = await reply.begin()
        await reply.words(response, WORDS[:5], 0)
        await asyncio.sleep(_LOOK_EVERY_S)  # or the words would be lost with the connection
    sock = reply.request.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport_of(reply).abort()
    return web.Response()


@mode("half_open")
async def half_open(reply: Reply) -> web.StreamResponse:
    """Ends its half of the connection without an answer, and keeps the other one open."""
    transport_of(reply).write_eof()
    await _gone(reply)
    return web.Response()


@mode("deaf")
async def deaf(reply: Reply) -> web.StreamResponse:
    """Neither reads nor answers any more, as behind a cable that is cut; notes the other's end."""
    transport_of(reply).pause_reading()
    await _gone(reply)
    return web.Response()


async def _gone(reply: Reply) -> None:
    """Wait until the other side has ended the connection, without reading from it."""
    poll = select.poll()
    poll.register(reply.request.get_extra_info("socket").fileno(), select.POLLRDHUP)
    while not poll.poll(0):  # noqa: ASYNC110 - the system's word, not an event of ours
        await asyncio.sleep(_LOOK_EVERY_S)
    transport_of(reply).abort()
