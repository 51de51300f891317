"""However an attached dashboard is ended, its terminal is as it was and the engine is unhurt.

On a real pseudo-terminal over a real serve, which has a request that never ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import termios
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.acceptance.conftest import BOUND_S, Machine, machine
from tests.acceptance.test_dashboard import Terminal, start
from tests.acceptance.test_lifetime import left_on, state_of, states, until
from tests.remote.test_terminal import serving, submitted

__all__ = ["machine"]  # the fixture


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A dashboard in a terminal, and the serve that it looks at."""

    machine: Machine
    server: subprocess.Popen[str]
    process: subprocess.Popen[str]
    terminal: Terminal
    before: list[object]
    """The terminal's own settings, before anything was started on it."""

    def go_to(self, where: str) -> None:
        """Open a dialog, or stay."""
        if where == "submit":
            self.terminal.press("s")
            self.terminal.wait_for(b"Submit a prompt")

    def has_ended(self) -> bytes:
        """Check how it ended and what it left; returns what it wrote."""
        assert self.process.wait(BOUND_S) == 0
        assert termios.tcgetattr(self.terminal.control) == self.before
        seen = self.terminal.everything()
        assert left_on(seen) == set()
        assert b"Traceback" not in seen
        assert in_session(self.process.pid) == []
        return seen

    def engine_is_unhurt(self) -> None:
        """Check that it goes on, with its request, and takes another; then end it."""
        assert self.server.poll() is None
        assert states(self.machine) == {"processing": 1}
        submitted(self.machine, "r-after")
        assert self.machine.run("cancel", "r-first", "r-after").code == 0
        self.server.send_signal(signal.SIGTERM)
        assert self.server.wait(BOUND_S) == 0


def in_session(leader: int) -> list[int]:
    """Return the processes of a terminal's session: what one that started it has left behind."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            if int(fields[3]) == leader:
                found.append(int(entry.name))
    return found


@pytest.fixture
def attached(machine: Machine) -> Attached:
    server = serving(machine)
    submitted(machine, "r-first")
    terminal = Terminal(140, 45)
    before = termios.tcgetattr(terminal.end)
    process = start(machine, terminal, "attach")
    terminal.wait_for(b"r-first", b"detach")
    assert in_session(process.pid) == [process.pid]
    return Attached(
        machine=machine, server=server, process=process, terminal=terminal, before=before
    )


@pytest.mark.parametrize(
    ("where", "numbers"),
    [
        ("overview", [signal.SIGINT]),
        ("overview", [signal.SIGTERM]),
        ("overview", [signal.SIGQUIT]),
        ("submit", [signal.SIGHUP]),
        ("submit", [signal.SIGINT, signal.SIGINT]),
        ("overview", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTERM]),
    ],
)
def test_a_signal_detaches_it(
    attached: Attached, where: str, numbers: list[signal.Signals]
) -> None:
    attached.go_to(where)
    for number in numbers:
        attached.process.send_signal(number)
    attached.has_ended()
    attached.engine_is_unhurt()


def test_a_terminal_that_is_taken_away_detaches_it(attached: Attached) -> None:
    os.close(attached.terminal.control)
    assert attached.process.wait(BOUND_S) >= 0
    assert in_session(attached.process.pid) == []
    attached.engine_is_unhurt()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_while_its_engine_is_gone(
    attached: Attached, number: signal.Signals
) -> None:
    attached.server.kill()
    attached.terminal.wait_for(b"no connection for")
    attached.process.send_signal(number)
    attached.has_ended()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_its_engine_answers_nothing(
    attached: Attached, number: signal.Signals
) -> None:
    attached.server.send_signal(signal.SIGSTOP)
    until(lambda: state_of(attached.server) == "T", "it never stopped")
    attached.process.send_signal(number)
    attached.has_ended()
    assert state_of(attached.server) == "T"
    attached.server.send_signal(signal.SIGCONT)
    attached.engine_is_unhurt()


SITE = """
import asyncio.runners, os, signal

def told(loop, last=asyncio.runners._cancel_all_tasks):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        os.kill(os.getpid(), number)
    last(loop)

asyncio.runners._cancel_all_tasks = told
"""
"""At the end of a loop: send itself every signal."""


def test_signals_while_it_tidies_up_change_nothing(machine: Machine) -> None:
    server = serving(machine)
    (machine.home / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    environ = {**machine.environ, "PYTHONPATH": f"{machine.home}:{machine.environ['PYTHONPATH']}"}
    alone = replace(machine, environ=environ, template=None)
    terminal = Terminal(80, 24)
    process = start(alone, terminal, "attach")
    terminal.wait_for(b"detach")
    terminal.press("q")
    assert process.wait(BOUND_S) == 0
    seen = terminal.everything()
    assert b"detached; the engine goes on" in seen
    assert left_on(seen) == set()
    assert server.poll() is None
