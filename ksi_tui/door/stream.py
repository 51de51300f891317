"""`GET /events`: notifications as server-sent events, resumed where a client left off.

One subscription of the engine's a stream, so that a reader who is slow loses the oldest and
slows nobody. Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, Final

from aiohttp import web

from ksi_tui.client import EngineClient, Event, Subscription
from ksi_tui.door import wire
from ksi_tui.door.attached import DASHBOARD, Attached
from ksi_tui.door.ring import Ring
from ksi_tui.door.shortened import shortened
from ksi_tui.engine.clock import iso
from ksi_tui.engine.errors import InvalidRequest, QueueFull
from ksi_tui.engine.events import LOST, OF_REQUEST
from ksi_tui.engine.payloads import MAX_ID_CHARS

HEARTBEAT_S: Final = 10.0
MOST_STREAMS: Final = 100
GATHER_S: Final = 0.02
"""Between two writes of one stream: what comes meanwhile goes in one piece."""
_AT_ONCE: Final = 100
_CHUNK: Final = 32_768
"""So many bytes are encoded in one turn of the loop: 2 ms."""
MOST_PATTERN: Final = MAX_ID_CHARS + len(OF_REQUEST)
LEAST_CHARS: Final = 100
MOST_CHARS: Final = 1_000_000
"""What `most_chars` may be."""
_NUMBER: Final = re.compile(r"[0-9]{1,7}", re.ASCII)
_POSITION: Final = re.compile(r"([0-9a-f]{1,64})\.([0-9]{1,18})", re.ASCII)
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


Cut = Callable[[Any], Any]
"""What is done to an event's data before it is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The last event that a client has: of which life of the engine, and its number there."""

    boot: str
    seq: int


class Streams:
    """The streams of one door; `boot` names the engine's life in every id."""

    def __init__(
        self,
        client: EngineClient,
        boot: str,
        attached: Attached,
        *,
        ring: Ring | None = None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._client = client
        self._boot = boot
        self._attached = attached
        self._ring = ring or Ring(client)
        self._heartbeat_s = heartbeat_s
        self._open: dict[Subscription, web.Application] = {}

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Answer with the stream, until the engine ends or the client goes."""
        pattern, position, caller = _pattern(request), _position(request), wire.caller_of(request)
        cut = _cutting(request)
        if len(self._open) >= MOST_STREAMS:
            raise QueueFull(f"{MOST_STREAMS} streams are open already; close one first")
        self._ring.begin()
        subscription = self._client.subscribe(pattern)
        self._open[subscription] = request.app
        try:
            first = self._first(subscription, position, cut)
            with ExitStack() as counted:
                if caller.kind == DASHBOARD and not pattern.startswith(OF_REQUEST):
                    counted.enter_context(self._attached.entered(caller))
                response = web.StreamResponse(headers=_HEADERS)
                await response.prepare(request)
                await self._write(response, first)
                await self._follow(response, subscription, cut)
        finally:
            subscription.end()
            del self._open[subscription]
        return response

    async def end_those_of(self, app: web.Application) -> None:
        """End the streams of an application that is about to stop."""
        for subscription, of in list(self._open.items()):
            if of is app:
                subscription.end()

    async def aclose(self) -> None:
        """Keep no more events for those who come back."""
        await self._ring.aclose()

    def _first(
        self, subscription: Subscription, position: Position | None, cut: Cut
    ) -> Iterator[bytes]:
        """Return the frames that a client begins with: the snapshot, and what it missed.

        All of them are settled at once, before anything else can be published.
        """
        (snapshot,) = subscription.drain(1)
        if position is None:
            return iter([self._frame(snapshot, cut)])
        # Without an id of its own: who breaks off in between has not yet what it missed.
        begin = self._frame(snapshot, cut, with_id=False)
        if position.boot != self._boot:
            gone = Event(snapshot.seq, LOST, {"lost": None, "why": "restarted"}, snapshot.at)
            return iter([begin, self._frame(gone, cut)])
        lost, missed = self._ring.since(position.seq, subscription.pattern)
        if lost:
            data = {"lost": lost, "why": "too_old"}
            missed = [Event(self._ring.floor, LOST, data, snapshot.at), *missed]
        return chain([begin], self._frames(missed, cut))

    async def _write(self, response: web.StreamResponse, frames: Iterator[bytes]) -> None:
        chunk = bytearray()
        for frame in frames:
            chunk += frame
            if len(chunk) >= _CHUNK:
                await response.write(bytes(chunk))
                chunk.clear()
                await asyncio.sleep(0)
        if chunk:
            await response.write(bytes(chunk))

    async def _follow(
        self, response: web.StreamResponse, subscription: Subscription, cut: Cut
    ) -> None:
        while True:
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    event = await anext(subscription)
            except StopAsyncIteration:
                return
            except TimeoutError:
                await response.write(b": alive\n\n")
                continue
            events = [event, *subscription.drain(_AT_ONCE - 1)]
            await self._write(response, self._frames(events, cut))
            await asyncio.sleep(GATHER_S)

    def _frames(self, events: Iterable[Event], cut: Cut) -> Iterator[bytes]:
        for event in events:
            slow = event.name == LOST and "why" not in event.data
            told = replace(event, data={**event.data, "why": "slow"}) if slow else event
            yield self._frame(told, cut)

    def _frame(self, event: Event, cut: Cut, *, with_id: bool = True) -> bytes:
        told = {"seq": event.seq, "name": event.name, "data": cut(event.data), "at": iso(event.at)}
        text = json.dumps(told, separators=(",", ":"), default=str)
        head = f"id: {self._boot}.{event.seq}\n" if with_id else ""
        return f"{head}event: {event.name}\ndata: {text}\n\n".encode()


def _pattern(request: web.Request) -> str:
    pattern = request.query.get("pattern", "*")
    if not 0 < len(pattern) <= MOST_PATTERN:
        raise InvalidRequest(f"pattern has 1 to {MOST_PATTERN} characters, such as completion:*")
    return pattern


def _cutting(request: web.Request) -> Cut:
    told = request.query.get("most_chars")
    if told is None:
        return _whole
    if not _NUMBER.fullmatch(told) or not LEAST_CHARS <= int(told) <= MOST_CHARS:
        raise InvalidRequest(f"most_chars is a number from {LEAST_CHARS} to {MOST_CHARS:,}")
    return partial(shortened, most_chars=int(told))


def _whole(data: Any) -> Any:
    return data


def _position(request: web.Request) -> Position | None:
    # The header first: a browser that comes back by itself sends it with the address of old.
    told = request.headers.get("Last-Event-ID") or request.query.get("after")
    if not told:
        return None
    found = _POSITION.fullmatch(told)
    if found is None:
        raise InvalidRequest("after, or Last-Event-ID, is the id of an event: <boot>.<number>")
    return Position(boot=found[1], seq=int(found[2]))
