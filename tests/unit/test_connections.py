"""Which connection a call has is known, so that it can be closed before the call is unwound."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from ksi_tui.engine.providers.connections import Held, note_connections, refuse


class Transport:
    """A transport over one end of a pair of sockets; `other` is the server's end."""

    def __init__(self) -> None:
        self.own, self.other = socket.socketpair()
        self.other.setblocking(False)

    def get_extra_info(self, name: str) -> socket.socket:
        assert name == "socket"
        return self.own

    @property
    def ended(self) -> bool:
        """Whether the server has been told the end."""
        try:
            return self.other.recv(1) == b""
        except BlockingIOError:
            return False


class Connection:
    def __init__(self) -> None:
        self.transport: Transport | None = Transport()


class Connector:
    async def connect(self, key: str, *, timeout_s: float) -> Connection:
        assert (key, timeout_s) == ("host", 1.0)
        return Connection()


note_connections(Connector)


async def opened(held: Held | None) -> Any:
    if held is not None:
        held.hold()
    return await Connector().connect("host", timeout_s=1.0)


async def test_each_call_holds_its_own_connection() -> None:
    one, other = Held(), Held()
    first, second, nobodys = await asyncio.gather(
        *(asyncio.create_task(opened(held)) for held in (one, other, None))
    )
    one.cut()
    assert (first.transport.ended, second.transport.ended) == (True, False)
    assert not nobodys.transport.ended
    one.cut()  # twice is harmless
    first.transport.other.close()
    one.cut()
    for each in (first, second, nobodys):
        each.transport.own.close()
        each.transport.other.close()
    one.cut()


async def test_what_was_given_back_or_never_opened_is_left_alone() -> None:
    held = Held()
    held.cut()
    connection = await asyncio.create_task(opened(held))
    connection.transport.own.close()
    connection.transport.other.close()
    connection.transport = None  # what aiohttp says of a connection that went back to its pool
    held.cut()


async def test_a_refusal_is_noted_for_the_call_in_whose_context_it_is() -> None:
    one, other = Held(), Held()

    async def refused(held: Held) -> None:
        held.hold()
        if held is one:
            refuse("too large")

    await asyncio.gather(*(asyncio.create_task(refused(held)) for held in (one, other)))
    assert (one.refused, other.refused) == ("too large", None)
