"""Opening the door beside an engine that runs: behind its start, and never at its cost.

The HTTP server's code is loaded in a thread (aiohttp: 150 ms), so that a loop that paints
goes on painting. A door that cannot open is told, in the log and in every snapshot; the
engine works on without it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ksi_tui.client import EngineClient, Snapshot, SnapshotQuery, Subscription
from ksi_tui.door.attached import DASHBOARD, Caller
from ksi_tui.engine.errors import KsiError

if TYPE_CHECKING:
    from ksi_tui.config import Config
    from ksi_tui.door.server import Door

log = logging.getLogger(__name__)


@asynccontextmanager
async def opened_door(
    client: EngineClient,
    config: Config,
    name: str,
    *,
    operator: str | None = None,
    after_s: float = 0.0,
) -> AsyncIterator[Host]:
    """Open the door of an engine that has started; yields its client, to be used from then on.

    With `operator` whoever opens it looks at the engine too, and counts as attached. The door
    opens `after_s` seconds later, not before what is short is over. Leaving ends the engine
    first, within its own grace: who is attached sees it drain.
    """
    host = Host(client, operator)
    task = asyncio.create_task(host.keep_open(config, name, after_s), name="door")
    try:
        yield host
    finally:
        try:
            await client.emit("system:shutdown", {})
        finally:
            host.close()
            await task


class Host:
    """The engine's client as its own process holds it: knows who else is attached."""

    def __init__(self, client: EngineClient, operator: str | None) -> None:
        self._client = client
        self._self = None if operator is None else Caller(operator=operator, kind=DASHBOARD)
        self._door: Door | None = None
        self._fault = ""
        self._settled = asyncio.Event()
        self._closing = asyncio.Event()

    async def door(self) -> Door | None:
        """Return the door, once it is open; None when it cannot be, or is closed again."""
        await self._settled.wait()
        return self._door

    @property
    def fault(self) -> str:
        """Why the door is not open, in words; empty where nothing is wrong."""
        return self._fault

    def close(self) -> None:
        """Let the door close."""
        self._closing.set()

    # --- the client ------------------------------------------------------------------------

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a named event and return its reply."""
        return await self._client.emit(name, data)

    def subscribe(self, pattern: str = "*") -> Subscription:
        """Return the notifications that fit `pattern`."""
        return self._client.subscribe(pattern)

    def snapshot(self, query: SnapshotQuery | None = None) -> Snapshot:
        """Return the engine as it is now, with who else is attached."""
        found = self._client.snapshot(query)
        others = self._door.attached.others(self._self or Caller()) if self._door else ()
        if not others and not self._fault:
            return found
        notices = (*found.notices, self._fault) if self._fault else found.notices
        return replace(found, attached=others, notices=notices)

    # --- the door's life -------------------------------------------------------------------

    async def keep_open(self, config: Config, name: str, after_s: float) -> None:
        """Keep the door open until `close`; whatever is wrong with it is told, never raised."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(after_s):
                    await self._closing.wait()
            if not self._closing.is_set():
                await self._open(config, name)
        except KsiError as error:
            self._shut(str(error))
            log.warning("the door is shut", extra={"reason": str(error)})
        except Exception as error:  # the task's boundary: recorded, and the engine goes on
            self._shut(f"unexpected {type(error).__name__}; the log has it")
            log.exception("the door is shut")
        finally:
            self._settled.set()

    async def _open(self, config: Config, name: str) -> None:
        await asyncio.to_thread(_loaded)
        from ksi_tui.door.server import Door  # noqa: PLC0415 - loaded in the thread above

        database = config.engine.database_path
        with ExitStack() as counted:
            async with Door(self._client, database=database, name=name) as door:
                if self._self is not None:
                    counted.enter_context(door.attached.entered(self._self))
                self._door = door
                self._settled.set()
                log.info("the door is open", extra={"socket": str(door.socket)})
                await self._closing.wait()
                self._door = None

    def _shut(self, why: str) -> None:
        self._door = None
        self._fault = f"nobody can attach: {why}"


def _loaded() -> None:
    from ksi_tui.door import server  # noqa: F401, PLC0415 - loads it

    gc.freeze()  # code is no garbage: a full collection must not walk it while a loop waits
