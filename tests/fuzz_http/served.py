"""A real `serve` with simulated providers, on loopback, in a folder of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.benchmarks.screen import environ
from tests.servers.program import running, url_of

_ANSWERED_WITHIN_S: Final = 30.0
_SETTINGS: Final = """[engine]
database = "{folder}/ksi.db"
responses_dir = "{folder}/responses"
shutdown_grace_s = 1
[[providers]]
name = "sim"
kind = "simulated"
models = ["sim/*"]
model = "{{model}}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A `serve` that listens at `url`; `log` has all that it said."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def faults(self) -> list[str]:
        """Return the lines of its log that tell of a fault of its own."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if '"level": "error"' in line or "Traceback" in line]


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Service]:
    """Run a `serve` without tokens."""
    settings, log = folder / "ksi-tui.toml", folder / "serve.log"
    settings.write_text(_SETTINGS.format(folder=folder), encoding="utf-8")
    command = [sys.executable, "-m", "ksi_tui", "--config", str(settings), "serve"]
    where = ["--listen", "127.0.0.1:0"]
    async with running([*command, *where], log, environ(folder)) as process:
        yield Service(url=await url_of(process, log), process=process, log=log)


async def asked(
    http: aiohttp.ClientSession, name: str, data: Mapping[str, Any] | None = None
) -> tuple[int, dict[str, Any]]:
    """Send an event; returns status and reply. Raises TimeoutError and aiohttp's errors."""
    async with (
        asyncio.timeout(_ANSWERED_WITHIN_S),
        http.post(f"/events/{name}", json=dict(data or {})) as response,
    ):
        return response.status, await response.json()
