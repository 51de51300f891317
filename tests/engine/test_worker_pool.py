"""Workers start, die, wedge and are replaced; whoever waits is told; none outlives its engine."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ksi_tui.engine.errors import ErrorKind, ProviderFault
from ksi_tui.engine.events import WORKER_LOST, WORKER_STARTED
from ksi_tui.engine.providers.framing import Kind
from ksi_tui.engine.providers.litellm import LitellmProvider
from ksi_tui.engine.providers.pool import SILENT_PINGS, WorkerPool
from tests.engine.engine_fixtures import until
from tests.servers.calling import BOUND_S, Events, Observer, settings, spec
from tests.servers.misbehaving import MisbehavingServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

needs_pidfd = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="waits for a process that is no child: needs pidfd_open"
)

SPEAK = """
import sys, time
from ksi_tui.engine.providers.framing import Decoder, encode
def say(**message):
    sys.stdout.buffer.write(encode(message))
    sys.stdout.buffer.flush()
"""
SERVE = """
say(kind="ready")
decoder = Decoder()
while data := sys.stdin.buffer.raw.read(65536):
    for message in decoder.feed(data):
        if message["kind"] == "window":
            say(kind="value", id=message["id"], value=message["model"])
        elif message["kind"] == "ping":
            say(kind="pong")
"""


def script(body: str) -> tuple[str, ...]:
    """Return the command of a worker that is no provider: it speaks the protocol and no more."""
    return (sys.executable, "-c", SPEAK + body)


@asynccontextmanager
async def small_pool(
    body: str, size: int = 1, **clocks: float
) -> AsyncIterator[tuple[WorkerPool, Events]]:
    events = Events()
    pool = WorkerPool(size, on_event=events, command=script(body), **clocks)
    pool.start()
    try:
        yield pool, events
    finally:
        await pool.aclose(0.1)


class Sink:
    """Records what is said to it."""

    def __init__(self) -> None:
        self.messages: list[Mapping[str, Any]] = []
        self.lost: list[str] = []
        self.told = asyncio.Event()

    def on_message(self, message: Mapping[str, Any]) -> None:
        self.messages.append(message)
        self.told.set()

    def on_lost(self, reason: str) -> None:
        self.lost.append(reason)
        self.told.set()


def question(model: str = "m") -> dict[str, Any]:
    return {"kind": Kind.WINDOW, "model": model}


def silence() -> dict[str, Any]:
    """Return a message that the small workers never answer."""
    return {"kind": Kind.CALL}


def gone(handle: int) -> bool:
    """Wait, with a bound, for the end of the process behind a pidfd."""
    ended, _, _ = select.select([handle], [], [], BOUND_S)
    os.close(handle)
    return bool(ended)


async def test_what_is_asked_before_the_first_worker_is_ready_waits_for_it() -> None:
    async with small_pool(SERVE) as (pool, events):
        assert (pool.ready, pool.starting) == (False, True)
        assert await pool.ask(question("a")) == "a"
        assert (pool.ready, pool.starting) == (True, False)
        worker = pool.workers[0]
        assert (worker.worker, worker.ready, worker.in_flight) == (1, True, 0)
        assert events.seen == [(WORKER_STARTED, {"worker": 1, "pid": worker.pid})]


async def test_what_waits_can_be_cancelled_in_silence() -> None:
    async with small_pool("time.sleep(60)") as (pool, _):
        sink = Sink()
        assert pool.cancel(pool.open(silence(), sink)) is False
        assert not sink.told.is_set()


async def test_each_conversation_goes_to_the_least_loaded_worker() -> None:
    async with small_pool(SERVE, size=2) as (pool, events):
        await events.until(lambda names: names.count(WORKER_STARTED) == 2)
        for _ in range(5):
            pool.open(silence(), Sink())
        assert sorted(worker.in_flight for worker in pool.workers) == [2, 3]


async def test_a_killed_worker_is_replaced_and_its_conversations_are_told() -> None:
    async with small_pool(SERVE) as (pool, events):
        await events.until(lambda names: WORKER_STARTED in names)
        sink = Sink()
        pool.open(silence(), sink)
        first = pool.workers[0].pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(BOUND_S):
            await sink.told.wait()
        assert sink.lost == ["it was ended by SIGKILL"]
        lost = {"worker": 1, "pid": first, "reason": "it was ended by SIGKILL"}
        assert (WORKER_LOST, lost) in events.seen
        assert await pool.ask(question("again")) == "again"
        assert pool.workers[0].pid != first


async def test_a_wedged_worker_is_killed_and_replaced() -> None:
    async with small_pool(SERVE, ping_every_s=0.05) as (pool, events):
        await events.until(lambda names: WORKER_STARTED in names)
        first = pool.workers[0].pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        await events.until(lambda names: names.count(WORKER_STARTED) == 2)
        reasons = [data["reason"] for name, data in events.seen if name == WORKER_LOST]
        assert reasons == ["it did not answer for 0.2 s"]


async def test_pings_that_are_answered_keep_a_worker() -> None:
    every_s = 0.25  # as a busy machine may keep a worker waiting for some of them
    async with small_pool(SERVE, ping_every_s=every_s) as (pool, events):
        for turn in range(SILENT_PINGS + 2):
            assert await pool.ask(question(str(turn))) == str(turn)
            await asyncio.sleep(every_s)
        assert events.names() == [WORKER_STARTED]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit(7)", "it ended by itself with exit code 7"),
        ("say(kind='unusable', message='no litellm here')", "no litellm here"),
        ("print('hello, I am no message')\nsys.stdout.flush()\ntime.sleep(60)", "no message"),
        ("time.sleep(60)", "it was not ready after 0.3 s"),
    ],
)
async def test_a_worker_that_cannot_start_is_named_to_whoever_waits(body: str, reason: str) -> None:
    start_up_s = 0.3 if "not ready" in reason else BOUND_S
    async with small_pool(body, start_up_s=start_up_s) as (pool, events):
        with pytest.raises(ProviderFault) as caught:
            await pool.ask(question())
        assert caught.value.kind is ErrorKind.WORKER_LOST
        assert reason in caught.value.message
        assert events.names() == [WORKER_LOST]
        assert pool.starting  # it is tried again, later


async def test_a_command_that_does_not_exist_is_a_lost_worker() -> None:
    events = Events()
    pool = WorkerPool(1, on_event=events, command=("/nowhere/at/all",))
    pool.start()
    with pytest.raises(ProviderFault, match="it cannot be started"):
        await pool.ask(question())
    assert events.seen[0][1]["pid"] is None
    await pool.aclose()


async def test_closing_waits_for_conversations_only_so_long() -> None:
    async with small_pool(SERVE) as (pool, events):
        await events.until(lambda names: WORKER_STARTED in names)
        sink = Sink()
        pool.open(silence(), sink)
        await pool.aclose(0.05)
        assert sink.lost == ["the provider workers are stopping"]
        assert WORKER_LOST not in events.names()  # it was asked to go
        assert (pool.ready, pool.starting) == (False, False)
        with pytest.raises(ProviderFault) as caught:
            pool.open(question(), Sink())
        assert caught.value.kind is ErrorKind.DAEMON_RESTART


@needs_pidfd
@pytest.mark.parametrize("body", [SERVE, "time.sleep(60)", "say(kind='ready')\ntime.sleep(60)"])
async def test_closing_leaves_no_process(body: str) -> None:
    async with small_pool(body, size=2) as (pool, _):
        async with asyncio.timeout(BOUND_S):
            while not all(worker.pid for worker in pool.workers):  # noqa: ASYNC110  (no event tells)
                await asyncio.sleep(0)
        handles = [os.pidfd_open(worker.pid or 0) for worker in pool.workers]
        await pool.aclose(0.1)
        assert all(gone(handle) for handle in handles)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def real() -> AsyncIterator[tuple[WorkerPool, MisbehavingServer, Events]]:
    events = Events()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOG", "DEBUG")  # whatever litellm prints must stay off the pipes
        pool = WorkerPool(1, on_event=events)
        pool.start()
        async with MisbehavingServer() as server:
            await events.until(lambda names: WORKER_STARTED in names)
            yield pool, server, events
            await pool.aclose()


async def test_a_worker_is_out_of_reach_of_the_terminals_signals(
    real: tuple[WorkerPool, MisbehavingServer, Events],
) -> None:
    pool, server, _ = real
    pid = pool.workers[0].pid
    assert pid is not None
    assert os.getsid(pid) != os.getsid(0)
    os.kill(pid, signal.SIGINT)
    result = await LitellmProvider(settings(server.base("ok")), pool).call(spec(), Observer())
    assert result.text
    assert pool.workers[0].pid == pid


def sockets(pool: WorkerPool) -> int:
    """Return how many sockets the worker's process has open."""
    folder = Path(f"/proc/{pool.workers[0].pid}/fd")
    found = 0
    for each in folder.iterdir():
        try:
            found += os.readlink(each).startswith("socket:")
        except FileNotFoundError:  # closed meanwhile
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system has no /proc")
async def test_broken_streams_leave_no_socket_in_the_worker(
    real: tuple[WorkerPool, MisbehavingServer, Events],
) -> None:
    pool, server, _ = real

    async def round_of_faults() -> int:
        for mode in ("cut", "error_frame", "bad_json", "truncated", "html", "empty", "500"):
            for stream in (False, True):
                provider = LitellmProvider(settings(server.base(mode)), pool)
                with pytest.raises(ProviderFault):
                    await provider.call(spec(stream=stream), Observer())
        return sockets(pool)

    first, rounds = await round_of_faults(), 5
    assert first
    for _ in range(rounds):
        await round_of_faults()
    # A few may rest in the pool, as many as it has just needed; one a round would be a leak.
    await until(lambda: sockets(pool) < first + rounds, "what was left is closed")


async def test_a_worker_killed_in_mid_stream_ends_its_calls_and_is_replaced(
    real: tuple[WorkerPool, MisbehavingServer, Events],
) -> None:
    pool, server, _ = real
    provider = LitellmProvider(settings(server.base("stall")), pool)
    open_one, cancelled_one = Observer(), Observer()
    calls = [
        asyncio.create_task(provider.call(spec(), observer))
        for observer in (open_one, cancelled_one)
    ]
    async with asyncio.timeout(BOUND_S):
        await open_one.first.wait()
        await cancelled_one.first.wait()
    pid = pool.workers[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # so that the cancel finds nobody to confirm it
    calls[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls[1]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ProviderFault) as caught:
        await calls[0]
    assert caught.value.kind is ErrorKind.WORKER_LOST
    assert "SIGKILL" in caught.value.message
    assert open_one.closed == []
    assert [closed.confirmed for closed in cancelled_one.closed] == [True]
    result = await LitellmProvider(settings(server.base("ok")), pool).call(spec(), Observer())
    assert result.text


async def test_a_close_that_nobody_confirms_in_time_is_reported_as_that(
    real: tuple[WorkerPool, MisbehavingServer, Events], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, server, _ = real
    monkeypatch.setattr("ksi_tui.engine.providers.litellm.CONFIRM_S", 0.05)
    observer = Observer()
    provider = LitellmProvider(settings(server.base("stall")), pool)
    call = asyncio.create_task(provider.call(spec(), observer))
    async with asyncio.timeout(BOUND_S):
        await observer.first.wait()
    pid = pool.workers[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    call.cancel()
    async with asyncio.timeout(BOUND_S):
        await observer.ended.wait()
    os.kill(pid, signal.SIGCONT)
    # What the worker says of it later changes nothing.
    await LitellmProvider(settings(server.base("ok")), pool).call(spec(), Observer())
    assert [closed.confirmed for closed in observer.closed] == [False]
    assert (await server.ended(-2)).closed


async def test_a_running_calls_worker_is_known(
    real: tuple[WorkerPool, MisbehavingServer, Events],
) -> None:
    pool, server, _ = real
    observer, other = Observer(), Observer()
    provider = LitellmProvider(settings(server.base("stall")), pool)
    call = asyncio.create_task(provider.call(spec(), observer))
    async with asyncio.timeout(BOUND_S):
        await observer.first.wait()
    found = provider.worker_of(observer)
    assert found is not None
    assert found.pid in {view.pid for view in pool.workers}
    assert found.up_s is not None
    assert provider.worker_of(other) is None
    call.cancel()
    async with asyncio.timeout(BOUND_S):
        await observer.ended.wait()
    assert provider.worker_of(observer) is None


PARENT = """
import asyncio, sys
from ksi_tui.engine.providers.litellm import LitellmProvider
from ksi_tui.engine.providers.pool import WorkerPool
from tests.servers.calling import Observer, settings, spec

async def main(base):
    pool = WorkerPool(1, on_event=lambda name, data: print(name, flush=True))
    pool.start()
    while not pool.workers[0].pid:
        await asyncio.sleep(0.001)
    print(pool.workers[0].pid, flush=True)
    if base:
        await LitellmProvider(settings(base), pool).call(spec(), Observer())
    await asyncio.sleep(60)

asyncio.run(main(sys.argv[1]))
"""


@needs_pidfd
@pytest.mark.parametrize("mode", ["", "stall"], ids=["while it imports", "in mid-stream"])
async def test_a_worker_ends_when_its_engine_is_killed(
    real: tuple[WorkerPool, MisbehavingServer, Events], mode: str
) -> None:
    _, server, _ = real
    before = len(server.requests)
    engine = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, server.base(mode) if mode else ""),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert engine.stdout is not None
    async with asyncio.timeout(BOUND_S):
        handle = os.pidfd_open(int(await engine.stdout.readline()))
        if mode:
            await server.wait_for(lambda seen: len(seen) > before, BOUND_S)
    engine.kill()
    await engine.wait()
    assert await asyncio.to_thread(gone, handle)
    if mode:
        assert (await server.ended(before)).closed
