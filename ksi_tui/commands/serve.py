"""`ksi-tui serve`: the engine without a screen, for as long as nobody ends it.

It works on what comes through its door, and on what an earlier life left. A first SIGTERM or
SIGINT drains, a second interrupts what still runs, a third ends the process as it is. A
terminal that goes ends nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ksi_tui import __version__
from ksi_tui.access.opening import opened_listener
from ksi_tui.client import EngineClient
from ksi_tui.commands import service_manager
from ksi_tui.commands.event_records import LOGGER, recorded
from ksi_tui.commands.listen import taken_place
from ksi_tui.commands.log_lines import lines_on_stdout
from ksi_tui.commands.output import say
from ksi_tui.commands.settings import settings
from ksi_tui.config import Config
from ksi_tui.door.errors import DoorError
from ksi_tui.door.opening import Host, opened_door
from ksi_tui.engine import CompletionEngine
from ksi_tui.exits import INTERRUPTED, OK
from ksi_tui.settings_file import config_file, display_name

if TYPE_CHECKING:
    from ksi_tui.access.listening import Place

log = logging.getLogger(__name__)

_ENDING = (signal.SIGTERM, signal.SIGINT)


def execute(options: argparse.Namespace) -> int:
    """Serve until a signal or `system:shutdown` ends it; returns the exit code.

    0 when it was drained and nothing had to be interrupted, 130 when something was: that goes
    on with the next start.
    """
    config = settings(options)
    name = display_name(config_file(options.config))
    with lines_on_stdout(only_there=[LOGGER]), taken_place(options) as place:
        return asyncio.run(_Service(config, name, place).live())


class _Service:
    """One engine's life as a service."""

    def __init__(self, config: Config, name: str, place: Place | None) -> None:
        self._config = config
        self._place = place
        self._name = name
        self._signals = 0
        self._stop = asyncio.Event()
        self._hurried: asyncio.Task[dict[str, object]] | None = None
        self._client: EngineClient | None = None

    async def live(self) -> int:
        """Serve to the end; returns the exit code.

        Raises KsiError when it cannot begin: DoorError where nobody could reach it.
        """
        async with self._signalled(), CompletionEngine(self._config) as engine:
            self._client = engine
            async with (
                opened_door(engine, self._config, self._name) as host,
                opened_listener(host, self._place),
            ):
                telling = asyncio.create_task(recorded(host.subscribe()), name="event-records")
                await self._begun(host)
                stopping = asyncio.create_task(self._stop.wait(), name="stop")
                await asyncio.wait({telling, stopping}, return_when=asyncio.FIRST_COMPLETED)
                ended = await self._drained(engine)
                stopping.cancel()
                await asyncio.wait({telling, stopping})
        telling.result()  # what ended the service by a fault of its own is no clean end
        return self._code(ended)

    async def _begun(self, host: Host) -> None:
        door = await host.door()
        if door is None:
            raise DoorError(f"{host.fault}; a service that nobody reaches is none")
        database = str(self._config.engine.database_path)
        log.info(
            "serving",
            extra={
                "version": __version__,
                "pid": os.getpid(),
                "database": database,
                "socket": str(door.socket),
                "url": self._place.url if self._place is not None else None,
            },
        )
        say(f"serving {database}, listening on {door.socket}")
        if self._place is not None:
            say(self._place.told)
        service_manager.tell(service_manager.READY)

    async def _drained(self, engine: EngineClient) -> dict[str, object]:
        service_manager.tell(service_manager.STOPPING)
        grace_s = self._config.engine.shutdown_grace_s
        log.info("draining", extra={"grace_s": grace_s})
        ended = await engine.emit("system:shutdown", {"grace_s": grace_s})
        if self._hurried is not None:
            await self._hurried
        return ended

    def _code(self, ended: dict[str, object]) -> int:
        interrupted = ended.get("interrupted", 0)
        log.info("ended", extra={"interrupted": interrupted})
        if interrupted:
            say(f"ended: {interrupted} interrupted; they go on with the next start")
            return INTERRUPTED
        say("ended: drained")
        return OK

    # --- signals ---------------------------------------------------------------------------

    @asynccontextmanager
    async def _signalled(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        for number in _ENDING:
            loop.add_signal_handler(number, self._on_signal)
        loop.add_signal_handler(signal.SIGHUP, log.info, "the terminal has gone; serving on")
        try:
            yield
        finally:
            for number in (*_ENDING, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        self._signals += 1
        self._stop.set()
        if self._signals == 2 and self._client is not None:
            ending = self._client.emit("system:shutdown", {"grace_s": 0})
            self._hurried = asyncio.get_running_loop().create_task(ending, name="hurried-end")
        elif self._signals > 2:
            os._exit(INTERRUPTED)
