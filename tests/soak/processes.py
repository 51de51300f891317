"""A server in a process of its own, that is asked by its pipes what it has seen.

So that its clock is not held up by the engine that is measured, and its memory is not counted as
that engine's. `time.monotonic` is one clock for all processes of a machine.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import Callable
from typing import Any, ClassVar, Self

_START_S = 60.0
_MANY_FILES = 16_384
_LARGEST = 64 * 1024 * 1024


def raise_file_limit() -> int:
    """Let this process have as many files open as its hard limit allows, 16,384 at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, _MANY_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


class Child:
    """`async with` starts `python -m module` and ends it; it ends with its parent, too."""

    module: ClassVar[str]

    def __init__(self) -> None:
        self.port = 0
        self._asking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self.module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LARGEST,
        )
        async with asyncio.timeout(_START_S):
            self.port = int(await self._line())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def ask(self) -> dict[str, Any]:
        """Return what it tells."""
        assert self._process.stdin is not None
        async with self._asking, asyncio.timeout(_START_S):
            self._process.stdin.write(b"?\n")
            said: dict[str, Any] = json.loads(await self._line())
        return said

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        return await self._process.stdout.readline()

    @staticmethod
    async def serve(port: int, told: Callable[[], dict[str, Any]]) -> None:
        """In the child: tell the port, then, whenever asked, what `told` returns."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        print(port, flush=True)
        while await reader.readline():
            print(json.dumps(told()), flush=True)
