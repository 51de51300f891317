"""What a worker takes of a server and what it lets go of: bounds, and closes at once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind, ProviderFault
from ksi_tui.engine.providers import unwinding
from ksi_tui.engine.providers.litellm import LitellmProvider
from ksi_tui.engine.providers.pool import WorkerPool
from ksi_tui.engine.providers.unwinding import Unwinding
from ksi_tui.engine.providers.worker import _Server, lift_connection_limits
from tests.servers.calling import BOUND_S, Observer, settings, spec
from tests.servers.misbehaving import MisbehavingServer
from tests.servers.modes import SENTENCE

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("warm_workers"),
]
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@both
@pytest.mark.parametrize("mode", ["big@100", "endless_line", "bomb"])
async def test_a_reply_that_is_too_large_is_refused_and_its_connection_closed(
    pool: WorkerPool, server: MisbehavingServer, mode: str, stream: bool
) -> None:
    provider = LitellmProvider(settings(server.base(mode)), pool)
    with pytest.raises(ProviderFault) as fault:
        await provider.call(spec(stream=stream), Observer())
    assert fault.value.kind is ErrorKind.PROVIDER_ERROR
    assert fault.value.message.endswith(
        "a piece of the stream is over 32 MB"
        if stream or mode == "endless_line"
        else "the reply is larger than 32 MB"
    )
    seen = await server.ended()
    assert seen.closed or mode == "bomb"  # which is sent in full before it is looked at


@both
async def test_what_is_compressed_and_small_is_read(
    pool: WorkerPool, server: MisbehavingServer, stream: bool
) -> None:
    provider = LitellmProvider(settings(server.base("zipped")), pool)
    result = await provider.call(spec(stream=stream), Observer())
    assert result.text.strip() == SENTENCE


async def test_of_a_long_stream_with_usage_on_every_chunk_the_last_one_counts(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    provider = LitellmProvider(settings(server.base("usage_long")), pool)
    result = await provider.call(spec(), Observer())
    assert result.usage.output == 2000
    assert not result.usage.estimated
    assert len(result.text.split()) == 2000


@pytest.mark.parametrize("mode", ["stall", "hang"])
async def test_an_upstream_is_closed_ahead_of_the_task_that_awaits_it(
    pool: WorkerPool, server: MisbehavingServer, mode: str
) -> None:
    provider = LitellmProvider(settings(server.base(mode)), pool)
    observer = Observer()
    task = asyncio.create_task(provider.call(spec(), observer))
    count = len(server.requests)
    await server.wait_for(lambda seen: len(seen) > count and bool(seen[-1].sent or mode == "hang"))
    provider.close_ahead(observer)
    provider.close_ahead(observer)
    seen = await server.ended()
    await asyncio.wait_for(observer.ended.wait(), BOUND_S)
    assert seen.closed
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [closed.confirmed for closed in observer.closed] == [True]
    provider.close_ahead(observer)  # nothing is open any more
    assert len(observer.closed) == 1


async def test_connections_are_closed_before_any_of_their_tasks_is_unwound() -> None:
    happened: list[Any] = []

    class Upstream:
        def cut(self, call_id: int) -> bool:
            happened.append(("cut", call_id))
            return True

    async def call(call_id: int) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            happened.append(("unwound", call_id))
            raise

    server = object.__new__(_Server)
    server._upstream = Upstream()  # type: ignore[assignment]
    server._cancelled, server._unwinding = set(), Unwinding()
    server._tasks = {number: asyncio.create_task(call(number)) for number in range(3)}
    await asyncio.sleep(0)
    for number in (0, 1, 2, 7, 0):  # nobody knows 7, and 0 is told twice
        server._cancel(number)
        await asyncio.sleep(0)  # their messages need not come in one turn of the loop
    await asyncio.wait(server._tasks.values())
    cut = [("cut", number) for number in range(3)]
    assert happened == [*cut, ("unwound", 0), ("unwound", 1), ("unwound", 2)]


async def test_a_call_without_a_connection_to_close_is_unwound_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be about to open one: nothing else would keep it from being sent."""
    monkeypatch.setattr(unwinding, "QUIET_S", 60.0)
    server = object.__new__(_Server)
    server._upstream = SimpleNamespace(cut=lambda _: False)  # type: ignore[assignment]
    server._cancelled, server._unwinding = set(), Unwinding()
    server._tasks = {1: asyncio.create_task(asyncio.sleep(60), name="call-1")}
    await asyncio.sleep(0)
    server._cancel(1)
    await asyncio.wait(server._tasks.values())
    assert server._tasks[1].cancelled()


async def test_a_worker_holds_as_many_connections_as_it_has_calls() -> None:
    environ = {"AIOHTTP_CONNECTOR_LIMIT": "7"}
    lift_connection_limits(environ)
    assert environ == {
        "AIOHTTP_CONNECTOR_LIMIT": "7",
        "AIOHTTP_CONNECTOR_LIMIT_PER_HOST": "1000000",
    }
