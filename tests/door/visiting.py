"""An engine with its door open, and visitors who come by the socket."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp

from ksi_tui.door.server import Door
from ksi_tui.engine.events import Router, Subscription
from ksi_tui.engine.views import Level, Snapshot, SnapshotQuery, Totals, Verdict

BOUND_S = 20.0

NO_TOTALS = Totals(
    active=0,
    capacity=1,
    queued=0,
    queued_sessions=0,
    retrying=0,
    failed_new=0,
    ttft_p50_s=None,
    tokens_per_s=0.0,
    cost_today=0.0,
    unpriced_today=0,
)


class FakeEngine:
    """An `EngineClient` that answers what a test tells it to, and publishes what a test says."""

    def __init__(self) -> None:
        self.router = Router(lambda: 1_800_000_000.0)
        self.reply: dict[str, Any] = {"status": "fine"}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.queries: list[SnapshotQuery] = []
        self.go = asyncio.Event()
        self.go.set()
        self.level = Level.OK
        self.finished: list[str] = []
        self.capacity = 10_000

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self.asked.append((name, dict(data or {})))
        await self.go.wait()
        self.finished.append(name)
        return self.reply

    def subscribe(self, pattern: str = "*") -> Subscription:
        return self.router.subscribe(pattern, {"ready": True}, self.capacity)

    def snapshot(self, query: SnapshotQuery | None = None) -> Snapshot:
        self.queries.append(query or SnapshotQuery())
        verdict = Verdict(level=self.level, cause="said so")
        return Snapshot(at=1_800_000_000.0, verdict=verdict, totals=NO_TOTALS)

    def publish(self, name: str, count: int = 1) -> None:
        for n in range(count):
            self.router.publish(name, {"n": n})


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One server-sent event as it came."""

    id: str | None
    name: str
    seq: int
    data: dict[str, Any]


class Stream:
    """A reader of `GET /events`."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.response.close()

    async def raw(self) -> str | None:
        """Return the next block of lines; None at the end."""
        lines: list[str] = []
        async with asyncio.timeout(BOUND_S):
            while line := await self.response.content.readline():
                if line == b"\n":
                    return "\n".join(lines)
                lines.append(line.decode().rstrip("\n"))
        return None

    async def next(self) -> Told:
        """Return the next event, comments passed over."""
        while True:
            block = await self.raw()
            assert block is not None, "the stream has ended"
            if block.startswith(":"):
                continue
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            data = json.loads(fields["data"])
            assert data["name"] == fields["event"]
            return Told(id=fields.get("id"), name=data["name"], seq=data["seq"], data=data["data"])

    async def take(self, count: int) -> list[Told]:
        return [await self.next() for _ in range(count)]


class Visitor:
    """A client of a door."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def get(self, path: str, **options: Any) -> tuple[int, Any]:
        """Return status and JSON of a path."""
        async with self.session.get(path, **options) as response:
            return response.status, await response.json()

    async def emit(self, name: str, data: Any = None, **options: Any) -> tuple[int, Any]:
        """Return status and JSON of an event sent; data that is bytes goes as it is."""
        sent = {"data": io.BytesIO(data)} if isinstance(data, bytes) else {"json": data}
        if data is None:
            sent = {}
        async with self.session.post(f"/events/{name}", **sent, **options) as response:
            return response.status, await response.json()

    async def events(self, **options: Any) -> Stream:
        """Return the stream of events."""
        response = await self.session.get("/events", **options)
        assert response.status == 200, await response.text()
        return Stream(response)


@asynccontextmanager
async def visiting(place: Path, headers: Mapping[str, str] | None = None) -> AsyncIterator[Visitor]:
    """Visit the door at a place."""
    timeout = aiohttp.ClientTimeout(total=BOUND_S)
    async with aiohttp.ClientSession(
        "http://ksi",
        connector=aiohttp.UnixConnector(str(place)),
        headers=headers,
        timeout=timeout,
    ) as session:
        yield Visitor(session)


@asynccontextmanager
async def fake_door(folder: Path) -> AsyncIterator[tuple[FakeEngine, Door, Visitor]]:
    """Open a door over a fake engine and visit it."""
    engine = FakeEngine()
    async with Door(engine, database=folder / "k.db") as door, visiting(door.socket) as visitor:
        try:
            yield engine, door, visitor
        finally:
            engine.go.set()
            engine.router.close()
