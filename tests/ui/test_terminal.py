"""The real byte stream on a real terminal (a pty): hostile text, signals, and a fault of our own.

Headless runs never build this stream, so nothing about it can be tested there.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALTERNATE_ON, ALTERNATE_OFF = b"\x1b[?1049h", b"\x1b[?1049l"
MOUSE_OFF = b"\x1b[?1000l"
PATIENCE_S = 30.0


class Terminal:
    """A child on a pty: what it wrote, and keys for it."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self._master = master
        self.process = process
        self.output = b""

    def read_until(self, wanted: bytes) -> None:
        """Read until `wanted` was written; fail with what was."""
        deadline = time.monotonic() + PATIENCE_S
        while wanted not in self.output:
            assert time.monotonic() < deadline, f"never wrote {wanted!r}: {self.output[-2000:]!r}"
            if not self._read():
                break
        assert wanted in self.output, self.output[-2000:]

    def read_to_the_end(self) -> int:
        """Read until the child ended and return its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"never ended: {self.output[-2000:]!r}"
            self._read()
        while self._read():
            pass
        return self.process.returncode

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], 0.1)
        if not ready:
            return self.process.poll() is None
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the child closed its side
            return False
        self.output += data
        return bool(data)

    def close(self) -> None:
        """Take the terminal away."""
        os.close(self._master)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)


@contextmanager
def terminal(mode: str) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 45, 140, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ui.child", mode],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(master, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        with suppress(OSError):
            os.close(master)


FORBIDDEN = {
    "osc 52": b"\x1b]52",
    "a title of its own": b"\x1b]0;evil",
    "a bare c1 csi": "\x9b".encode(),
    "bidi override": "\u202e".encode(),
    "bidi isolate": "\u2066".encode(),
    "zero width": "\u200b".encode(),
    "tag": "\U000e0041".encode(),
    "bel from text": b"ZXZpbA==\x07",
}


@pytest.mark.parametrize(("mode", "marker"), [("hostile", b"desreverend"), ("leaky", b"leaked")])
def test_hostile_text_never_reaches_the_terminal(mode: str, marker: bytes) -> None:
    with terminal(mode) as term:
        term.read_until(marker)
        term.process.send_signal(signal.SIGTERM)
        assert term.read_to_the_end() == 0
        for what, sequence in FORBIDDEN.items():
            assert sequence not in term.output, what


def test_a_terminal_that_is_taken_away_ends_the_dashboard() -> None:
    with terminal("plain") as term:
        term.read_until(b"Active")
        term.close()
        code = term.process.wait(PATIENCE_S)
        assert code >= 0  # it ended by itself; what it says at its end has nowhere to go


def test_a_terminal_that_is_gone_before_the_first_frame_ends_the_dashboard_too() -> None:
    with terminal("plain") as term:
        term.close()
        assert term.process.wait(PATIENCE_S) >= 0


def test_the_title_carries_the_verdict() -> None:
    with terminal("plain") as term:
        term.read_until("\x1b]0;● ksi-tui: nothing waits longer than usual\x07".encode())
        term.type(b"q")
        assert term.read_to_the_end() == 0
        assert b"engine left: True" in term.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(number: signal.Signals) -> None:
    with terminal("plain") as term:
        term.read_until(b"Nothing is running.")
        assert ALTERNATE_ON in term.output
        term.process.send_signal(number)
        assert term.read_to_the_end() == 0
        assert term.output.rindex(ALTERNATE_OFF) > term.output.rindex(ALTERNATE_ON)
        assert MOUSE_OFF in term.output
        assert b"engine left: True" in term.output


def test_a_fault_of_our_own_is_one_line_and_no_traceback() -> None:
    with terminal("broken") as term:
        assert term.read_to_the_end() == 1
        assert b"ended by a fault of its own (ZeroDivisionError); the log has it" in term.output
        assert b"Traceback" not in term.output.split(ALTERNATE_OFF)[-1]
        assert b"engine left: True" in term.output
