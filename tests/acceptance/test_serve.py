"""`ksi-tui serve` as a service manager runs it: its life, its signals, its lines, its restart."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.door.place import answers, socket_of
from tests.acceptance.conftest import BOUND_S, Ended, Machine
from tests.acceptance.test_dashboard import Terminal, start
from tests.door.visiting import Visitor, visiting

Process = subprocess.Popen[str]
HANG = {"extra_body": {"sim": {"delay_ms": 60_000}}}


async def serving(machine: Machine, **options: Any) -> Process:
    """Start a service and wait until it says that it listens."""
    process = machine.start("serve", **options)
    assert process.stderr is not None
    said = await asyncio.to_thread(process.stderr.readline)
    assert said.startswith("ksi-tui: serving "), said
    return process


async def ended(process: Process) -> Ended:
    out, err = await asyncio.to_thread(process.communicate, None, BOUND_S)
    return Ended(code=process.returncode, out=out or "", err=err or "")


@asynccontextmanager
async def at_the_door(machine: Machine) -> AsyncIterator[Visitor]:
    async with visiting(socket_of(machine.database)) as visitor:
        yield visitor


async def submit(visitor: Visitor, prompt: str, **data: Any) -> str:
    status, reply = await visitor.emit("completion:async", {"prompt": prompt, **data})
    assert status == 200, reply
    return str(reply["request_id"])


async def counts(visitor: Visitor) -> dict[str, int]:
    return dict((await visitor.emit("completion:status"))[1]["status_counts"])


async def told(visitor: Visitor, name: str, count: int) -> None:
    """Return when an event has been told so often, from now on."""
    async with await visitor.events(params={"pattern": name}) as events:
        await events.take(count + 1)


def test_a_service_that_nobody_could_reach_does_not_begin(machine: Machine) -> None:
    at = socket_of(machine.database)
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_text("mine")
    process = machine.run("serve", "--listen", "127.0.0.1:0")
    assert process.code == 2
    assert '"message": "serving"' not in process.out
    (line,) = process.err.splitlines()
    assert line.startswith("ksi-tui: nobody can attach: ")
    assert str(at) in line
    assert at.read_text() == "mine"


async def test_under_load_it_drains_and_the_next_one_goes_on(machine: Machine) -> None:
    machine.configure(grace_s=30, engine="max_concurrency = 4")
    names = [f"q{number}" for number in range(240)]
    process = await serving(machine)
    async with (
        at_the_door(machine) as visitor,
        await visitor.events(params={"pattern": "completion:result"}) as events,
    ):
        await events.next()
        requests = [{"prompt": each, "model": "sim/slow", "request_id": each} for each in names]
        status, reply = await visitor.emit("completion:batch", {"requests": requests})
        assert (status, len(reply["accepted"])) == (200, 240)
        await events.take(4)
        process.send_signal(signal.SIGTERM)
        while await events.raw() is not None:
            pass
    first = await ended(process)
    assert (first.code, first.err) == (0, "ksi-tui: ended: drained\n")
    done = {r["request_id"] for r in machine.run("results", "--json").records}
    assert 4 <= len(done) < 240
    assert json.loads(machine.run("status", "--json").out)["unfinished"] == 240 - len(done)

    machine.configure(grace_s=30, engine="max_concurrency = 64")
    process = await serving(machine)
    async with at_the_door(machine) as visitor:
        while (await counts(visitor))["completed"] < 240:
            await told(visitor, "completion:result", 0)
    process.send_signal(signal.SIGTERM)
    assert (await ended(process)).code == 0
    records = machine.run("results", "--json").records
    assert sorted(r["request_id"] for r in records) == sorted(names)
    assert {r["text"] for r in records} == set(names)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_interrupts_and_nothing_is_lost(
    machine: Machine, number: signal.Signals
) -> None:
    machine.configure(grace_s=300)
    process = await serving(machine)
    async with at_the_door(machine) as visitor, await visitor.events() as events:
        request_id = await submit(visitor, "hello", **HANG)
        while (await events.next()).name != "completion:progress":
            pass
        process.send_signal(number)
        while (await visitor.get("/readyz"))[0] == 200:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0)
        assert process.poll() is None
        process.send_signal(number)
        while await events.raw() is not None:
            pass
    rest = await ended(process)
    assert rest.code == 130
    assert "1 interrupted; they go on with the next start" in rest.err

    process = await serving(machine)
    async with at_the_door(machine) as visitor:
        _, found = await visitor.emit("completion:request_status", {"request_id": request_id})
        assert found["status"] in ("queued", "processing")
    process.kill()


async def test_what_outlives_the_grace_is_interrupted(machine: Machine) -> None:
    machine.configure(grace_s=0.1)
    process = await serving(machine)
    async with at_the_door(machine) as visitor, await visitor.events() as events:
        await submit(visitor, "hello", **HANG)
        while (await events.next()).name != "completion:progress":
            pass
    process.send_signal(signal.SIGTERM)
    assert (await ended(process)).code == 130


async def test_after_kill_9_the_next_one_takes_the_socket_and_the_work_over(
    machine: Machine,
) -> None:
    machine.configure()
    process = await serving(machine)
    async with at_the_door(machine) as visitor:
        _, before = await visitor.get("/hello")
        ids = [await submit(visitor, str(n), model="sim/slow", session_id="s") for n in range(5)]
    process.kill()
    process.wait(BOUND_S)
    place = socket_of(machine.database)
    assert place.exists()
    assert not answers(place)

    process = await serving(machine)
    async with at_the_door(machine) as visitor:
        _, after = await visitor.get("/hello")
        assert (after["boot"] == before["boot"], after["pid"]) == (False, process.pid)
        query = {"after": f"{before['boot']}.3"}
        async with await visitor.events(params=query) as events:
            await events.next()
            assert (await events.next()).data == {"lost": None, "why": "restarted"}
        while (await counts(visitor))["completed"] < 5:
            await told(visitor, "completion:result", 0)
    process.send_signal(signal.SIGTERM)
    assert (await ended(process)).code == 0
    assert [r["request_id"] for r in machine.run("results", "--json").records] == ids


async def test_a_database_that_is_owned_is_left_alone(machine: Machine) -> None:
    machine.configure()
    process = await serving(machine)
    second = await asyncio.to_thread(machine.run, "serve")
    assert second.code == 3
    assert f"process {process.pid} " in second.err
    async with at_the_door(machine) as visitor:
        assert (await visitor.get("/hello"))[1]["pid"] == process.pid
    process.send_signal(signal.SIGTERM)
    assert (await ended(process)).code == 0


async def test_it_can_be_ended_by_an_event(machine: Machine) -> None:
    machine.configure()
    process = await serving(machine)
    async with at_the_door(machine) as visitor:
        status, reply = await visitor.emit("system:shutdown", {})
        assert (status, reply["status"]) == (200, "shutdown")
    assert (await ended(process)).code == 0
    assert not socket_of(machine.database).exists()


async def test_a_terminal_that_goes_ends_nothing(machine: Machine) -> None:
    machine.configure()
    process = await serving(machine)
    process.send_signal(signal.SIGHUP)
    async with at_the_door(machine) as visitor:
        assert (await visitor.get("/readyz"))[0] == 200
    process.send_signal(signal.SIGTERM)
    rest = await ended(process)
    assert rest.code == 0
    assert any("terminal has gone" in record["message"] for record in rest.records)


async def test_it_logs_one_object_a_line_and_no_texts(machine: Machine) -> None:
    machine.configure()
    process = await serving(machine)
    async with at_the_door(machine) as visitor:
        async with await visitor.events(params={"pattern": "completion:result"}) as events:
            await events.next()
            await submit(visitor, "a private question", request_id="r-x")
            await events.next()
        await visitor.emit("queue:pause", {"scope": "engine"}, headers={"X-Ksi-Operator": "op1"})
    process.send_signal(signal.SIGTERM)
    rest = await ended(process)
    for record in rest.records:
        assert {"at", "level", "logger", "message"} <= set(record)
    said = {record["message"]: record for record in rest.records}
    assert said["serving"]["socket"] == str(socket_of(machine.database))
    assert said["completion:result"]["data"]["request_id"] == "r-x"
    assert said["completion:result"]["data"]["provider"] == "simulated"
    assert said["acted"] | {"operator": "op1", "event_name": "queue:pause"} == said["acted"]
    assert {"draining", "ended"} < set(said)
    assert "private" not in rest.out
    log = machine.home / "state" / "ksi-tui" / "logs" / "ksi-tui.log"
    kept = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert "serving" in kept
    assert "completion:result" not in kept  # the file is for what is rare


async def test_the_level_bounds_what_is_logged(machine: Machine) -> None:
    machine.configure()
    process = machine.start("--log-level", "warning", "serve")
    assert process.stderr is not None
    await asyncio.to_thread(process.stderr.readline)
    async with at_the_door(machine) as visitor:
        await visitor.emit("system:shutdown", {})
    rest = await ended(process)
    assert (rest.code, rest.out) == (0, "")


@pytest.mark.parametrize("gone", [False, True], ids=["slow", "gone"])
async def test_a_reader_of_its_lines_holds_nothing_up(machine: Machine, gone: bool) -> None:
    """More than a pipe takes; the service answers on, and ends when it is told to."""
    machine.configure()
    reading, writing = os.pipe()
    process = await serving(machine, stdout=writing)
    os.close(writing)
    if gone:
        os.close(reading)
    async with at_the_door(machine) as visitor:
        requests = [{"prompt": str(number)} for number in range(500)]
        async with await visitor.events(params={"pattern": "completion:result"}) as events:
            await events.next()
            await visitor.emit("completion:batch", {"requests": requests})
            await events.take(500)
        assert (await visitor.get("/readyz"))[0] == 200
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, BOUND_S) == 0
    if not gone:
        os.close(reading)


async def test_it_tells_the_service_manager(machine: Machine, tmp_path: Path) -> None:
    machine.configure()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        place = tmp_path / "n"
        manager.bind(str(place))
        manager.settimeout(BOUND_S)
        machine.environ["NOTIFY_SOCKET"] = str(place)
        process = await serving(machine)
        assert await asyncio.to_thread(manager.recv, 100) == b"READY=1"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(manager.recv, 100) == b"STOPPING=1"
    assert (await ended(process)).code == 0


async def test_run_has_a_door_too(machine: Machine) -> None:
    machine.configure(grace_s=0.1)
    file = machine.file("in", [{"prompt": "hello", "request_id": "r-x", **HANG}])
    process = machine.start("run", file)
    place = socket_of(machine.database)
    while not answers(place):
        assert process.poll() is None
        await asyncio.sleep(0.01)
    async with at_the_door(machine) as visitor:
        assert (await visitor.get("/hello"))[1]["name"] == "ksi-tui run"
        status, _ = await visitor.emit("completion:cancel", {"request_id": "r-x"})
        assert status == 200
    assert (await ended(process)).code == 1


async def test_a_dashboard_has_a_door_and_its_user_is_attached(machine: Machine) -> None:
    machine.configure(more='[ui]\noperator = "ann"\n')
    terminal = Terminal(80, 24)
    process = start(machine, terminal)
    place = socket_of(machine.database)
    while not await asyncio.to_thread(answers, place):
        assert process.poll() is None
        await asyncio.sleep(0.01)
    async with at_the_door(machine) as visitor:
        _, hello = await visitor.get("/hello")
        assert [(each["operator"], each["kind"]) for each in hello["attached"]] == [
            ("ann", "dashboard")
        ]
    terminal.press("q")
    assert await asyncio.to_thread(process.wait, BOUND_S) == 0
    terminal.everything()
    assert not place.exists()


def test_settings_that_are_wrong_are_code_2(machine: Machine) -> None:
    machine.configure(engine="no_such_key = 1")
    found = machine.run("serve")
    assert (found.code, found.out) == (2, "")
    assert "no_such_key" in found.err
