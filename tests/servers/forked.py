"""Starts commands as forks of a `template`: a quarter of the time that a start from nothing takes.

For tests of what a command does. That it also starts from nothing, and what it loads, is for tests
that start it plainly.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.template import NUMBER

AVAILABLE = sys.platform == "linux"
_ROOT = Path(__file__).parents[2]
_KEPT = ("PATH", "LANG", "LC_ALL")
_BOUND_S = 60


class Template:
    """A template that runs; `start` takes what Popen takes, and the command's words alone.

    `worker` is what the commands run as their provider workers; None: what they do run.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self.worker: Sequence[str] | None = None

    def start(self, words: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start `ksi_tui` with these words."""
        return _Forked(words, self._control, self.worker, **options)


@contextmanager
def template() -> Iterator[Template]:
    """Run a template."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environ = {name: value for name, value in os.environ.items() if name in _KEPT}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.template"],
            stdin=theirs.fileno(),
            cwd=_ROOT,
            env={**environ, "TERM": "xterm-256color", "PYTHONPATH": str(_ROOT)},
        )
    with ours:
        yield Template(ours)
    assert process.wait(_BOUND_S) == 0


class _Forked(subprocess.Popen[Any]):
    """A process whose parent is the shepherd that its template gave it."""

    _told: socket.socket

    def __init__(
        self,
        words: Sequence[str],
        control: socket.socket,
        worker: Sequence[str] | None,
        **options: Any,
    ) -> None:
        self._control = control
        self._worker = worker
        super().__init__(words, **options)

    def _execute_child(self, args: Sequence[str], *given: Any) -> None:
        """Ask for the fork, where Popen would make it itself."""
        (_, preexec, _, passed, folder, environ, _, _, shell) = given[:9]
        (read, _, _, written, _, erred) = given[9:15]
        if preexec or passed or shell:
            raise ValueError("a forked command has no preexec_fn, no pass_fds and no shell")
        asked = {
            "words": list(args),
            "folder": str(folder or Path.cwd()),
            "environ": dict(os.environ if environ is None else environ),
            "new_session": given[20],
            "worker": self._worker,
        }
        self._told, theirs = socket.socketpair()
        standard = [own if own != -1 else at for at, own in enumerate((read, written, erred))]
        with theirs:
            socket.send_fds(
                self._control, [json.dumps(asked).encode()], [*standard, theirs.fileno()]
            )
        self.pid = self._number()
        self._child_created = True
        self._close_pipe_fds(*given[9:15])  # type: ignore[attr-defined]

    def _number(self) -> int:
        (number,) = NUMBER.unpack(self._told.recv(NUMBER.size))
        return int(number)

    def _wait(self, timeout: float | None) -> int:
        if self._internal_poll(timeout_s=timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def _internal_poll(
        self, _deadstate: int | None = None, *, timeout_s: float | None = 0
    ) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout_s)[0]:
            with self._waitpid_lock:  # type: ignore[attr-defined]
                if self.returncode is None:
                    self.returncode = self._number()
                    self._told.close()
        return self.returncode
