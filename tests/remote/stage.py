"""A real engine behind a real door, a line to it that breaks when told, and waits on conditions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from ksi_tui.door.server import Door
from ksi_tui.engine.events import SNAPSHOT, Event, Subscription
from ksi_tui.remote.client import RemoteClient
from tests.engine.engine_fixtures import Rig, config, running, until
from tests.ui.scripted import AT, ScriptedClient

__all__ = ["Relay", "attached", "door_of", "relayed", "served", "until"]


@asynccontextmanager
async def served(folder: Path, **options: Any) -> AsyncIterator[tuple[Rig, Door]]:
    """An engine with scripted providers on a database in `folder`, and its door."""
    scripts = options.pop("scripts", None)
    async with AsyncExitStack() as stack:
        settings = config(folder, **options)
        rig = await stack.enter_async_context(running(settings, scripts=scripts))
        door = Door(rig.engine, database=settings.engine.database_path, name="prod")
        yield rig, await stack.enter_async_context(door)


class _Whole:
    """A scripted client whose subscriptions begin with a snapshot, as an engine's do."""

    def __init__(self, inner: ScriptedClient) -> None:
        self._inner = inner
        self.emit, self.snapshot = inner.emit, inner.snapshot

    def subscribe(self, pattern: str = "*") -> Subscription:
        subscription = self._inner.subscribe(pattern)
        subscription.push(Event(self._inner._seq, SNAPSHOT, {}, AT))
        return subscription


@asynccontextmanager
async def door_of(client: ScriptedClient, folder: Path) -> AsyncIterator[Door]:
    """A door over a scripted client, as that of an engine on a database in `folder`."""
    async with Door(_Whole(client), database=folder / "ksi.db", name="prod") as door:
        yield door


@asynccontextmanager
async def attached(socket: Path, operator: str = "op1", **options: Any) -> AsyncIterator[Any]:
    """A remote client."""
    async with RemoteClient(socket, operator=operator, **options) as client:
        yield client


class Relay:
    """Stands between client and door: cuts the line, keeps answers back, forwards to another."""

    def __init__(self, door: Path) -> None:
        self.door = door
        self.heard = bytearray()
        self.told = 0
        """Bytes that went to the client."""
        self.mute = False
        """Answers are dropped from now on, and the line cut where one came."""
        self.flows = asyncio.Event()
        self.flows.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            there, back = await asyncio.open_unix_connection(self.door)
            self._open.add(back)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._out(reader, back))
                group.create_task(self._home(there, writer, back))
        except* OSError:
            pass
        finally:
            for each in {writer, *self._open} & {writer}:
                each.close()
            self._open.discard(writer)
            self._tasks.discard(task)

    async def _out(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.heard += data
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _home(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
    ) -> None:
        while data := await reader.read(65536):
            await self.flows.wait()
            if self.mute:
                self.cut()
                return
            self.told += len(data)
            writer.write(data)
            await writer.drain()
        writer.close()
        back.close()

    def cut(self) -> None:
        """Break every connection that stands."""
        for writer in list(self._open):
            writer.transport.abort()
        self._open.clear()

    async def aclose(self) -> None:
        """End what is under way."""
        self.cut()
        self.flows.set()
        for task in list(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


class Place:
    """Where a relay listens: it can be shut and opened again."""

    def __init__(self, path: Path, relay: Relay) -> None:
        self.path, self.relay = path, relay
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Take connections."""
        self._server = await asyncio.start_unix_server(self.relay.take, self.path)

    def shut(self) -> None:
        """Take none, and break those that stand."""
        assert self._server is not None
        self._server.close()
        self.path.unlink(missing_ok=True)
        self.relay.cut()


@asynccontextmanager
async def relayed(door: Path, folder: Path) -> AsyncIterator[Place]:
    """A line to a door."""
    place = Place(folder / "line.sock", Relay(door))
    await place.open()
    try:
        yield place
    finally:
        place.shut()
        await place.relay.aclose()
