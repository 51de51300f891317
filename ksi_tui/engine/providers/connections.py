"""Knows which connection each call has, so that it can be closed before the call is unwound.

To unwind a cancelled call through litellm, its client and its transport takes twenty times as long
as to end its connection: of a thousand that are cancelled at once, the last would wait for all.
Works on aiohttp's connector, which is handed in; must not import it: the engine is without HTTP.
"""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar
from functools import wraps
from socket import SHUT_RDWR
from typing import Any

_held: ContextVar[Held | None] = ContextVar("held", default=None)


class Held:
    """The newest connection that was opened for a call. `refused`: why its reply is not read on."""

    __slots__ = ("_connection", "_hushed", "refused")

    def __init__(self) -> None:
        self._connection: Any = None
        self._hushed: Any = None
        self.refused: str | None = None

    def hold(self) -> None:
        """Take note of the connections that are opened in this context from now on."""
        _held.set(self)

    def take(self, connection: Any) -> None:
        """Take note of a connection."""
        self._connection = connection

    def cut(self) -> bool:
        """End the connection at once; one that was given back for others is left alone.

        Only the socket is told, in 5 µs; to have its transport closed takes ten times as long,
        and comes with the call's unwinding. Returns whether that may wait: the connection is
        ended, and the call does not hear of it before `hear`.
        """
        transport = getattr(self._connection, "transport", None)
        sock = None if transport is None else transport.get_extra_info("socket")
        if sock is None:
            return False
        with suppress(AttributeError, NotImplementedError, RuntimeError):
            # Of what is encrypted, the transport below hears the end: no public name leads there.
            below: Any = getattr(getattr(transport, "_ssl_protocol", None), "_transport", transport)
            below.pause_reading()
            # aiohttp resumes reading when what had arrived before is read.
            below.resume_reading = _not_yet
            self._hushed = below
        with suppress(OSError):  # it is over already
            sock.shutdown(SHUT_RDWR)
        return self._hushed is not None

    def hear(self) -> None:
        """Let the transport hear that its connection has ended; an encrypted one waits for it."""
        hushed, self._hushed = self._hushed, None
        if hushed is not None:
            del hushed.resume_reading
            hushed.resume_reading()


def _not_yet() -> None:
    """Stand for a transport's `resume_reading` until its end may be heard."""


def refuse(reason: str) -> None:
    """Take note, for the call in whose context this is, that its reply is not read on."""
    if (held := _held.get()) is not None:
        held.refused = reason


def note_connections(connector: Any) -> None:
    """Let a connector's class (aiohttp's `BaseConnector`) say which connection it gives to whom."""
    connect = connector.connect

    @wraps(connect)
    async def connected(self: Any, *args: Any, **kwargs: Any) -> Any:
        connection = await connect(self, *args, **kwargs)
        if (held := _held.get()) is not None:
            held.take(connection)
        return connection

    connector.connect = connected
