"""Starts, feeds, watches and replaces the provider workers. Runs in the engine's process.

Knows processes and messages, not what a call is: whoever opens a conversation with a
worker gives a sink for its messages. Never imports litellm.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ksi_tui
from ksi_tui.engine.errors import ErrorKind, ProviderFault
from ksi_tui.engine.events import WORKER_LOST, WORKER_STARTED
from ksi_tui.engine.providers.framing import Decoder, FramingError, Kind, encode

START_UP_S = 90.0
PING_EVERY_S = 5.0
SILENT_PINGS = 4
"""So many pings in a row without a sign of life, 20 s in all, and a worker counts as wedged."""

_BACKOFF_S = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
_LASTS = frozenset({Kind.ANSWER, Kind.FAULT, Kind.CLOSED, Kind.VALUE})
_MODULE = "ksi_tui.engine.providers.worker"


class Sink(Protocol):
    """Who takes a worker's messages about one id. Both return at once and never raise."""

    def on_message(self, message: Mapping[str, Any]) -> None:
        """Take a message; after an answer, fault, close or value nothing more comes."""

    def on_lost(self, reason: str) -> None:
        """Learn that the worker is gone and nothing more will come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """One worker as it is now. `worker` counts from 1; `pid` None: not running."""

    worker: int
    pid: int | None
    ready: bool
    in_flight: int


class WorkerPool:
    """`size` workers; each call goes to the ready one with the fewest open.

    `on_event` is told `worker:started {worker, pid}` when one can take calls and
    `worker:lost {worker, pid, reason}` when one is gone without having been asked to.
    """

    def __init__(self, size: int, *, on_event: Callable[[str, dict[str, Any]], None]) -> None:
        self._on_event = on_event
        self._slots = [_Slot(number, self) for number in range(1, size + 1)]
        self._ids = itertools.count(1)
        self._where: dict[int, _Process] = {}
        self._waiting: deque[tuple[int, bytes, Sink]] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._idle = asyncio.Event()
        self._closing = False

    def start(self) -> None:
        """Begin to start the workers, in the background. Harmless when repeated."""
        if self._tasks or self._closing:
            return
        self._tasks = [
            asyncio.create_task(slot.keep(), name=f"provider-worker-{slot.number}")
            for slot in self._slots
        ]

    @property
    def ready(self) -> bool:
        """Whether some worker takes calls."""
        return any(slot.ready for slot in self._slots)

    @property
    def starting(self) -> bool:
        """Whether none takes calls yet but one is on its way."""
        return bool(self._tasks) and not self._closing and not self.ready

    @property
    def workers(self) -> tuple[WorkerView, ...]:
        """The workers as they are now."""
        return tuple(slot.view() for slot in self._slots)

    def open(self, body: Mapping[str, Any], sink: Sink) -> int:
        """Send `body` under a new id to the least loaded worker, or to the first that gets ready.

        Returns the id. Raises ProviderFault where the body cannot be sent or the pool is closed.
        """
        if self._closing:
            raise ProviderFault(ErrorKind.DAEMON_RESTART, "the provider workers are stopping")
        self.start()
        call_id = next(self._ids)
        try:
            frame = encode({**body, "id": call_id})
        except FramingError as error:
            raise ProviderFault(ErrorKind.INVALID_REQUEST, str(error)) from None
        process = self._least_loaded()
        if process is None:
            self._waiting.append((call_id, frame, sink))
        else:
            self._hand(process, call_id, frame, sink)
        return call_id

    def cancel(self, call_id: int) -> bool:
        """Ask for the end of a call; False when nothing of it had been sent to any worker."""
        for entry in self._waiting:
            if entry[0] == call_id:
                self._waiting.remove(entry)
                return False
        if (process := self._where.get(call_id)) is not None:
            process.write(encode({"kind": Kind.CANCEL, "id": call_id}))
        return True

    async def ask(self, body: Mapping[str, Any]) -> Any:
        """Return the value of a question (`count`, `window`); ProviderFault when nobody answers."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        call_id = self.open(body, _Answer(answer))
        try:
            return await answer
        except asyncio.CancelledError:
            self.cancel(call_id)
            raise

    async def aclose(self, grace_s: float = 2.0) -> None:
        """Wait up to `grace_s` for open conversations to end, then end every worker."""
        self._closing = True
        self._fail_waiting("the provider workers are stopping")
        if self._where:
            self._idle.clear()
            try:
                async with asyncio.timeout(grace_s):
                    await self._idle.wait()
            except TimeoutError:
                pass  # what is still open is lost below, and its sink is told
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _least_loaded(self) -> _Process | None:
        ready = [slot.process for slot in self._slots if slot.ready and slot.process]
        return min(ready, key=lambda process: len(process.sinks), default=None)

    def _hand(self, process: _Process, call_id: int, frame: bytes, sink: Sink) -> None:
        process.sinks[call_id] = sink
        self._where[call_id] = process
        process.write(frame)

    def forget(self, call_id: int) -> None:
        """Take an ended conversation off the books."""
        self._where.pop(call_id, None)
        if not self._where:
            self._idle.set()

    def worker_ready(self, number: int, process: _Process) -> None:
        """Hand the first ready worker what has waited for one."""
        self._on_event(WORKER_STARTED, {"worker": number, "pid": process.pid})
        while self._waiting and (least := self._least_loaded()) is not None:
            call_id, frame, sink = self._waiting.popleft()
            self._hand(least, call_id, frame, sink)

    def worker_lost(self, number: int, process: _Process, reason: str) -> None:
        """Tell everyone who is concerned that a worker is gone."""
        if not self._closing:
            data = {"worker": number, "pid": process.pid, "reason": reason}
            self._on_event(WORKER_LOST, data)
        for call_id, sink in process.release():
            self.forget(call_id)
            sink.on_lost(reason)
        if not process.ready and not any(slot.alive for slot in self._slots):
            self._fail_waiting(reason)

    def _fail_waiting(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for _, _, sink in waiting:
            sink.on_lost(reason)
