"""The real command with litellm, against an OpenAI-compatible server on loopback."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import BOUND_S, Machine

SETTINGS = """
[[providers]]
name = "local"
kind = "litellm"
models = ["gpt-*"]
model = "openai/{{model}}"
api_base = "{base}"
api_key_env = "LOCAL_KEY"
"""
KEY = "sk-marked-and-never-to-be-seen"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Yield the address of a server, up to the mode."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "tests.servers.misbehaving", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    address = process.stdout.readline().partition("/<mode>")[0]
    yield address
    process.terminate()
    process.wait(BOUND_S)
    process.stdout.close()


def _workers_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(") ")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(stat.parent.name))
    return found


def _gone(pid: int) -> bool:
    """Return whether a process ends within the bound."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watch], [], [], BOUND_S)[0])
    finally:
        os.close(watch)


@pytest.mark.usefixtures("warm_workers")
def test_streamed_and_whole_answers_with_usage_and_cost(machine: Machine, server: str) -> None:
    machine.configure(more=SETTINGS.format(base=f"{server}/ok/v1"))
    machine.environ["LOCAL_KEY"] = KEY
    lines = [
        {"prompt": "hello", "model": "gpt-4o-mini", "stream": True},
        {"prompt": "world", "model": "gpt-4o-mini", "stream": False},
    ]
    ended = machine.run("run", machine.file("in", lines), "--json")
    assert ended.code == 0, ended.err
    for record in ended.records:
        assert (record["status"], record["provider"]) == ("completed", "local")
        assert record["text"]
        assert record["usage"]["input"] == 12
        assert record["usage"]["output"] == 10
        assert record["cost"] > 0
    everything = [path for path in machine.home.rglob("*") if path.is_file()]
    assert everything
    assert not [path for path in everything if KEY.encode() in path.read_bytes()]
    assert KEY not in ended.out + ended.err + machine.run("config", "show").out


@pytest.mark.usefixtures("warm_workers")
def test_a_key_that_is_not_set_fails_at_once_and_names_its_variable(
    machine: Machine, server: str
) -> None:
    machine.configure(more=SETTINGS.format(base=f"{server}/ok/v1"))
    ended = machine.run("run", "--json", given='{"prompt": "hello", "model": "gpt-4o-mini"}\n')
    assert ended.code == 1
    (record,) = ended.records
    assert record["error"]["kind"] == "auth_error"
    assert "LOCAL_KEY" in record["error"]["message"]


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open (Linux)")
def test_kill_9_leaves_no_worker_behind(machine: Machine, server: str) -> None:
    machine.configure(more=SETTINGS.format(base=f"{server}/ok@20/v1"))
    machine.environ["LOCAL_KEY"] = KEY
    lines = [
        {"prompt": "first", "model": "gpt-4o-mini", "max_tokens": 2},
        {"prompt": "second", "model": "gpt-4o-mini", "max_tokens": 5000},
    ]
    process = machine.start("run", machine.file("in", lines), "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["status"] == "completed"
    workers = _workers_of(process.pid)
    assert workers
    os.kill(process.pid, signal.SIGKILL)
    process.wait(BOUND_S)
    assert all(_gone(worker) for worker in workers)


def _streaming(machine: Machine, request_id: str) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a service; return it in the midst of a stream, with its workers."""
    process = machine.start("serve")
    assert process.stderr is not None
    assert "listening on" in process.stderr.readline()
    reader = machine.start("submit", "x", "--model", "gpt-4o", "--stream", "--id", request_id)
    assert reader.stdout is not None
    assert reader.stdout.read(1)
    workers = _workers_of(process.pid)
    assert workers
    return process, workers


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open (Linux)")
def test_an_end_in_mid_stream_leaves_no_worker_no_key_and_nothing_lost(
    machine: Machine, server: str
) -> None:
    """Ended by two signals in a row, and by a crash: what that tells is looked through too."""
    machine.configure(grace_s=300, more=SETTINGS.format(base=f"{server}/ok@1/v1"))
    machine.environ["LOCAL_KEY"] = KEY
    told = []
    for number, (signals, code) in enumerate(
        [([signal.SIGINT, signal.SIGTERM], 130), ([signal.SIGABRT], -signal.SIGABRT)], start=1
    ):
        process, workers = _streaming(machine, f"r-{number}")
        assert process.stderr is not None
        for each in signals:
            process.send_signal(each)
            if each is signal.SIGINT:
                assert process.stdout is not None
                while '"draining"' not in (line := process.stdout.readline()):
                    assert line
                    told.append(line)
        told += process.communicate(timeout=BOUND_S)
        assert process.returncode == code
        assert all(_gone(worker) for worker in workers)
        assert json.loads(machine.run("status", "--json").out)["unfinished"] == number
    everything = [path for path in machine.home.rglob("*") if path.is_file()]
    assert [path.name for path in everything if KEY.encode() in path.read_bytes()] == []
    assert [path.name for path in everything if path.name.startswith("core")] == []
    assert KEY not in "".join(told)
