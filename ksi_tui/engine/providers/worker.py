"""The provider worker: a small process that holds litellm and answers messages on its pipes.

Run as `python -m ksi_tui.engine.providers.worker`; only the pool starts it. This is the
one module that imports litellm. No policy is here: no retry, no failover, no clock. It
ends by itself, at once, when its parent is gone.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from importlib.metadata import version
from typing import Any

from ksi_tui import core_dumps
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.providers.connections import note_connections
from ksi_tui.engine.providers.framing import Decoder, FramingError, Kind, Outbox, encode
from ksi_tui.engine.providers.known_models import KnownModels
from ksi_tui.engine.providers.left_out import leave_out
from ksi_tui.engine.providers.reply_limits import bound_replies
from ksi_tui.engine.providers.tokens import Tokens
from ksi_tui.engine.providers.unwinding import Unwinding
from ksi_tui.engine.providers.upstream import Upstream

_PARENT_CHECK_MS = 1000
_UNUSABLE = 3


def main() -> None:
    """Serve until the parent is gone; never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    core_dumps.leave_none()
    source, sink = _private_pipes()
    _watch_parent(source)
    status = _UNUSABLE
    try:
        asyncio.run(_serve(source, sink, _litellm()))
        status = 0
    except Exception as error:  # the process's boundary: its last message says why
        reason = f"{type(error).__name__}: {error}"[:500]
        with suppress(OSError):
            os.write(sink, encode({"kind": Kind.UNUSABLE, "message": reason}))
    finally:
        os._exit(status)  # without waiting for the threads that litellm leaves behind


def _private_pipes() -> tuple[int, int]:
    """Take the pipes for ourselves: litellm prints, and what it prints must not reach them."""
    source, sink = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.close(nowhere)
    return source, sink


def _watch_parent(source: int) -> None:
    """End this process as soon as the parent has closed its end, also while litellm is imported."""
    parent = os.getppid()
    poll = select.poll()
    poll.register(source, 0)  # hang-up and error are always reported

    def watch() -> None:
        while not poll.poll(_PARENT_CHECK_MS) and os.getppid() == parent:
            pass
        os._exit(0)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def lift_connection_limits(environ: MutableMapping[str, str]) -> None:
    """Let litellm open as many connections as there are calls, unless somebody has said otherwise.

    It allows 500 to a host by itself, and further calls wait for one with their clocks running:
    how many run is the engine's to say.
    """
    for limit in ("AIOHTTP_CONNECTOR_LIMIT", "AIOHTTP_CONNECTOR_LIMIT_PER_HOST"):
        environ.setdefault(limit, "1000000")


def _litellm() -> Any:
    """Import litellm, silenced and without anything of its own that retries, phones or logs."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    lift_connection_limits(os.environ)
    gc.disable()  # until the warm-up is over: nothing that an import makes is garbage
    import litellm  # noqa: PLC0415  (after the parent watch, since it takes seconds)

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.drop_params = False
    litellm.num_retries = 0
    litellm.disable_hf_tokenizer_download = True
    # A model that repeats itself is still answering: the caller sees what it says.
    litellm.REPEATED_STREAMING_CHUNK_LIMIT = sys.maxsize
    for name in list(logging.root.manager.loggerDict):
        logging.getLogger(name).handlers.clear()
    logging.disable(logging.CRITICAL)
    return litellm


def _watch_the_wire() -> None:
    """Have each call's connection noted, where litellm's transport is aiohttp's; bound replies."""
    with suppress(ImportError):
        note_connections(importlib.import_module("aiohttp").BaseConnector)
    bound_replies(importlib.import_module("httpx").Response)


async def _warm_up(litellm: Any) -> None:
    """Load what the first calls would load, 0.9 s of it, then take it all out of collection.

    A full collection of its 313,000 objects takes 190 ms, after the freeze 0.01 ms. Not even one
    before it: that takes 300 ms of a start and finds 0.3 MB.
    """
    call = {"model": "openai/warm-up", "messages": [{"role": "user", "content": "."}]}
    async for _ in await litellm.acompletion(**call, stream=True, mock_response="."):
        pass
    with suppress(ImportError):
        importlib.import_module("openai.resources")
    gc.freeze()
    gc.enable()


class _Server(asyncio.Protocol):
    """Takes messages from the engine and runs a task for each that needs one."""

    def __init__(self, litellm: Any, sink: asyncio.WriteTransport) -> None:
        self._outbox = Outbox(sink.write)
        self._tokens = Tokens(litellm, version("litellm"))
        self._known = KnownModels(litellm)
        self._upstream = Upstream(litellm, self._tokens, self.send, os.environ)
        self._decoder = Decoder()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._cancelled: set[int] = set()
        self._unwinding = Unwinding()
        self.ended = asyncio.get_running_loop().create_future()

    def send(self, message: dict[str, Any]) -> None:
        """Write one message; one that cannot be written becomes its call's fault."""
        try:
            self._outbox.put(encode(message))
        except FramingError as error:
            fault = {"kind": Kind.FAULT, "id": message.get("id"), "error": "provider_error"}
            self._outbox.put(encode({**fault, "message": f"the answer is unusable: {error}"}))

    def data_received(self, data: bytes) -> None:
        """Handle what came; bytes that are no messages end the process: the pool replaces it."""
        for message in self._decoder.feed(data):
            self._handle(message)

    def connection_lost(self, _: Exception | None) -> None:
        """End with the parent."""
        if not self.ended.done():
            self.ended.set_result(None)

    def _handle(self, message: Mapping[str, Any]) -> None:
        kind = message["kind"]
        if kind == Kind.PING:
            self.send({"kind": Kind.PONG})
            return
        if kind == Kind.CANCEL:
            for call_id in message["ids"]:
                self._cancel(call_id)
            return
        call_id = message["id"]
        work = self._upstream.call if kind == Kind.CALL else self._ask
        task = asyncio.create_task(work(call_id, message), name=f"{kind}-{call_id}")
        self._tasks[call_id] = task
        task.add_done_callback(lambda done: self._finished(call_id, done))

    def _cancel(self, call_id: int) -> None:
        """Close a call's connection and end its task; an unknown one's end is on its way already.

        The connections that are to be closed in this moment are, before any task is unwound.
        """
        task = self._tasks.get(call_id)
        if task is None or call_id in self._cancelled:
            return
        self._cancelled.add(call_id)
        if self._upstream.cut(call_id):
            self._unwinding.add(task)
        else:
            task.cancel()

    def _finished(self, call_id: int, task: asyncio.Task[None]) -> None:
        """Speak for a task that could not: one cancelled before it began, or broken."""
        del self._tasks[call_id]
        self._cancelled.discard(call_id)
        if task.cancelled():
            self.send({"kind": Kind.CLOSED, "id": call_id, "closed_at": time.monotonic()})
        elif (error := task.exception()) is not None:
            message = self._upstream.scrubbed(f"{type(error).__name__}: {error}")[:500]
            fault = {"kind": Kind.FAULT, "id": call_id, "error": ErrorKind.TEMPORARY_FAILURE}
            self.send({**fault, "message": f"the provider worker failed: {message}"})

    async def _ask(self, call_id: int, message: Mapping[str, Any]) -> None:
        """Answer a question about a model; the value is None where nobody knows."""
        model = message["model"]
        match message["kind"]:
            case Kind.WINDOW:
                value: Any = self._tokens.window(model)
            case Kind.MODELS:
                value = await asyncio.to_thread(self._known.matching, model, message["patterns"])
            case Kind.FIT:
                value = await asyncio.to_thread(self._fit, model, message)
            case _:
                value = await asyncio.to_thread(
                    self._tokens.count,
                    model,
                    messages=message.get("messages"),
                    text=message.get("text"),
                    tools=message.get("tools"),
                )
        self.send({"kind": Kind.VALUE, "id": call_id, "value": value})

    def _fit(self, model: str, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return what of a history a call would send, and how much that is; blocks."""
        own, tools = message["messages"], message.get("tools")
        sent = self._tokens.fitted(
            model,
            message["history"],
            own,
            reply_tokens=message["reply_tokens"],
            tools=tools,
        )
        return {
            "history": len(sent) - len(own),
            "tokens": self._tokens.count(model, messages=sent, tools=tools),
            "window": self._tokens.window(model),
        }


async def _serve(source: int, sink: int, litellm: Any) -> None:
    leave_out()
    _watch_the_wire()
    await _warm_up(litellm)
    loop = asyncio.get_running_loop()
    writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(sink, "wb", 0))
    _, server = await loop.connect_read_pipe(
        lambda: _Server(litellm, writer), os.fdopen(source, "rb", 0)
    )
    server.send({"kind": Kind.READY, "litellm": version("litellm")})
    await server.ended


if __name__ == "__main__":
    main()
