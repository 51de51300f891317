"""Event names, the router and its subscriptions.

The router knows nothing of completions: it finds the handler of a name, hands
notifications to subscribers and never lets a slow one hold the engine up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

Data = Mapping[str, Any]
Reply = dict[str, Any]
Handler = Callable[[Data], Awaitable[Reply]]
Keep = Callable[[str, Data], None]

SNAPSHOT = "engine:snapshot"
"""First event of every subscription: the state at the moment of subscribing."""
LOST = "engine:lost"
"""Handed to a subscriber that was too slow: `{"lost": count}` of events it missed."""

QUEUED = "completion:queued"
PROGRESS = "completion:progress"
DELTA = "completion:delta"
"""A piece of the answer as it comes, told to those only who follow its request."""
RETRYING = "completion:retrying"
RESULT = "completion:result"
ERROR = "completion:error"
CANCELLED = "completion:cancelled"
UPSTREAM_CLOSED = "completion:upstream_closed"
LOCKED = "conversation:locked"
UNLOCKED = "conversation:unlocked"
CIRCUIT = "provider:circuit"
QUEUE_PAUSED = "queue:paused"
QUEUE_RESUMED = "queue:resumed"
HIGH_USAGE = "tokens:high_usage"
INJECTION_QUEUED = "injection:queued"
INJECTION_STORED = "injection:stored"
INJECTION_BLOCKED = "injection:blocked"
WORKER_STARTED = "worker:started"
WORKER_LOST = "worker:lost"

OF_REQUEST = "request:"
"""Begins the pattern of a subscription that follows one request; its id comes after it."""


@dataclass(frozen=True, slots=True)
class Event:
    """One notification. `seq` rises by one per event of an engine's life; `at` is epoch seconds."""

    seq: int
    name: str
    data: Data
    at: float


@lru_cache(maxsize=4096)
def matches(pattern: str, name: str) -> bool:
    """Return whether `name` fits `pattern`, where `*` stands for one whole `:` segment.

    A pattern that is `*` alone fits every name.
    """
    if pattern == "*":
        return True
    wanted, found = pattern.split(":"), name.split(":")
    return len(wanted) == len(found) and all(
        w in ("*", f) for w, f in zip(wanted, found, strict=True)
    )


class Subscription:
    """An asynchronous iterator over events; close it with `aclose` or leave its `async with`.

    It keeps at most `capacity` events; over that the oldest are lost, and the next
    event handed out is `engine:lost` with their count.
    """

    def __init__(self, pattern: str, capacity: int, on_close: Callable[[Subscription], None]):
        self.pattern = pattern
        self._buffer: deque[Event] = deque()
        self._capacity = capacity
        self._lost = 0
        self._wake = asyncio.Event()
        self._closed = False
        self._on_close = on_close

    def push(self, event: Event) -> None:
        """Take an event; never waits."""
        if len(self._buffer) >= self._capacity:
            self._buffer.popleft()
            self._lost += 1
        self._buffer.append(event)
        self._wake.set()

    def drain(self, limit: int | None = None) -> list[Event]:
        """Return what has gathered, `limit` events at most, at once and without waiting."""
        events: list[Event] = []
        while limit is None or len(events) < limit:
            event = self._next_buffered()
            if event is None:
                break
            events.append(event)
        return events

    def _next_buffered(self) -> Event | None:
        if self._lost and self._buffer:
            lost, self._lost = self._lost, 0
            head = self._buffer[0]
            return Event(head.seq - 1, LOST, {"lost": lost}, head.at)
        return self._buffer.popleft() if self._buffer else None

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while True:
            event = self._next_buffered()
            if event is not None:
                return event
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the subscription; what is buffered can still be read."""
        self.end()

    def end(self) -> None:
        """As `aclose`, for callers that are not asynchronous."""
        if not self._closed:
            self._closed = True
            self._on_close(self)
            self._wake.set()


class Router:
    """Finds handlers by event name and hands notifications to subscribers."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._handlers: dict[str, Handler] = {}
        self._subscriptions: list[Subscription] = []
        self._hearing: dict[str, tuple[Subscription, ...]] = {}
        self._following: dict[str, list[Subscription]] = {}
        self._kept: dict[str, Keep] = {}
        self._held: dict[str, list[tuple[str, Data]]] = {}
        self._seq = 0

    def keep(self, names: Iterable[str], keep: Keep) -> None:
        """Hand each notification of these names to `keep` too, at once and before subscribers."""
        self._kept = dict.fromkeys(names, keep)

    def register(self, name: str, handler: Handler) -> None:
        """Let `handler` answer `name`; one handler a name."""
        if name in self._handlers:
            raise ValueError(f"{name} already has a handler")
        self._handlers[name] = handler

    def handler(self, name: str) -> Handler | None:
        """Return who answers `name`, or None."""
        return self._handlers.get(name)

    @property
    def names(self) -> list[str]:
        """The names that have a handler, sorted."""
        return sorted(self._handlers)

    def publish(self, name: str, data: Data) -> None:
        """Hand a notification to every subscriber whose pattern fits."""
        request_id = data.get("request_id", "")
        if self._held and request_id in self._held:
            self._held[request_id].append((name, data))
            self.tell(request_id, name, data)
            return
        self._publish(name, data, self._following.get(request_id) if self._following else None)

    def _publish(self, name: str, data: Data, followers: list[Subscription] | None) -> None:
        self._seq += 1
        keep = self._kept.get(name)
        if keep is not None:
            keep(name, data)
        if not self._subscriptions and not followers:
            return
        told = self._hearing.get(name)
        if told is None:
            told = tuple(each for each in self._subscriptions if matches(each.pattern, name))
            self._hearing[name] = told
        if told or followers:
            event = Event(self._seq, name, data, self._clock())
            for subscription in (*told, *(followers or ())):
                subscription.push(event)

    def follows(self, request_id: str) -> bool:
        """Return whether anybody follows this request."""
        return request_id in self._following

    def tell(self, request_id: str, name: str, data: Data) -> None:
        """Hand a notification to those only who follow a request; it has no number of its own."""
        event = Event(self._seq, name, data, self._clock())
        for subscription in self._following.get(request_id, ()):
            subscription.push(event)

    def hold(self, request_id: str) -> None:
        """Tell of a request those only who follow it, until `release` or `forget`."""
        self._held[request_id] = []

    def release(self, request_id: str) -> None:
        """Tell everybody else what was held back of a request, in its order."""
        for name, data in self._held.pop(request_id):
            self._publish(name, data, None)

    def forget(self, request_id: str) -> None:
        """Tell nobody else what was held back of a request."""
        del self._held[request_id]

    def subscribe(self, pattern: str, snapshot: Data, capacity: int = 10_000) -> Subscription:
        """Return a new subscription whose first event is the given snapshot.

        With the pattern `request:<id>` it is handed all that is told of that one request, and
        its answer as it comes (`completion:delta`), which no other subscriber is.
        """
        if pattern.startswith(OF_REQUEST):
            request_id = pattern.removeprefix(OF_REQUEST)
            subscription = Subscription(pattern, capacity, partial(self._leave, request_id))
            self._following.setdefault(request_id, []).append(subscription)
        else:
            subscription = Subscription(pattern, capacity, self._deaf)
            self._subscriptions.append(subscription)
            self._hearing.clear()
        subscription.push(Event(self._seq, SNAPSHOT, snapshot, self._clock()))
        return subscription

    def _deaf(self, subscription: Subscription) -> None:
        self._subscriptions.remove(subscription)
        self._hearing.clear()

    def _leave(self, request_id: str, subscription: Subscription) -> None:
        followers = self._following[request_id]
        followers.remove(subscription)
        if not followers:
            del self._following[request_id]

    def close(self) -> None:
        """End every subscription."""
        following = [each for followers in self._following.values() for each in followers]
        for subscription in [*self._subscriptions, *following]:
            subscription.end()
