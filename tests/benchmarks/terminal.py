"""Runs a program in a terminal of its own and watches what it draws."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

COLUMNS, LINES = 140, 45


class Terminal:
    """A pseudo-terminal with one program in it, ended with the context.

    `began` is the moment of the start, on the monotonic clock.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self.drain_until(lambda: self._process.poll() is not None, 20)
            except TimeoutError:
                self._process.kill()
        self._process.wait()
        os.close(self._master)

    @property
    def ended(self) -> bool:
        """Whether the program has ended."""
        return self._process.poll() is not None

    def until(self, mark: bytes, limit_s: float) -> float:
        """Return how many seconds after the start `mark` was drawn; TimeoutError if it was not."""
        seen = b""
        while mark not in seen:
            seen = seen[-4096:] + self._read(self.began + limit_s)
        return time.monotonic() - self.began

    def until_drawn(self, mark: re.Pattern[bytes], limit_s: float) -> float:
        """Return when, on the monotonic clock, `mark` is drawn from now on; else TimeoutError."""
        seen, end = b"", time.monotonic() + limit_s
        while mark.search(seen) is None:
            seen = seen[-65536:] + self._read(end)
        return time.monotonic()

    def drain_until(self, done: object, limit_s: float) -> None:
        """Read what is drawn until `done()`; TimeoutError when that takes longer."""
        assert callable(done)
        end = time.monotonic() + limit_s
        while not done():
            try:
                self._read(min(end, time.monotonic() + 0.1))
            except TimeoutError:
                if time.monotonic() >= end:
                    raise

    def drain_for(self, seconds: float) -> None:
        """Read what is drawn for so long."""
        end = time.monotonic() + seconds
        self.drain_until(lambda: time.monotonic() >= end, seconds + 5)

    @property
    def cpu_s(self) -> float:
        """The CPU seconds that the program has used, its children left out."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8")
        fields = stat.rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _read(self, end: float) -> bytes:
        ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            raise TimeoutError
        try:
            return os.read(self._master, 65536)
        except OSError:
            if self._process.poll() is None:
                time.sleep(0.01)
            raise TimeoutError from None
