"""What a deed on requests would reach: read from the engine, for one, a session, marks, a filter.

Reading and values only; the words are the dialogs'.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ksi_tui.client import SnapshotQuery
from ksi_tui.engine.views import Live, Phase
from ksi_tui.screens.base import Target
from ksi_tui.screens.host import Host, ask, refusal

UNFINISHED = ("queued", "processing", "retrying")
"""States after which something still happens by itself."""
AGAIN = ("failed", "cancelled", "retrying")
"""States from which a request can be tried again."""
READ_MOST = 200
"""How many marked requests are looked at one by one before they are asked about."""
_PHASE_OF = {
    "queued": Phase.QUEUED,
    "processing": Phase.CONNECTING,
    "retrying": Phase.RETRYING,
    "completed": Phase.COMPLETED,
    "failed": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
}
_CHARS_A_TOKEN = 4
_LOOKS, _LOOK_S = 20, 0.05
"""So often, and in steps of so many seconds, a live view from afar is looked for."""


class Scope(StrEnum):
    """How far a deed on requests reaches."""

    ONE = "one"
    SESSION = "session"
    MARKED = "marked"
    MATCHING = "matching"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What could be reached from where the user stands; `matching` is a list's filter as text."""

    request_id: str | None = None
    session_id: str | None = None
    marked: tuple[str, ...] = ()
    matching: str | None = None

    @classmethod
    def of(cls, target: Target, marked: tuple[str, ...], matching: str | None) -> Reach:
        """Return what can be reached from a target, marks and a list's filter."""
        return cls(
            request_id=target.request_id,
            session_id=target.session_id,
            marked=marked,
            matching=matching,
        )

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """What there is to choose from, the narrowest first."""
        there = {
            Scope.ONE: self.request_id is not None,
            Scope.SESSION: self.session_id is not None,
            Scope.MARKED: bool(self.marked),
            Scope.MATCHING: self.matching is not None,
        }
        return tuple(scope for scope, given in there.items() if given)

    @property
    def first(self) -> Scope:
        """What is chosen at first: the marks, for who marks means them; else the cursor's."""
        return Scope.MARKED if self.marked else self.scopes[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One request that would be reached.

    `spent` in dollars: what its calls cost, and an estimate for the one that runs; None
    where that has no price. `called`: something of it was sent to a provider.
    """

    request_id: str
    status: str
    phase: Phase
    tokens: int = 0
    spent: float | None = None
    called: bool = False
    provider: str | None = None
    model: str | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """What would be reached: states by id as far as they were read, and the first in detail.

    `total` counts all of it, also what was not read; `left_out` those that were asked for
    and that the deed does not apply to. `lock` is the session's lock: holder, and whether
    the request that runs took it. `ids` are what to name to the engine; empty: the session.
    `ended`: how the others of the same reading stand. `beyond`: how many more match than
    one deed reaches.
    """

    states: Mapping[str, str] = field(default_factory=dict)
    total: int = 0
    left_out: int = 0
    shown: tuple[Hit, ...] = ()
    lock_holder: str | None = None
    lock_is_theirs: bool = False
    ids: tuple[str, ...] = ()
    ended: Mapping[str, str] = field(default_factory=dict)
    beyond: int = 0

    @property
    def counts(self) -> Counter[str]:
        """How many are in which state, of those that were read."""
        return Counter(self.states.values())

    @property
    def unlisted(self) -> Counter[str]:
        """How many of those that were read, and are not in `shown`, are in which state."""
        return self.counts - Counter(hit.status for hit in self.shown)

    @property
    def unread(self) -> int:
        """How many were not read: nobody knows what they are doing."""
        return max(0, self.total - len(self.states))


async def read_hits(
    host: Host, reach: Reach, scope: Scope, states: Sequence[str], most: int
) -> Hits | str:
    """Return what would be reached, `most` of it in detail, or why the engine does not say.

    Those that run come first: most is at stake with them.
    """
    reader = _Reader(host, reach, states)
    found = await reader.read(scope)
    if isinstance(found, str):
        return found
    prices = await _prices(host)
    first = sorted(found.states, key=lambda each: found.states[each] != "processing")[:most]
    shown = await asyncio.gather(*(_detail(host, i, found.states[i], prices) for i in first))
    return Hits(
        states=found.states,
        total=found.total,
        left_out=found.left_out,
        shown=tuple(shown),
        lock_holder=found.lock_holder,
        lock_is_theirs=found.lock_is_theirs,
        ids=found.ids,
        ended=found.ended,
        beyond=found.beyond,
    )


class _Reader:
    def __init__(self, host: Host, reach: Reach, states: Sequence[str]) -> None:
        self._host, self._reach, self._wanted = host, reach, states

    async def read(self, scope: Scope) -> Hits | str:
        reach = self._reach
        if scope is Scope.SESSION or (scope is Scope.ONE and reach.session_id):
            return await self._session(one=scope is Scope.ONE)
        if scope is Scope.ONE:
            return await self._named((reach.request_id or "",))
        if scope is Scope.MARKED:
            return await self._named(reach.marked)
        return await self._matching(reach.matching or "")

    async def _session(self, *, one: bool) -> Hits | str:
        reply = await ask(
            self._host, "completion:session_status", session_id=self._reach.session_id
        )
        error = refusal(reply)
        if error is not None:
            return error
        known = {
            str(entry["request_id"]): str(entry["status"])
            for entry in reply.get("completions") or ()
        }
        listed = {each: status for each, status in known.items() if status in self._wanted}
        session, queue = reply.get("session") or {}, reply.get("queue") or {}
        total = len(listed)
        if "queued" in self._wanted:  # the list ends at the newest; the queue's length does not
            running = 1 if session.get("active_request") else 0
            total = max(total, int(queue.get("queue_size") or 0) + running)
        request_id = self._reach.request_id or ""
        if one and request_id not in known:
            return await self._named((request_id,))
        if one:
            listed = {each: status for each, status in listed.items() if each == request_id}
            total = len(listed)
        taker = session.get("lock_request")
        return Hits(
            states=listed,
            total=total,
            lock_holder=session.get("lock_holder"),
            lock_is_theirs=taker is not None and taker in listed,
            ids=(request_id,) if one else (),
            ended={each: status for each, status in known.items() if each not in listed},
        )

    async def _named(self, ids: Sequence[str]) -> Hits | str:
        read = ids[:READ_MOST]
        replies = await asyncio.gather(
            *(ask(self._host, "completion:request_status", request_id=each) for each in read)
        )
        if len(ids) == 1 and (error := refusal(replies[0])) is not None:
            return error
        found = {
            each: str(reply.get("status"))
            for each, reply in zip(read, replies, strict=True)
            if reply.get("status") in self._wanted
        }
        unread = ids[READ_MOST:]
        return Hits(
            states=found,
            total=len(found) + len(unread),
            left_out=len(read) - len(found),
            ids=(*found, *unread),
            ended={
                each: str(reply.get("status") or "")
                for each, reply in zip(read, replies, strict=True)
                if each not in found
            },
        )

    async def _matching(self, text: str) -> Hits | str:
        def asked(states: str) -> str:
            return f"{text} status:{states}".strip()

        reply = await ask(
            self._host, "completion:requests", filter=asked(",".join(self._wanted)), ids_only=True
        )
        error = refusal(reply)
        if error is not None:
            return error
        ids = tuple(str(each) for each in reply.get("ids") or ())
        beyond = max(0, int(reply.get("total") or 0) - len(ids))
        first = await self._named(ids[:READ_MOST]) if ids else Hits()
        if isinstance(first, str):
            return first
        return Hits(
            states=first.states,
            total=len(ids) - first.left_out,
            ids=(*first.states, *ids[READ_MOST:]),
            beyond=beyond,
        )


Prices = Mapping[str, tuple[float, float]]
"""Dollars for a million tokens in and out, by model, where there is a price."""


async def _prices(host: Host) -> Prices:
    reply = await ask(host, "completion:models")
    return {
        str(each["model"]): (float(each["input_price"]), float(each["output_price"]))
        for each in reply.get("models") or ()
        if each.get("input_price") is not None and each.get("output_price") is not None
    }


async def _detail(host: Host, request_id: str, status: str, prices: Prices) -> Hit:
    """Return one request as it is, as far as the engine tells."""
    reply = await ask(host, "completion:request_status", request_id=request_id)
    live = await _live(host, request_id)
    running = live is not None and live.phase.running
    model = (live.model if live else None) or reply.get("model")
    calls = [call for each in reply.get("attempts") or () for call in each.get("calls") or ()]
    booked = reply.get("cost")
    estimate = _estimate(reply, live, prices.get(str(model))) if running else None
    spent = (
        float(booked or 0) + (estimate or 0) if booked is not None or estimate is not None else None
    )
    usage = reply.get("usage") or {}
    return Hit(
        request_id=request_id,
        status=status,
        phase=live.phase if live else _PHASE_OF.get(status, Phase.QUEUED),
        tokens=live.tokens if live else int(usage.get("output") or 0),
        spent=spent,
        called=running or bool(calls),
        provider=live.provider if live is not None and running else None,
        model=str(model) if model else None,
        session_id=reply.get("session_id"),
    )


async def _live(host: Host, request_id: str) -> Live | None:
    """Return the live view; from an engine that is elsewhere it takes a moment."""
    query = SnapshotQuery(
        active_limit=0,
        queue_limit=0,
        lock_limit=0,
        pause_limit=0,
        trend_points=1,
        request_id=request_id,
    )
    for _ in range(_LOOKS):
        found = host.client.snapshot(query) if host.client is not None else None
        if found is None or found.answers:
            break
        await asyncio.sleep(_LOOK_S)
    return found.live if found is not None else None


def _estimate(
    reply: Mapping[str, Any], live: Live | None, price: tuple[float, float] | None
) -> float | None:
    """Return what the running call has cost so far, in dollars, from its texts' lengths."""
    if live is None or price is None:
        return None
    asked = len(str(reply.get("prompt") or "")) + len(str(reply.get("messages") or ""))
    return (asked / _CHARS_A_TOKEN * price[0] + live.tokens * price[1]) / 1e6
