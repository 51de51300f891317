"""Keeps the provider workers alive and gives each call to one. Runs in the engine's process.

Knows processes and messages, not what a call is: whoever opens a conversation gives a
sink for what the worker says. Never imports litellm.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ksi_tui.engine.errors import ErrorKind, ProviderFault
from ksi_tui.engine.events import WORKER_LOST, WORKER_STARTED
from ksi_tui.engine.providers.framing import FramingError, Kind, encode
from ksi_tui.engine.providers.process import COMMAND, Sink, WorkerProcess

START_UP_S = 90.0
PING_EVERY_S = 5.0
SILENT_PINGS = 4
"""After so many pings in a row without a sign of life, 20 s in all, a worker counts as wedged.

Pings are counted, not seconds: an engine that was itself suspended blames no worker.
"""

_BACKOFF_S = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
_STEADY_S = 60.0
_STOPPING = "the provider workers are stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """One worker as it is now, `up_s` old. `worker` counts from 1; `pid` None: not running."""

    worker: int
    pid: int | None
    ready: bool
    in_flight: int
    up_s: float | None = None


class WorkerPool:
    """`size` workers; each call goes to the ready one with the fewest open.

    `on_event` is told `worker:started {worker, pid}` when one can take calls, and
    `worker:lost {worker, pid, reason}` when one is gone without having been asked to go.
    """

    def __init__(
        self,
        size: int,
        *,
        on_event: Callable[[str, dict[str, Any]], None],
        ping_every_s: float = PING_EVERY_S,
        start_up_s: float = START_UP_S,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._size = size
        self._on_event = on_event
        self._ping_every_s = ping_every_s
        self._start_up_s = start_up_s
        self._command = command
        self._processes: dict[int, WorkerProcess] = {}
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[bytes, Sink]] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._closing = False

    def start(self) -> None:
        """Begin to start the workers, in the background. Harmless when repeated."""
        if not self._keepers and not self._closing:
            self._keepers = [
                asyncio.create_task(self._keep(number), name=f"provider-worker-{number}")
                for number in range(1, self._size + 1)
            ]

    @property
    def ready(self) -> bool:
        """Whether some worker takes calls."""
        return any(process.ready for process in self._processes.values())

    @property
    def starting(self) -> bool:
        """Whether none takes calls yet, but one will as soon as it has started."""
        return bool(self._keepers) and not self._closing and not self.ready

    @property
    def workers(self) -> tuple[WorkerView, ...]:
        """The workers as they are now."""
        return tuple(self._view(number) for number in range(1, self._size + 1))

    def _view(self, number: int) -> WorkerView:
        process = self._processes.get(number)
        if process is None:
            return WorkerView(worker=number, pid=None, ready=False, in_flight=0)
        return WorkerView(
            worker=number,
            pid=process.pid,
            ready=process.ready,
            in_flight=process.in_flight,
            up_s=process.up_s,
        )

    def holder(self, call_id: int) -> WorkerView | None:
        """Return the worker that a call was given to; None while it waits, and after its end."""
        numbers = (n for n, process in self._processes.items() if process.holds(call_id))
        return next((self._view(number) for number in numbers), None)

    def open(self, body: Mapping[str, Any], sink: Sink) -> int:
        """Send `body` under a new id to the least loaded worker, or to the first that gets ready.

        Returns the id. Raises ProviderFault when the body cannot be sent or the pool is closed.
        """
        if self._closing:
            raise ProviderFault(ErrorKind.DAEMON_RESTART, _STOPPING)
        call_id = next(self._ids)
        try:
            frame = encode({**body, "id": call_id})
        except FramingError as error:
            raise ProviderFault(ErrorKind.INVALID_REQUEST, str(error)) from None
        self.start()
        process = self._least_loaded()
        if process is None:
            self._waiting[call_id] = (frame, sink)
        else:
            process.open(call_id, frame, sink)
        return call_id

    def cancel(self, call_id: int) -> bool:
        """Ask for a call's end, which its sink will hear of.

        False when no worker had heard of it yet: then it has ended here and now, in silence.
        """
        if self._waiting.pop(call_id, None) is not None:
            return False
        for process in self._processes.values():
            if process.holds(call_id):
                process.cancel(call_id)
        return True

    async def ask(self, body: Mapping[str, Any]) -> Any:
        """Return the value of a question (`count`, `window`); ProviderFault when none comes."""
        question = _Question()
        call_id = self.open(body, question)
        try:
            return await question.answer
        except asyncio.CancelledError:
            self.cancel(call_id)
            raise

    async def aclose(self, grace_s: float = 2.0) -> None:
        """Wait at most `grace_s` for open conversations to end, then end every worker.

        What is open even then, and what waits for a worker, is told that it is lost.
        """
        self._closing = True
        self._lose_waiting(_STOPPING)
        open_ones = [process.idle.wait() for process in self._processes.values()]
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await asyncio.gather(*open_ones)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._keepers = []

    def _least_loaded(self) -> WorkerProcess | None:
        ready = (process for process in self._processes.values() if process.ready)
        return min(ready, key=lambda process: process.in_flight, default=None)

    async def _keep(self, number: int) -> None:
        """Hold one place filled: start a worker, watch it, and after its end start the next."""
        failures = 0
        while True:
            await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
            began = asyncio.get_running_loop().time()
            try:
                process = await WorkerProcess.spawn(self._command)
            except OSError as error:
                self._lost(number, None, f"it cannot be started: {error}")
                failures += 1
                continue
            self._processes[number] = process
            reason = _STOPPING
            try:
                reason = await self._watch(number, process)
            finally:
                await process.stop(reason)
                del self._processes[number]
                self._lost(number, process, reason)
            steady = asyncio.get_running_loop().time() - began >= _STEADY_S
            failures = 0 if steady else failures + 1

    async def _watch(self, number: int, process: WorkerProcess) -> str:
        """Return why a worker is, or has to be, gone."""
        ends: set[asyncio.Future[Any]] = {process.started, process.gone}
        await asyncio.wait(ends, timeout=self._start_up_s, return_when=asyncio.FIRST_COMPLETED)
        if process.gone.done():
            return process.gone.result()
        if not process.started.done():
            return f"it was not ready after {self._start_up_s:g} s"
        self._took_up_work(number, process)
        silent = 0
        while silent < SILENT_PINGS:
            process.heard = False
            process.ping()
            await asyncio.wait({process.gone}, timeout=self._ping_every_s)
            if process.gone.done():
                return process.gone.result()
            silent = 0 if process.heard else silent + 1
        return f"it did not answer for {SILENT_PINGS * self._ping_every_s:g} s"

    def _took_up_work(self, number: int, process: WorkerProcess) -> None:
        self._on_event(WORKER_STARTED, {"worker": number, "pid": process.pid})
        waiting, self._waiting = self._waiting, {}
        for call_id, (frame, sink) in waiting.items():
            (self._least_loaded() or process).open(call_id, frame, sink)

    def _lost(self, number: int, process: WorkerProcess | None, reason: str) -> None:
        if not self._closing:
            pid = process.pid if process else None
            self._on_event(WORKER_LOST, {"worker": number, "pid": pid, "reason": reason})
        if process is not None:
            process.abandon(reason)
        if not self._processes:
            # Nobody is even on the way: whoever waits is told why instead of waiting in the dark.
            self._lose_waiting(reason)

    def _lose_waiting(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, {}
        for _, sink in waiting.values():
            sink.on_lost(reason)


class _Question:
    """The sink of `ask`: one value, or a fault."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def on_message(self, message: Mapping[str, Any]) -> None:
        if self.answer.done():
            return
        if message["kind"] == Kind.VALUE:
            self.answer.set_result(message["value"])
        else:
            said = str(message.get("message", "no answer"))
            self.answer.set_exception(ProviderFault(ErrorKind.TEMPORARY_FAILURE, said))

    def on_lost(self, reason: str) -> None:
        if not self.answer.done():
            fault = ProviderFault(ErrorKind.WORKER_LOST, f"the provider worker was lost: {reason}")
            self.answer.set_exception(fault)
