"""A process that has litellm loaded and becomes provider workers, by forking: 0.1 s, not 2.5 s.

For tests of what comes through a worker. That one starts from nothing, and what becomes of its
process, is for tests that start it plainly. A pool runs `command` in the worker's place: a small
process that hands its pipes and its environment on, and ends as the worker ends.

Run as `python -m tests.servers.warm SOCKET`; it ends with its stdin.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ksi_tui.engine.providers import worker
from ksi_tui.engine.providers.process import COMMAND, WorkerProcess
from tests.servers.template import MOST_BYTES, NUMBER

if TYPE_CHECKING:  # a worker has no pytest in it
    import pytest

_ROOT = Path(__file__).parents[2]
_BOUND_S = 60

_RELAY = """
import json, os, signal, socket, struct, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as warm:
    warm.connect(sys.argv[1])
    socket.send_fds(warm, [json.dumps(dict(os.environ)).encode()], [0, 1])
    os.close(0)
    os.close(1)
    told = warm.recv(4)
status = struct.unpack("<i", told)[0] if told else 1
if status < 0:
    os.kill(os.getpid(), -status)
os._exit(status)
"""


@contextmanager
def warm() -> Iterator[Sequence[str]]:
    """Run the process; what a pool is to run as its worker."""
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder) / "w")
        with subprocess.Popen(
            [sys.executable, "-m", "tests.servers.warm", place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert (
                process.stdout.readline()
            )  # else no wait of a test would be long enough on a busy machine
            yield (sys.executable, "-I", "-S", "-c", _RELAY, place)
            process.stdin.close()
            assert process.wait(_BOUND_S) == 0


def used(command: Sequence[str], patch: pytest.MonkeyPatch) -> None:
    """Have the pools of this process run the command where they would start a worker."""
    spawn = WorkerProcess.spawn

    async def spawned(given: Sequence[str] = COMMAND) -> WorkerProcess:
        return await spawn(command if given == COMMAND else given)

    patch.setattr(WorkerProcess, "spawn", spawned)


def main(place: str) -> None:
    """Fork a worker for everybody who connects, until stdin has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind(place)
        door.listen(128)
        of_litellm = _load()
        print("loaded", flush=True)
        while door.fileno() in select.select([0, door.fileno()], [], [])[0]:
            asker, _ = door.accept()
            with asker:
                if os.fork() == 0:
                    door.close()
                    _shepherd(asker, of_litellm)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _load() -> dict[str, str]:
    """Load litellm, and what a worker's warm-up loads beside it; nothing of it has begun to run.

    Returns what its import has put into the environment, such as where its encodings lie.
    """
    before = dict(os.environ)
    litellm = worker._litellm()
    read, written = os.pipe()
    if os.fork() == 0:
        asyncio.run(worker._warm_up(litellm))
        with open(written, "w") as told:
            json.dump(list(sys.modules), told)
        os._exit(0)
    os.close(written)
    with open(read) as names:
        for name in json.load(names):
            with suppress(ImportError):  # some have made themselves, under a name of their own
                importlib.import_module(name)
    os.wait()
    gc.freeze()  # what is shared with every worker stays shared
    gc.enable()
    return {name: value for name, value in os.environ.items() if before.get(name) != value}


def _shepherd(asker: socket.socket, of_litellm: dict[str, str]) -> None:
    """Be a worker's parent: tell its end, and end it when nobody asks for it any more."""
    data, handed, _, _ = socket.recv_fds(asker, MOST_BYTES, 2)
    number = os.fork()
    if number == 0:
        asker.close()
        _become(json.loads(data) | of_litellm, handed)
    for each in (0, *handed):
        os.close(each)
    ended = os.pidfd_open(number)
    if ended not in select.select([ended, asker.fileno()], [], [])[0]:
        os.kill(number, signal.SIGKILL)
    _, status = os.waitpid(number, 0)
    with suppress(OSError):  # it was killed itself
        asker.send(NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _become(environ: dict[str, str], handed: Sequence[int]) -> None:
    """Be the worker, as `python -m ksi_tui.engine.providers.worker` is; never returns."""
    for standard, given in enumerate(handed):
        os.dup2(given, standard)
        os.close(given)
    os.environ.clear()
    os.environ.update(environ)
    worker.main()


if __name__ == "__main__":
    main(sys.argv[1])
