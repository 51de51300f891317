"""Notices that the terminal was taken away, and sees the process to its end.

SIGHUP reaches only the terminal's own session, and a loop that waits for a full output
buffer hears of nothing: so a thread watches the file itself.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LAST_S = 30.0
"""How long the loop may take to end after the terminal went; then the process ends as it is.

Nothing is lost by that: what was accepted is on disk.
"""
EXIT_GONE = 1


@contextmanager
def watched_terminal(leave: Callable[[], object]) -> Iterator[None]:
    """Call `leave` from a thread of its own when the terminal goes; a no-op without one."""
    ended = threading.Event()
    stdin = sys.__stdin__
    if stdin is not None and _is_or_was_terminal(stdin.fileno()):
        threading.Thread(
            target=_watch, args=(stdin.fileno(), leave, ended), name="terminal-watch", daemon=True
        ).start()
    try:
        yield
    finally:
        ended.set()


def _is_or_was_terminal(file: int) -> bool:
    """Whether it is a terminal, or the remains of one that went before anybody watched it."""
    status = os.fstat(file)
    nowhere = os.stat(os.devnull)
    gone = stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) != os.major(nowhere.st_rdev)
    return gone or os.isatty(file)


def _watch(terminal: int, leave: Callable[[], object], ended: threading.Event) -> None:
    watched = select.poll()
    watched.register(terminal, 0)  # no event but its end
    watched.poll()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    leave()
    if not ended.wait(LAST_S):
        os._exit(EXIT_GONE)
