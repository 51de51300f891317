"""Runs the real command with traps in it: `python -m tests.crash.launcher TRAPS ARGUMENT...`.

A trap ends the process by SIGKILL when a named function of the product is called, an SQL
statement begins, or a part of a response file is written, for the nth time. So the product
knows nothing of it. A shift lets the wall clock jump. What is trapped when is `points`'.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any


def _die(delay_ms: float) -> None:
    if not delay_ms:
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Timer(delay_ms / 1000, os.kill, (os.getpid(), signal.SIGKILL)).start()


def on_call(*, target: str, nth: int, after: bool = False, delay_ms: float = 0) -> None:
    """Die at the nth call of `module:Class.method`, before it or when it has returned."""
    module, _, path = target.partition(":")
    *outer, name = path.split(".")
    owner = functools.reduce(getattr, outer, importlib.import_module(module))
    real = getattr(owner, name)
    calls = itertools.count(1)

    @functools.wraps(real)
    def trapped(*args: Any, **options: Any) -> Any:
        due = next(calls) == nth
        if due and not after:
            _die(delay_ms)
        result = real(*args, **options)
        if not due or not after:
            return result
        if inspect.iscoroutine(result):
            return _then_die(result, delay_ms)
        _die(delay_ms)
        return result

    setattr(owner, name, trapped)


async def _then_die(result: Awaitable[Any], delay_ms: float) -> Any:
    found = await result
    _die(delay_ms)
    return found


def on_sql(*, match: str, nth: int, delay_ms: float = 0, log_pages: int | None = None) -> None:
    """Die when the nth statement that holds a text begins, on whichever connection.

    `log_pages`: so many in the write-ahead log let a commit go over into a checkpoint.
    """
    if log_pages is not None:
        store: Any = importlib.import_module("ksi_tui.engine.store.sqlite")
        settings, usual = store._WRITER_SETTINGS, "wal_autocheckpoint=4000"
        store._WRITER_SETTINGS = settings.replace(usual, f"wal_autocheckpoint={log_pages}")
        assert settings != store._WRITER_SETTINGS, f"{usual} is no more"
    found = itertools.count(1)

    def begins(statement: str) -> None:
        if match in statement and next(found) == nth:
            _die(delay_ms)

    real = sqlite3.connect

    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = real(*args, **options)
        connection.set_trace_callback(begins)
        return connection

    sqlite3.connect = connect  # type: ignore[assignment]


class _TornWrites:
    """The module `os` as the response files see it, whose nth write arrives in part."""

    def __init__(self, nth: int, share: float) -> None:
        self._writes: Iterator[int] = itertools.count(1)
        self._nth, self._share = nth, share

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, file: int, data: bytes) -> int:
        if next(self._writes) == self._nth:
            os.write(file, data[: int(len(data) * self._share)])
            _die(0)
        return os.write(file, data)


def on_write(*, nth: int, share: float) -> None:
    """Die in the nth write to a response file, of which a share (0 to 1) has arrived."""
    files = importlib.import_module("ksi_tui.engine.store.response_files")
    files.os = _TornWrites(nth, share)  # type: ignore[attr-defined]


def shift(*, by_s: float, after_s: float = 0) -> None:
    """Let the wall clock jump by so many seconds, once the process is so old."""
    real, began = time.time, time.monotonic()
    time.time = lambda: real() + (by_s if time.monotonic() - began >= after_s else 0.0)


TRAPS: dict[str, Callable[..., None]] = {
    "call": on_call,
    "sql": on_sql,
    "write": on_write,
    "clock": shift,
}


def main() -> None:
    """Set the traps, then run the command with the rest of the arguments."""
    for trap in json.loads(sys.argv[1]):
        TRAPS[trap.pop("on")](**trap)
    from ksi_tui.cli import main as command

    sys.exit(command(sys.argv[2:]))


if __name__ == "__main__":
    main()
