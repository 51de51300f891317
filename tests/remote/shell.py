"""Types thin commands as processes of their own, while the engine lives in the test's loop."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.forked import Template

BOUND_S = 30
SETTINGS = '[ui]\noperator = "op9"\n'
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Running:
    """A command that runs, from inside a loop: whatever waits for it waits in a thread."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.send_signal = process.send_signal

    async def line(self) -> str:
        """Return the next line that it prints."""
        assert self._process.stdout is not None
        return await self._in_time(self._process.stdout.readline)

    async def complaint(self) -> str:
        """Return the next line that it writes to stderr."""
        assert self._process.stderr is not None
        return await self._in_time(self._process.stderr.readline)

    async def _in_time(self, read: Any) -> str:
        async with asyncio.timeout(BOUND_S):
            said: bytes = await asyncio.to_thread(read)
        return said.decode()

    async def end(self, given: str = "") -> Ended:
        """Return what it prints from now on and its code, once it has ended."""
        async with asyncio.timeout(BOUND_S):
            out, err = await asyncio.to_thread(self._process.communicate, given.encode())
        return Ended(code=self._process.returncode, out=out.decode(), err=err.decode())


class Shell:
    """Types commands for the database of an engine."""

    def __init__(self, folder: Path, template: Template | None) -> None:
        self.folder = folder
        self.settings = folder / "ui.toml"
        self.settings.write_text(SETTINGS, encoding="utf-8")
        self._template = template

    @asynccontextmanager
    async def started(self, *words: str) -> AsyncIterator[Running]:
        """A command that runs; it is killed at the end if it still does."""
        process = await asyncio.to_thread(self._start, words)
        try:
            yield Running(process)
        finally:
            process.kill()  # nothing, where it has ended
            if process.stdout is not None and not process.stdout.closed:
                await asyncio.to_thread(process.communicate)

    def _start(self, words: tuple[str, ...]) -> subprocess.Popen[bytes]:
        placed = ["--config", str(self.settings), "--db", str(self.folder / "ksi.db"), *words]
        pipe = subprocess.PIPE
        options: dict[str, Any] = {
            **{"stdin": pipe, "stdout": pipe, "stderr": pipe, "cwd": self.folder},
            "env": {**os.environ, "PYTHONPATH": str(_ROOT)},
            "bufsize": 0,  # a line that is read takes nothing of the next with it
        }
        if self._template is None:
            return subprocess.Popen([sys.executable, "-m", "ksi_tui", *placed], **options)
        return self._template.start(placed, **options)

    async def __call__(self, *words: str, given: str = "") -> Ended:
        """Run a command to its end."""
        async with self.started(*words) as process:
            return await process.end(given)
