"""The engine of another process as the dashboard's `EngineClient`.

It shows what was seen last and says how old that is, and comes back by itself when the line
breaks or the engine is started again. What is kept is `pictures`', what is heard `hearing`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, Self

from ksi_tui.engine.events import OF_REQUEST, Subscription
from ksi_tui.engine.views import Snapshot, SnapshotQuery
from ksi_tui.remote.asking import asked, away
from ksi_tui.remote.errors import DoorClosed, LineFault
from ksi_tui.remote.hearing import Hearing
from ksi_tui.remote.link import Link, spoken
from ksi_tui.remote.pictures import Pictures
from ksi_tui.remote.wire import Wire

log = logging.getLogger(__name__)

ENTER_S: Final = 5.0
"""So long entering waits for the first picture, in seconds."""
_AGAIN_S: Final = 1.0
_MOST_CHARS: Final = 2_000
"""An answer's text in the record of an event is cut here: a slow line has better to carry."""


class RemoteClient:
    """An `EngineClient` over the socket of an engine's door, as an async context manager.

    Entering waits for the first picture and raises DoorClosed without one. `refresh_hz`: how
    many pictures a second are fetched at most. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        socket: Path,
        *,
        operator: str,
        kind: str = "dashboard",
        refresh_hz: float = 10,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.socket = socket
        self.about: Mapping[str, Any] = {}
        self._operator, self._kind, self._clock = operator, kind, clock
        self._link = Link(clock)
        self._pictures = Pictures(1 / refresh_hz)
        self._unread: str | None = None
        self._met = -1
        self._first = asyncio.Event()
        self._asked = asyncio.Event()
        self._news = False
        self._came: Callable[[], None] = _nobody_waits
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    async def __aenter__(self) -> Self:
        self._wire = Wire(self.socket, operator=self._operator, kind=self._kind)
        self._hearing = Hearing(
            self._wire, self._link, on_news=self._on_news, most_chars=_MOST_CHARS
        )
        self._pictures.ask(SnapshotQuery(), self._clock())
        self._begin(self._hearing.run(), "remote-events")
        self._begin(self._draw(), "remote-pictures")
        try:
            async with asyncio.timeout(ENTER_S):
                await self._first.wait()
        except TimeoutError:
            why = self._unread or self._link.why or "no picture came"
            raise DoorClosed(f"no engine answers at {self.socket}: {why}") from None
        finally:
            if not self._first.is_set():
                await self.aclose()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the connections and every subscription; the engine goes on."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._hearing.close()
        await self._wire.aclose()

    # --- the client --------------------------------------------------------------------

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a named event and return its reply; without a connection a refusal."""
        if self._closed:
            return away("detached from the engine")
        if (lost := self._link.lost) is not None:
            return away(lost)
        return await asked(self._wire, self._link, name, data)

    def subscribe(self, pattern: str = "*") -> Subscription:
        """Return what the engine tells that fits `pattern`, with its gaps as `engine:lost`.

        Long texts in it are cut.
        `request:<id>` is heard over a stream of its own, for as long as the subscription lasts.
        """
        if not pattern.startswith(OF_REQUEST):
            return self._hearing.subscribe(pattern)
        hearing = Hearing(self._wire, Link(self._clock), pattern)
        task = self._begin(_heard(hearing), "remote-request")
        return hearing.subscribe(pattern, task.cancel)

    def snapshot(self, query: SnapshotQuery | None = None) -> Snapshot:
        """Return the last picture for `query`, and see that a newer one comes; never waits."""
        wanted = query or SnapshotQuery()
        if self._pictures.ask(wanted, self._clock()):
            self._asked.set()
        found = self._pictures.of(wanted)
        if found is None:
            raise DoorClosed(f"nothing has been seen of the engine at {self.socket}")
        return found

    @property
    def lost(self) -> str | None:
        """What is wrong with the line, since when, when it is tried next, and how old what is
        shown is; None if nothing is. The reason comes last: it may be long.
        """
        lost = self._link.lost
        if lost is None and self._unread is None:
            return None
        wrong = f"{lost or 'no new picture'} · shown as it was {spoken(self.age_s)} ago"
        why = self._link.why if lost is not None else self._unread
        return f"{wrong} ({why})" if why else wrong

    @property
    def age_s(self) -> float:
        """How old the newest picture is, in seconds."""
        of = self._pictures.newest_of
        return self._clock() - of if of is not None else 0.0

    @property
    def name(self) -> str:
        """What the engine calls itself, as it says; not clean."""
        return str(self.about.get("name") or "")

    def on_picture(self, came: Callable[[], None]) -> None:
        """Have `came` called from now on when a newer picture is there."""
        self._came = came

    # --- its tasks ---------------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Record a fault of our own: what it was for stands still, and the screen says so."""
        self._tasks.remove(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)
            self._unread = f"the line failed by a fault of this program ({type(error).__name__})"

    def _on_news(self) -> None:
        self._news = True
        self._asked.set()

    async def _draw(self) -> None:
        """Fetch the pictures that are wanted, one at a time, while the line stands."""
        while True:
            await self._link.back()
            if self._met != self._link.losses:  # it may be another that is back
                await self._introduced()
            query = await self._wanted()
            began = self._clock()
            self._pictures.trying(query, began)
            try:
                picture = await self._wire.snapshot(query)
            except LineFault as error:
                self._unread = f"the engine cannot be looked at: {error}"
                self._pictures.ask(query, self._clock())
                await asyncio.sleep(_AGAIN_S if self._link.up else 0)
                continue
            self._unread = None
            self._pictures.took(query, picture, began, self._clock())
            self._first.set()
            self._came()

    async def _introduced(self) -> None:
        losses = self._link.losses
        try:
            self.about = await self._wire.hello()
            self._met = losses
        except LineFault as error:
            log.warning("the engine did not say who it is: %s", error)

    async def _wanted(self) -> SnapshotQuery:
        """Wait until a question is due and return it; news make one due that was answered."""
        while True:
            now = self._clock()
            due = self._pictures.next(now, news=self._news)
            self._asked.clear()
            if due is None:
                self._news = False
                await self._asked.wait()
                continue
            query, at = due
            if at <= now:
                self._news = False
                return query
            try:
                async with asyncio.timeout(at - now):
                    await self._asked.wait()
            except TimeoutError:
                pass


def _nobody_waits() -> None:
    """Do nothing about a picture: whoever looks finds it."""


async def _heard(hearing: Hearing) -> None:
    """Hear for those who are subscribed, and end with them or they with it."""
    try:
        await hearing.run()
    finally:
        hearing.close()
