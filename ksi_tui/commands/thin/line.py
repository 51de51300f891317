"""What the thin commands share: the call, refusals in words, and exit codes.

A refusal of what was typed is exit code 2, as is an engine that is not there; one that only
the state of things caused is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from ksi_tui.commands.attaching import how_to_start, socket_at
from ksi_tui.commands.output import say, write
from ksi_tui.commands.settings import settings
from ksi_tui.engine.views import Level, SnapshotQuery
from ksi_tui.exits import BAD_USAGE, OK, SOME_FAILED
from ksi_tui.remote.call import Call
from ksi_tui.remote.errors import DoorClosed, LineFault, Refused
from ksi_tui.widgets.clean import clean

Reply = Mapping[str, Any]

NAME_CHARS: Final = 200
TEXT_CHARS: Final = 2_000
_BAD: Final = ("invalid_request", "not_ready")
_LOOK_S: Final = 0.5
_SLOW_S: Final = 2.0
"""What takes longer may wait for a database that cannot be written."""
_LITTLE: Final = SnapshotQuery(active_limit=0, queue_limit=0, lock_limit=0, trend_points=1)


def conversed(options: argparse.Namespace, talk: Callable[[Call], Coroutine[Any, Any, int]]) -> int:
    """Talk to the engine of the database and return the exit code; raises DoorClosed.

    SIGTERM ends it as ctrl+c does; what the engine has accepted it goes on with.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    async def talked() -> int:
        async with calling(options) as call, _telling_faults(call):
            try:
                return await talk(call)
            except Refused as error:
                say(error)
                return BAD_USAGE
            except LineFault as error:
                say(f"the engine at {call.socket} was lost: {error}")
                return BAD_USAGE

    return asyncio.run(talked())


@asynccontextmanager
async def calling(options: argparse.Namespace) -> AsyncIterator[Call]:
    """Yield a conversation with the engine of the database; raises DoorClosed, ConfigError."""
    config = settings(options)
    call = Call(socket_at(config.engine.database_path), config.ui.operator)
    try:
        await call.__aenter__()
    except DoorClosed as error:
        raise DoorClosed(f"{error}; {how_to_start(options)}") from None
    try:
        yield call
    finally:
        await call.__aexit__()


def refused(reply: Reply) -> bool:
    """Return whether a reply is a refusal."""
    return isinstance(reply.get("error"), str) and isinstance(reply.get("code"), str)


def answered(reply: Reply, told: Callable[[Reply], str], *, as_json: bool) -> int:
    """Print a reply, a refusal to stderr, and return the exit code."""
    if as_json:
        write(f"{json.dumps(reply)}\n")
    if refused(reply):
        say(reply["error"])
        return BAD_USAGE if reply["code"] in _BAD else SOME_FAILED
    if not as_json:
        write(told(reply))
    return OK


@asynccontextmanager
async def telling_losses(call: Call) -> AsyncIterator[None]:
    """Say on stderr when the engine is lost, and when it is back."""
    losses = _Losses(call)
    async with _meanwhile(losses.watch(), "tell-losses"):
        yield
        losses.look()


@asynccontextmanager
async def _telling_faults(call: Call) -> AsyncIterator[None]:
    """Say on stderr that the engine cannot write: what acts is answered once it is on disk."""

    async def watch() -> None:
        cannot = None
        while cannot is None:
            await asyncio.sleep(_SLOW_S)
            with suppress(LineFault):
                verdict = (await call.snapshot(_LITTLE)).verdict
                cannot = verdict.cause if verdict.level is Level.READ_ONLY else None
        say(f"the engine waits: {clean(cannot, TEXT_CHARS)}")

    async with _meanwhile(watch(), "tell-faults"):
        yield


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class _Losses:
    """Says once that the engine is lost, and once that it is back."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._told = False

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self.look()

    def look(self) -> None:
        lost = self._call.lost
        if lost is not None and not self._told:
            say(f"{lost}; waiting for it at {self._call.socket}")
        elif lost is None and self._told:
            say("the engine is back")
        self._told = lost is not None
