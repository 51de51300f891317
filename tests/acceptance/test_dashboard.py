"""The dashboard in a terminal: it comes up, it leaves, and the terminal is as it was."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
from pathlib import Path

import pytest

from tests.acceptance.conftest import BOUND_S, Machine, lines_of

LEFT_ALTERNATE_SCREEN = b"\x1b[?1049l"
MOUSE_OFF = b"\x1b[?1000l"
CURSOR_ON = b"\x1b[?25h"


class Terminal:
    """A terminal that remembers everything that was written to it."""

    def __init__(self, columns: int, lines: int) -> None:
        self.control, self.end = pty.openpty()
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._seen = bytearray()
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, name="terminal")

    def start(self) -> None:
        """Begin to read, when the process has the other end."""
        os.close(self.end)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.control, 65536)
            except OSError:  # the other end is closed
                data = b""
            with self._news:
                self._seen += data
                self._news.notify_all()
            if not data:
                return

    def wait_for(self, *texts: bytes) -> None:
        """Return when all of the texts have been written."""
        with self._news:
            arrived = self._news.wait_for(
                lambda: all(text in self._seen for text in texts), BOUND_S / 2
            )
        assert arrived, (texts, bytes(self._seen[-3000:]))

    @property
    def seen(self) -> bytes:
        """All that was written so far."""
        return bytes(self._seen)

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self.control, keys.encode())

    def everything(self) -> bytes:
        """Return all that was written, once the process has gone."""
        self._reader.join(BOUND_S)
        os.close(self.control)
        return bytes(self._seen)


@pytest.fixture(params=[(80, 24), (140, 45)], ids=["80x24", "140x45"])
def terminal(request: pytest.FixtureRequest) -> Terminal:
    return Terminal(*request.param)


def start(machine: Machine, terminal: Terminal, *arguments: str) -> subprocess.Popen[str]:
    """Start the dashboard on the terminal."""
    end = terminal.end
    process = machine.start(*arguments, stdin=end, stdout=end, stderr=end, start_new_session=True)
    terminal.start()
    return process


def assert_left_as_it_was(terminal: Terminal) -> bytes:
    seen = terminal.everything()
    for sequence in (LEFT_ALTERNATE_SCREEN, MOUSE_OFF, CURSOR_ON):
        assert sequence in seen
    assert b"Traceback" not in seen
    return seen


def test_it_comes_up_without_settings_and_q_leaves(machine: Machine, terminal: Terminal) -> None:
    process = start(machine, terminal)
    terminal.wait_for(b"ksi-tui", b"Providers", b"simulated")
    terminal.press("q")
    assert process.wait(BOUND_S) == 0
    assert_left_as_it_was(terminal)
    assert json.loads(machine.run("status", "--json").out)["owner"] is None


def test_the_demo_leaves_nothing_behind(machine: Machine, terminal: Terminal) -> None:
    machine.environ["TMPDIR"] = str(machine.home / "tmp")
    Path(machine.environ["TMPDIR"]).mkdir()
    process = start(machine, terminal, "--demo")
    terminal.wait_for(b"demo", b"sim-flaky")
    process.send_signal(signal.SIGTERM)
    assert process.wait(BOUND_S) == 0
    assert_left_as_it_was(terminal)
    assert not machine.database.exists()
    assert list(Path(machine.environ["TMPDIR"]).iterdir()) == []


def test_a_database_that_another_has_is_code_3(machine: Machine, terminal: Terminal) -> None:
    file = machine.file("in", ["quick", '{"prompt": "never", "model": "sim/hang"}'])
    first = machine.start("run", file, "--json")
    assert first.stdout is not None
    assert lines_of(first.stdout, 1)
    process = start(machine, terminal)
    terminal.wait_for(str(first.pid).encode())
    terminal.press("q")
    assert process.wait(BOUND_S) == 3
    assert_left_as_it_was(terminal)


def test_a_terminal_that_cannot_move_its_cursor_is_refused(machine: Machine) -> None:
    machine.environ["TERM"] = "dumb"
    terminal = Terminal(80, 24)
    process = start(machine, terminal)
    assert process.wait(BOUND_S) == 2
    seen = terminal.everything()
    assert b"TERM is dumb" in seen
    assert b"\x1b[?1049h" not in seen
