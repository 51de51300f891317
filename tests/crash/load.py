"""What clients ask of an engine while it is killed, and what each of them was told.

A client sends one thing after another and notes what was acknowledged; what was not it sends
again, under the same id, to the next life. Nothing is judged here.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

SETTINGS: Final = """
[engine]
max_concurrency = 8
timeout_s = 60
shutdown_grace_s = 20
[retry]
initial_delay_s = 0.05
max_delay_s = 0.2
[circuit]
fail_max = 1000
reset_timeout_s = 0.2
[[providers]]
name = "one"
kind = "simulated"
models = ["sim/*"]
model = "{model}"
params = { retry_after_s = 0.05 }
[[providers]]
name = "two"
kind = "simulated"
models = ["sim/*"]
model = "{model}"
priority = 2
[[providers]]
name = "sick"
kind = "simulated"
models = ["ill/*"]
model = "{model}"
params = { behaves_like = "sim/down" }
circuit = { fail_max = 2, reset_timeout_s = 300 }
[[providers]]
name = "spare"
kind = "simulated"
models = ["ill/*"]
model = "{model}"
priority = 2
params = { behaves_like = "sim/echo" }
"""
MODELS: Final = ("sim/echo", "sim/echo", "sim/slow", "sim/flaky", "sim/cut", "sim/limited", "ill/a")
FIFO, MIXED, TALK, LOCKED, PAUSED, HELD = "fifo", "mixed", "talk", "locked", "paused", "held"
_BY: Final = {"by": "boss", "reason": "harness"}


@dataclass(slots=True, kw_only=True)
class Record:
    """What clients were told, over all lives. Times are epoch seconds of this machine.

    `order` holds each first-come session's requests in the order in which they were sent.
    `opening` are providers whose circuit is told to be open, by this life and without a promise
    that it is on disk; `opened` are those with something on disk that was asked for after that,
    or seen to be open there.
    """

    accepted: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    told_twice: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    again: set[str] = field(default_factory=set)
    order: dict[str, list[str]] = field(default_factory=dict)
    injecting: set[str] = field(default_factory=set)
    paused: bool | None = None
    held: bool | None = None
    forced: bool | None = None
    opening: set[str] = field(default_factory=set)
    opened: set[str] = field(default_factory=set)
    restored: set[str] = field(default_factory=set)


class Gone(Exception):
    """The engine did not answer."""


class Visitor:
    """A client at an engine's door."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send an event and return its reply; raises Gone when none comes."""
        try:
            async with self._http.post(f"/events/{name}", json=dict(data or {})) as response:
                return dict(await response.json())
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Gone(name) from error

    async def happens(self, pattern: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Yield what the engine tells, until it has gone."""
        timeout = aiohttp.ClientTimeout(total=None)
        query = {"pattern": pattern}
        try:
            async with self._http.get("/events", params=query, timeout=timeout) as response:
                async for line in response.content:
                    if line.startswith(b"data: ") and line.endswith(b"\n"):
                        told = json.loads(line[6:])
                        yield told["name"], told["data"]
        except (aiohttp.ClientError, OSError):
            return


@asynccontextmanager
async def at_the_door(place: Path) -> AsyncIterator[Visitor]:
    """Visit the door at a place."""
    timeout = aiohttp.ClientTimeout(total=30)
    connector = aiohttp.UnixConnector(str(place), limit=0)
    async with aiohttp.ClientSession("http://ksi", connector=connector, timeout=timeout) as http:
        yield Visitor(http)


class Author:
    """One client that sends requests of its own, in their order."""

    def __init__(self, name: str, kind: str, dice: random.Random, record: Record) -> None:
        self.name, self.kind = name, kind
        self._dice, self._record = dice, record
        self._number = 0
        self._unsure: list[dict[str, Any]] = []

    async def life(self, visitor: Visitor, most: int) -> None:
        """Send so many requests; what was not acknowledged in an earlier life goes first."""
        while most > 0:
            some = min(most, self._dice.choice((1, 4, 8)))
            self._unsure = self._unsure or [self._drawn() for _ in range(some)]
            try:
                await self._send(visitor, self._unsure)
            except Gone:
                return
            most -= len(self._unsure)
            self._unsure = []
            await asyncio.sleep(self._dice.random() * 0.01)

    async def _send(self, visitor: Visitor, requests: list[dict[str, Any]]) -> None:
        """Send one request, or many as a batch, and note what is answered.

        Writes go to disk in their order, so a new request is there after what was told before.
        """
        opening = frozenset(self._record.opening)
        if len(requests) == 1:
            replies = [await visitor.emit("completion:async", requests[0])]
        else:
            reply = await visitor.emit("completion:batch", {"requests": requests})
            replies = reply.get("accepted", [reply] * len(requests))
        now = time.time()
        for request, reply in zip(requests, replies, strict=True):
            if "code" in reply:
                self._record.refused[request["request_id"]] = reply["error"]
            else:
                self._record.accepted.setdefault(request["request_id"], now)
                self._record.opened |= frozenset() if reply.get("duplicate") else opening

    def _drawn(self) -> dict[str, Any]:
        dice, record = self._dice, self._record
        self._number += 1
        request_id = f"{self.name}-{self._number}"
        asked: dict[str, Any] = {
            "request_id": request_id,
            "prompt": f"{request_id} " + "word " * dice.randint(1, 12),
            "model": dice.choice(MODELS),
            "history": "none",
            "session_id": self.name,
            "extra_body": {"sim": self._pace()},
            "metadata": {"author": self.name},
        }
        match self.kind:
            case "fifo":
                record.order.setdefault(self.name, []).append(request_id)
            case "mixed":
                asked["priority"] = dice.choice(("critical", "normal", "low"))
            case "talk":
                del asked["history"]
                asked["model"] = "sim/echo"
                record.order.setdefault(self.name, []).append(request_id)
            case "locked":
                asked["agent_id"] = f"agent-{dice.randint(1, 2)}"
                asked["conversation_lock"] = {"timeout_s": 300}
            case "own":
                del asked["session_id"]
                self._injects(asked)
        return asked

    def _pace(self) -> dict[str, Any]:
        if self._dice.random() < 0.5:
            return {"delay_ms": self._dice.randint(0, 10)}
        return {"delay_ms": 2, "tokens_per_s": self._dice.randint(200, 1000)}

    def _injects(self, asked: dict[str, Any]) -> None:
        """Let some results go on into other sessions: one that waits there, or a completion."""
        if self._dice.random() < 0.4:
            mode = self._dice.choice(("direct", "next"))
            target = f"{mode}-{self._dice.randint(1, 3)}"
            asked["injection_config"] = {"mode": mode, "target_sessions": [target]}
            asked["model"] = "sim/echo"
            self._record.injecting.add(asked["request_id"])


class Operator:
    """Who cancels, retries, pauses, locks and forces, and remembers what was confirmed."""

    def __init__(self, dice: random.Random, record: Record) -> None:
        self._dice, self._record = dice, record

    async def holds(self, visitor: Visitor) -> None:
        """Pause a session, take a lock by hand, and force a circuit open, where not yet done."""
        record = self._record
        try:
            if record.paused is None:
                pause = {"scope": "session", "id": PAUSED, **_BY}
                record.paused = "code" not in await visitor.emit("queue:pause", pause)
            if record.held is None:
                lock = {"session_id": HELD, "agent_id": "boss", "timeout_s": 30 * 86_400}
                await visitor.emit("conversation:acquire_lock", lock)
                record.held = True
            if record.forced is None:
                await visitor.emit("provider:open", {"provider": "two", **_BY})
                record.forced = True
        except Gone:
            return

    async def lets_go(self, visitor: Visitor) -> None:
        """End all of that."""
        await visitor.emit("queue:resume", {"scope": "session", "id": PAUSED, **_BY})
        lock = {"session_id": HELD, "force": True, **_BY}
        await visitor.emit("conversation:release_lock", lock)
        await visitor.emit("provider:reset", {"provider": "two", "keep_statistics": True, **_BY})
        self._record.paused = self._record.held = self._record.forced = False

    async def meddles(self, visitor: Visitor, times: int) -> None:
        """Cancel some requests and retry others, until the engine has gone."""
        with suppress(Gone):
            await self._meddles(visitor, times)

    async def _meddles(self, visitor: Visitor, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(self._dice.random() * 0.05)
            if not (some := list(self._record.accepted)):
                continue
            chosen = self._dice.choice(some)
            try:
                await self._meddles_with(visitor, chosen)
            except (Gone, asyncio.CancelledError):
                self._record.again.add(chosen)  # nobody knows what became of it
                raise

    async def _meddles_with(self, visitor: Visitor, chosen: str) -> None:
        record, opening = self._record, frozenset(self._record.opening)
        if self._dice.random() < 0.6:
            reply = await visitor.emit("completion:cancel", {"request_id": chosen, **_BY})
            if any(each["changed"] for each in reply.get("cancelled", ())):
                record.cancelled.add(chosen)
                record.opened |= opening
        else:
            record.again.add(chosen)
            await visitor.emit("completion:retry", {"request_id": chosen, **_BY})


async def listens(visitor: Visitor, record: Record) -> None:
    """Note the final states and circuits that are told, until the engine has gone."""
    ends = {"completion:result": "completed", "completion:error": "failed"}
    ends["completion:cancelled"] = "cancelled"
    async for name, data in visitor.happens("*"):
        if name in ends:
            if data["request_id"] in record.told:
                record.told_twice.add(data["request_id"])
            record.told[data["request_id"]] = ends[name]
        elif name == "provider:circuit" and data["to"] == "open":
            record.opening.add(data["provider"])
