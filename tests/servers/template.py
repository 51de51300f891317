"""A process that has the program's modules loaded and becomes the command, by forking, when asked.

Run as `python -m tests.servers.template`; only `forked` starts it and talks to it. A command takes
four fifths of its start for imports, and the tests start hundreds. What a test looks at is a
process's own all the same: arguments, environment, folder, standard streams, signals, exit.

Each command has a shepherd for a parent, which tells who asked what became of it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import os
import pkgutil
import random
import runpy
import signal
import socket
import struct
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

import ksi_tui

MOST_BYTES = 1 << 17
NUMBER = struct.Struct("<i")
_STANDARD = (0, 1, 2)


def main() -> None:
    """Fork a command for every message, until who asks has gone; in the command, be it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the commands; they take it
    control = socket.socket(fileno=os.dup(0))
    load()
    while True:
        data, handed, _, _ = socket.recv_fds(control, MOST_BYTES, len(_STANDARD) + 1)
        if not data:
            return
        if os.fork() == 0:
            control.close()
            if _is_command(handed):
                break
        for each in handed:
            os.close(each)
        _reap()
    become(json.loads(data), handed)


def load() -> None:
    """Load what commands load. Nothing of it may have begun to run anything."""
    found = pkgutil.walk_packages(ksi_tui.__path__, f"{ksi_tui.__name__}.")
    for name in [each.name for each in found if not each.name.endswith("__main__")]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is shared with every command stays shared


def _is_command(handed: list[int]) -> bool:
    """Return True in the command; its shepherd tells its number and its end, and ends."""
    *standard, told = handed
    command = os.fork()
    if command == 0:
        os.close(told)
        return True
    for each in (*_STANDARD, *standard):
        os.close(each)
    os.write(told, NUMBER.pack(command))
    _, status = os.waitpid(command, 0)
    with suppress(OSError):  # nobody wants to know any more
        os.write(told, NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def become(asked: dict[str, Any], handed: list[int]) -> None:
    """Run the command in this process as `python -m ksi_tui` would; leave as it leaves."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked["new_session"]:
        os.setsid()
    for standard, given in zip(_STANDARD, handed, strict=False):
        os.dup2(given, standard)
    for each in handed[: len(_STANDARD)]:
        os.close(each)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environ"])
    time.tzset()
    random.seed()
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        stream = _stream(getattr(sys, name), number, mode)
        vars(sys).update({name: stream, f"__{name}__": stream})
    if asked["worker"] is not None:
        _have_workers(asked["worker"])
    sys.argv = ["ksi_tui", *asked["words"]]
    with warnings.catch_warnings():
        # It is loaded, as the rest is; `-m` says so.
        warnings.filterwarnings("ignore", message=".*found in sys.modules")
        try:
            runpy.run_module(ksi_tui.__name__, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            if isinstance(end.code, int):
                _leave(end.code)
            raise


def _have_workers(command: Sequence[str]) -> None:
    """Run a command where a provider worker would be started."""
    process: Any = importlib.import_module("ksi_tui.engine.providers.process").WorkerProcess
    spawn = process.spawn
    process.spawn = lambda _: spawn(command)


def _leave(code: int) -> None:
    """Do what the interpreter does at its end, but for taking every module apart: it takes longest.

    Returns where a stream cannot be written any more: the interpreter has a way with that.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _stream(like: TextIO, number: int, mode: str) -> TextIO:
    """Return a standard stream as the interpreter opens it."""
    return io.TextIOWrapper(
        open(number, f"{mode}b", closefd=False),
        encoding=like.encoding,
        errors=like.errors,
        line_buffering=number == 2 or os.isatty(number),
    )


if __name__ == "__main__":
    main()
