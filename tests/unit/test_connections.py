"""Which connection a call has is known, so that it can be closed before the call is unwound."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from ksi_tui.engine.providers.connections import Held, note_connections, refuse
from ksi_tui.engine.providers.upstream import Upstream
from tests.unit.test_upstream_memory import REQUEST


class Transport:
    """A transport over one end of a pair of sockets; `other` is the server's end."""

    def __init__(self) -> None:
        self.own, self.other = socket.socketpair()
        self.other.setblocking(False)
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

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
    assert one.cut()
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
    assert not held.cut()
    connection = await asyncio.create_task(opened(held))
    connection.transport.own.close()
    connection.transport.other.close()
    connection.transport = None  # what aiohttp says of a connection that went back to its pool
    assert not held.cut()
    held.hear()


@pytest.fixture
async def cut() -> AsyncIterator[tuple[Held, Any]]:
    """A call's holder, and its connection."""
    held = Held()
    connection = await asyncio.create_task(opened(held))
    transport = connection.transport
    yield held, connection
    transport.own.close()
    transport.other.close()


async def test_a_call_does_not_hear_of_the_end_of_its_connection_until_it_is_unwound(
    cut: tuple[Held, Any],
) -> None:
    held, connection = cut
    assert held.cut()
    assert not connection.transport.reading
    connection.transport.resume_reading()  # as aiohttp does once what had arrived is read
    assert not connection.transport.reading
    held.hear()
    assert connection.transport.reading
    held.hear()


async def test_of_an_encrypted_connection_the_transport_below_does_not_hear_of_it(
    cut: tuple[Held, Any],
) -> None:
    held, connection = cut
    below = connection.transport
    above = SimpleNamespace(
        _ssl_protocol=SimpleNamespace(_transport=below), get_extra_info=below.get_extra_info
    )
    connection.transport = above
    assert held.cut()
    assert (below.ended, below.reading) == (True, False)
    held.hear()
    assert below.reading


async def test_a_call_that_cannot_be_kept_from_hearing_of_it_is_to_be_unwound_at_once(
    cut: tuple[Held, Any],
) -> None:
    held, connection = cut
    below = connection.transport
    connection.transport = SimpleNamespace(get_extra_info=below.get_extra_info)
    assert not held.cut()
    assert below.ended


async def test_a_refusal_is_noted_for_the_call_in_whose_context_it_is() -> None:
    one, other = Held(), Held()

    async def refused(held: Held) -> None:
        held.hold()
        if held is one:
            refuse("too large")

    await asyncio.gather(*(asyncio.create_task(refused(held)) for held in (one, other)))
    assert (one.refused, other.refused) == ("too large", None)


async def test_a_call_that_ends_otherwise_although_it_was_cut_hears_of_it_too() -> None:
    """Or its connection, dead and silent, would be given to another call."""
    found: list[Any] = []

    class Ending:
        async def acompletion(self, **_: Any) -> Any:
            found.append(await Connector().connect("host", timeout_s=1.0))
            assert upstream.cut(7)
            assert not found[0].transport.reading
            raise ValueError("it broke")

    sent: list[dict[str, Any]] = []
    upstream = Upstream(Ending(), None, sent.append, {})  # type: ignore[arg-type]
    await upstream.call(7, REQUEST)
    assert [each["kind"] for each in sent] == ["fault"]
    assert found[0].transport.reading
    found[0].transport.own.close()
    found[0].transport.other.close()
