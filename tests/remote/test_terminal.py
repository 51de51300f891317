"""`attach` in a terminal: over a serve that is killed and started again, and from a plain start."""

from __future__ import annotations

import json
import signal
import subprocess
import time

from ksi_tui.screens.dialog import GUARD_S
from tests.acceptance.conftest import BOUND_S, Machine, machine
from tests.acceptance.test_dashboard import Terminal, assert_left_as_it_was, start

__all__ = ["machine"]  # the fixture

HANGS = '{"prompt": "x", "model": "sim/hang", "request_id": "%s"}'


def serving(machine: Machine) -> subprocess.Popen[str]:
    """A serve whose door answers."""
    process = machine.start("serve", stdout=subprocess.DEVNULL)
    give_up = time.monotonic() + BOUND_S
    while machine.run("emit", "completion:status").code != 0:
        assert process.poll() is None, "serve has ended"
        assert time.monotonic() < give_up, "serve does not answer"
    return process


def submitted(machine: Machine, request_id: str) -> None:
    ended = machine.run("emit", "completion:async", HANGS % request_id)
    assert (ended.code, json.loads(ended.out)["request_id"]) == (0, request_id)


def test_attached_dashboards_outlive_a_killed_engine_and_end_none(machine: Machine) -> None:
    first = serving(machine)
    both = [Terminal(140, 45), Terminal(80, 24)]
    attached = [start(machine, terminal, "attach") for terminal in both]
    submitted(machine, "r-first")
    for terminal in both:
        terminal.wait_for(b"r-first", b"detach")
    first.kill()
    first.wait(BOUND_S)
    for terminal in both:
        terminal.wait_for(b"no connection for", b"STALE")
    both[0].wait_for(b"shown as it was")
    second = serving(machine)
    submitted(machine, "r-other")
    for terminal in both:
        terminal.wait_for(b"r-other")
    cancelled = machine.run("cancel", "r-first", "r-other")
    assert cancelled.out.count("cancelled, was") == 2
    for terminal, process in zip(both, attached, strict=True):
        terminal.wait_for("× cancelled".encode())
        terminal.press("q")
        assert process.wait(BOUND_S) == 0
        assert b"detached; the engine goes on" in assert_left_as_it_was(terminal)
    assert machine.run("status", "--json").out.count("process ") == 1
    second.send_signal(signal.SIGTERM)
    assert second.wait(BOUND_S) == 0


def test_a_plain_start_on_a_served_database_attaches_by_a_key(machine: Machine) -> None:
    server = serving(machine)
    submitted(machine, "r-first")
    terminal = Terminal(80, 24)
    process = start(machine, terminal)
    terminal.wait_for(b"Another engine has this database", str(server.pid).encode(), b"answers at")
    time.sleep(GUARD_S)  # a key that comes sooner is none, by design
    terminal.press("a")
    terminal.wait_for(b"r-first")
    terminal.press("q")
    assert process.wait(BOUND_S) == 0
    assert_left_as_it_was(terminal)
    assert server.poll() is None
