"""A short conversation with an engine's door, for commands: ask, look, listen, leave."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from ksi_tui.engine.events import Subscription
from ksi_tui.engine.views import Snapshot, SnapshotQuery
from ksi_tui.remote.asking import asked
from ksi_tui.remote.errors import Broken, DoorClosed, LineFault
from ksi_tui.remote.hearing import Hearing
from ksi_tui.remote.link import Link
from ksi_tui.remote.wire import Wire


class Call:
    """One conversation, as an async context manager; entering raises DoorClosed where nobody is."""

    def __init__(self, socket: Path, operator: str = "", *, kind: str = "command") -> None:
        self.socket = socket
        self.about: Mapping[str, Any] = {}
        self._operator, self._kind = operator, kind
        self._link = Link()
        self._hearings: list[tuple[Hearing, asyncio.Task[None]]] = []

    async def __aenter__(self) -> Self:
        self._wire = Wire(self.socket, operator=self._operator, kind=self._kind)
        try:
            self.about = await self._wire.hello()
        except LineFault as error:
            await self._wire.aclose()
            raise DoorClosed(f"no engine answers at {self.socket}: {error}") from None
        except BaseException:
            await self._wire.aclose()
            raise
        self._link.stands()
        return self

    async def __aexit__(self, *_: object) -> None:
        for hearing, task in self._hearings:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            hearing.close()
        await self._wire.aclose()

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a named event and return its reply, a refusal too."""
        return await asked(self._wire, self._link, name, data)

    async def snapshot(self, query: SnapshotQuery | None = None) -> Snapshot:
        """Return the engine as it is now; raises LineFault."""
        return await self._wire.snapshot(query or SnapshotQuery())

    def events(self, pattern: str = "*") -> Subscription:
        """Return what the engine tells from now on; it goes on after breaks, with its gaps told.

        It ends where the engine refuses to tell it; `unheard` is why.
        """
        hearing = Hearing(self._wire, self._link, pattern)
        subscription = hearing.subscribe(pattern)
        task = asyncio.create_task(hearing.run(), name="call-events")
        self._hearings.append((hearing, task))
        return subscription

    def unheard(self) -> LineFault:
        """Return why a subscription has ended, to be raised."""
        refusals = (hearing.refusal for hearing, _ in self._hearings)
        return next(filter(None, refusals), Broken("the engine tells no more"))

    @property
    def lost(self) -> str | None:
        """What is wrong with the line, in words; None if nothing."""
        lost = self._link.lost
        return f"{lost} ({self._link.why})" if lost is not None and self._link.why else lost
