"""Opens the listener beside an engine that runs: at a place taken before, as soon as the door is.

A place that cannot be had ends the program before its engine starts; what goes wrong later is
told, in the log and in every snapshot, and the engine works on. Nothing heavy is imported here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ksi_tui.engine.errors import KsiError

if TYPE_CHECKING:
    from ksi_tui.access.listening import Place
    from ksi_tui.client import EngineClient, Snapshot, SnapshotQuery, Subscription
    from ksi_tui.door.opening import Host

log = logging.getLogger(__name__)


@asynccontextmanager
async def opened_listener(host: Host, place: Place | None) -> AsyncIterator[EngineClient]:
    """Serve an engine at a place; yields its client, to be used from then on. None: nowhere.

    Leaving lets nobody in any more and ends the engine within its own grace.
    """
    if place is None:
        yield host
        return
    listener = _Listener(host, place)
    task = asyncio.create_task(listener.keep_open(), name="listener")
    try:
        yield listener
    finally:
        listener.close()
        await task


class _Listener:
    """The engine's client as the listener's own process holds it: it says where it listens."""

    def __init__(self, host: Host, place: Place) -> None:
        self._host = host
        self._place = place
        self._notice = place.told
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Let the listener close."""
        self._closing.set()

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a named event and return its reply."""
        return await self._host.emit(name, data)

    def subscribe(self, pattern: str = "*") -> Subscription:
        """Return the notifications that fit `pattern`."""
        return self._host.subscribe(pattern)

    def snapshot(self, query: SnapshotQuery | None = None) -> Snapshot:
        """Return the engine as it is now, with a notice of where it listens."""
        found = self._host.snapshot(query)
        return replace(found, notices=(*found.notices, self._notice))

    async def keep_open(self) -> None:
        """Serve until `close`; whatever is wrong with it is told, never raised."""
        try:
            await self._serve()
        except KsiError as error:
            self._shut(str(error))
            log.warning("the listener is shut", extra={"reason": str(error)})
        except Exception as error:  # the task's boundary: recorded, and the engine goes on
            self._shut(f"unexpected {type(error).__name__}; the log has it")
            log.exception("the listener is shut")

    async def _serve(self) -> None:
        from ksi_tui.access.listening import serving  # noqa: PLC0415 - loaded with the place

        door = await self._host.door()
        if door is None:
            self._shut(self._host.fault or "the engine ended before it began")
            return
        async with serving(self._host, door, self._place):
            log.info("listening", extra={"url": self._place.url})
            await self._closing.wait()

    def _shut(self, why: str) -> None:
        self._place.close()
        self._notice = f"not {self._place.told}: {why}"
