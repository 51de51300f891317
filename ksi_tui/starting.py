"""Signals while a command's code is still being loaded: they end the program at once.

Python would raise KeyboardInterrupt wherever it is just then. Within the callbacks that imports
run by the hundred that is dropped with a note on stderr, and the program goes on as if nobody
had said anything. What a signal means to a command that runs is the command's own business.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ksi_tui.exits import INTERRUPTED

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let a signal end the process here and now: nothing has begun that would have to be ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(number, signal.signal(number, _end)) for number in _ENDING]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _end(*_: object) -> None:
    os._exit(INTERRUPTED)
