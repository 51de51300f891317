"""However the dashboard ends or stops, its terminal is as it was: read from the bytes it wrote.

On a real pseudo-terminal over the real program, in the overview and inside a dialog.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import termios
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ksi_tui.door.place import answers, socket_of
from tests.acceptance.conftest import BOUND_S, Machine
from tests.acceptance.test_dashboard import Terminal, start

_MODE = re.compile(rb"\x1b\[\?(\d+)([hl])")
_KEYBOARD = re.compile(rb"\x1b\[(>\d+|<)u")
ON_BY_ITSELF = {b"25", b"7"}
"""The cursor and the wrapping of lines: what a terminal has on when nobody asked for anything."""


def left_on(written: bytes) -> set[bytes]:
    """Return the private modes that differ from those of a terminal that nobody touched."""
    modes = dict.fromkeys(ON_BY_ITSELF, b"h")
    modes |= dict(_MODE.findall(written))
    pushed = sum(1 if found.startswith(b">") else -1 for found in _KEYBOARD.findall(written))
    odd = {mode for mode, state in modes.items() if (state == b"h") != (mode in ON_BY_ITSELF)}
    return odd | ({b"keyboard"} if pushed > 0 else set())


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something outside of this process; fail when it never comes."""
    deadline = time.monotonic() + BOUND_S / 2
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def states(machine: Machine) -> dict[str, int]:
    """Return how many requests there are in each state."""
    with closing(sqlite3.connect(machine.database)) as connection:
        return dict(connection.execute("SELECT state, COUNT(*) FROM requests GROUP BY state"))


def state_of(process: subprocess.Popen[str]) -> str:
    """Return the process's state letter: T is stopped."""
    stat = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8")
    return stat.rpartition(") ")[2][0]


def opened(machine: Machine, where: str) -> tuple[subprocess.Popen[str], Terminal, list[object]]:
    """Start the demo and go to a place in it; return the terminal's own settings too."""
    terminal = Terminal(140, 45)
    before = termios.tcgetattr(terminal.end)
    process = start(machine, terminal, "--demo")
    terminal.wait_for(b"sim-flaky", b"streaming")
    if where == "quit":
        terminal.press("q")
        terminal.wait_for(b"Leave with work in flight?")
    elif where == "submit":
        terminal.press("s")
        terminal.wait_for(b"Submit a prompt")
    return process, terminal, before


@pytest.mark.parametrize(
    ("where", "number"),
    [
        ("overview", signal.SIGINT),
        ("overview", signal.SIGQUIT),
        ("overview", signal.SIGHUP),
        ("quit", signal.SIGTERM),
        ("quit", signal.SIGINT),
        ("submit", signal.SIGHUP),
    ],
)
def test_a_signal_leaves_the_terminal_as_it_was(
    machine: Machine, where: str, number: signal.Signals
) -> None:
    process, terminal, before = opened(machine, where)
    process.send_signal(number)
    assert process.wait(BOUND_S) == 0
    assert termios.tcgetattr(terminal.control) == before
    seen = terminal.everything()
    assert left_on(seen) == set()
    assert b"Traceback" not in seen


def test_another_signal_ends_the_drain_and_nothing_is_lost(machine: Machine) -> None:
    machine.configure(grace_s=300)
    terminal = Terminal(80, 24)
    process = start(machine, terminal)
    until(lambda: answers(socket_of(machine.database)), "it never opened its door")
    machine.run("submit", "never", "--model", "sim/hang")
    until(lambda: states(machine) == {"processing": 1}, "it never ran")
    terminal.wait_for(b"sim/hang")  # it knows that something runs
    process.send_signal(signal.SIGINT)
    terminal.wait_for(b"what runs is given its time to end; ctrl+c interrupts it")
    assert left_on(terminal.seen) == set()
    process.send_signal(signal.SIGINT)
    assert process.wait(BOUND_S) == 0
    assert b"Traceback" not in terminal.everything()
    assert json.loads(machine.run("status", "--json").out)["unfinished"] == 1


@pytest.mark.parametrize("where", ["overview", "quit"])
def test_ctrl_z_gives_the_terminal_back_and_fg_brings_the_whole_picture(
    machine: Machine, where: str
) -> None:
    process, terminal, before = opened(machine, where)
    terminal.press("\x1a")
    until(lambda: state_of(process) == "T", "it never stopped")
    until(lambda: left_on(terminal.seen) == set(), "modes were left on while it was stopped")
    assert termios.tcgetattr(terminal.control) == before
    so_far = len(terminal.seen)
    process.send_signal(signal.SIGCONT)
    whole = [b"ksi-tui demo", b"Providers", b"Queues", b"Locks", b"\x1b]0;"]
    if where == "quit":
        whole = [b"Leave with work in flight?", b"drain"]
    until(
        lambda: all(part in terminal.seen[so_far:] for part in whole),
        f"the picture is not whole: {terminal.seen[so_far:][-2000:]!r}",
    )
    assert b"1049" in left_on(terminal.seen)
    process.send_signal(signal.SIGTERM)
    assert process.wait(BOUND_S) == 0
    assert termios.tcgetattr(terminal.control) == before
    assert left_on(terminal.everything()) == set()


@pytest.mark.parametrize("stops", [True, False])
def test_a_stop_from_outside_is_survived_too(machine: Machine, stops: bool) -> None:
    process, terminal, before = opened(machine, "overview")
    if stops:
        process.send_signal(signal.SIGSTOP)
        until(lambda: state_of(process) == "T", "it never stopped")
    so_far = len(terminal.seen)
    process.send_signal(signal.SIGCONT)
    until(lambda: b"Providers" in terminal.seen[so_far:], "it was not painted anew")
    process.send_signal(signal.SIGTERM)
    assert process.wait(BOUND_S) == 0
    assert termios.tcgetattr(terminal.control) == before
    assert left_on(terminal.everything()) == set()


def test_a_terminal_that_is_taken_away_inside_a_dialog_ends_it(machine: Machine) -> None:
    process, terminal, _ = opened(machine, "quit")
    os.close(terminal.control)
    assert process.wait(BOUND_S) >= 0


def test_a_terminal_that_does_not_know_its_size_is_shown_on_and_left(machine: Machine) -> None:
    """As a serial line, or a container's first moments; the layout would never come to rest."""
    terminal = Terminal(0, 0)
    process = start(machine, terminal)
    terminal.wait_for(b"quit")
    assert os.get_terminal_size(terminal.control) == (80, 24)
    terminal.press("q")
    assert process.wait(BOUND_S) == 0
    assert left_on(terminal.everything()) == set()
