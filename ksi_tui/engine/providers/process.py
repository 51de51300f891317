"""One provider worker as the engine's process sees it: a child process and its two pipes.

Knows how a worker is started, spoken to and ended. When one is started, replaced or
given up is the pool's business.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, cast

import ksi_tui
from ksi_tui.engine.providers.framing import Decoder, FramingError, Kind, Outbox, encode

COMMAND = (sys.executable, "-P", "-m", "ksi_tui.engine.providers.worker")
"""Starts a worker. -P: a file in the folder one happens to be in must not become a module."""

_LASTS = frozenset({Kind.ANSWER, Kind.FAULT, Kind.CLOSED, Kind.VALUE})
_PING = encode({"kind": Kind.PING})
_EXIT_S = 1.0
_CANCELS_AT_ONCE = 64


class Sink(Protocol):
    """Who takes a worker's messages about one id. Both return at once and never raise."""

    def on_message(self, message: Mapping[str, Any]) -> None:
        """Take a message; after an answer, fault, close or value nothing more comes."""

    def on_lost(self, reason: str) -> None:
        """Learn that the worker is gone and nothing more will come."""


class WorkerProcess(asyncio.SubprocessProtocol):
    """A running worker. `started` is done when it takes calls, `gone` (with the reason) at its end.

    `heard` is set by every message, and whoever watches it clears it. `idle` is set while
    no conversation is open.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._began = loop.time()
        self.started: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[str] = loop.create_future()
        self.idle = asyncio.Event()
        self.idle.set()
        self.heard = False
        self._sinks: dict[int, Sink] = {}
        self._cancels: list[int] = []
        self._decoder = Decoder()
        self._reason: str | None = None

    @classmethod
    async def spawn(cls, command: Sequence[str] = COMMAND) -> WorkerProcess:
        """Start a worker in a session of its own, out of reach of the terminal's signals.

        Raises OSError when it cannot be started.
        """
        root = str(Path(ksi_tui.__file__).parents[1])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        _, protocol = await asyncio.get_running_loop().subprocess_exec(
            cls,
            *command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        return protocol

    @property
    def pid(self) -> int:
        """The process id."""
        return self._transport.get_pid()

    @property
    def up_s(self) -> float:
        """For how long it has run, in seconds."""
        return self._loop.time() - self._began

    @property
    def ready(self) -> bool:
        """Whether it takes calls."""
        return self.started.done() and not self.gone.done() and self._reason is None

    @property
    def in_flight(self) -> int:
        """How many conversations are open."""
        return len(self._sinks)

    def holds(self, call_id: int) -> bool:
        """Whether the conversation of this id is open here."""
        return call_id in self._sinks

    def open(self, call_id: int, frame: bytes, sink: Sink) -> None:
        """Begin a conversation with an encoded message."""
        self._sinks[call_id] = sink
        self.idle.clear()
        self.write(frame)

    def write(self, frame: bytes) -> None:
        """Send an encoded message; one that goes to a dead worker is lost with it."""
        self._outbox.put(frame)

    def cancel(self, call_id: int) -> None:
        """Ask for a call's end. What is cancelled in one turn of the loop goes out together.

        A turn that cancels many is a long one: the first do not wait for its end.
        """
        if not self._cancels:
            self._loop.call_soon(self._send_cancels)
        self._cancels.append(call_id)
        if len(self._cancels) >= _CANCELS_AT_ONCE:
            self._send_cancels()

    def _send_cancels(self) -> None:
        if self._cancels:
            ids, self._cancels = self._cancels, []
            self.write(encode({"kind": Kind.CANCEL, "ids": ids}))
            self._outbox.flush()

    def ping(self) -> None:
        """Ask for a sign of life."""
        self.write(_PING)

    def abandon(self, reason: str) -> None:
        """Tell every open conversation that the worker is gone."""
        sinks, self._sinks = self._sinks, {}
        self.idle.set()
        for sink in sinks.values():
            sink.on_lost(reason)

    def kill(self, reason: str) -> None:
        """End it at once; `gone` follows with this reason."""
        self._reason = self._reason or reason
        with suppress(ProcessLookupError):
            self._transport.kill()

    async def stop(self, reason: str) -> None:
        """End it by closing its pipe, by force if it does not follow; returns when it is gone."""
        self._reason = self._reason or reason
        self._outbox.flush()
        self._input.close()
        await asyncio.wait({self.gone}, timeout=_EXIT_S)
        if not self.gone.done():
            self.kill(reason)
            await asyncio.wait({self.gone})
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport and the worker's input."""
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._input = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))
        self._outbox = Outbox(self._write)

    def _write(self, data: bytes) -> None:
        if not self._input.is_closing():
            self._input.write(data)

    def pipe_data_received(self, _: int, data: bytes | str) -> None:
        """Hand every whole message to whom it concerns."""
        self.heard = True
        try:
            messages = self._decoder.feed(cast(bytes, data))
        except FramingError as error:
            self.kill(f"it sent what is no message: {error}")
            return
        for message in messages:
            self._take(message)

    def connection_lost(self, _: Exception | None) -> None:
        """Note the end: the process is gone and everything it wrote has been read."""
        if not self.gone.done():
            self.gone.set_result(self._reason or _ending(self._transport.get_returncode()))

    def _take(self, message: Mapping[str, Any]) -> None:
        kind = message["kind"]
        if kind == Kind.READY:
            if not self.started.done():
                self.started.set_result(None)
        elif kind == Kind.UNUSABLE:
            self._reason = self._reason or str(message.get("message"))
        elif (sink := self._sinks.get(message.get("id", 0))) is not None:
            if kind in _LASTS:
                del self._sinks[message["id"]]
                if not self._sinks:
                    self.idle.set()
            sink.on_message(message)


def _ending(code: int | None) -> str:
    if code is None:
        return "its pipes were closed"
    if code >= 0:
        return f"it ended by itself with exit code {code}"
    try:
        return f"it was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was ended by signal {-code}"
