"""A real `serve` with simulated providers, on loopback, in a folder of its own."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.benchmarks.screen import environ

_URL: Final = re.compile(r"http://127\.0\.0\.1:[0-9]+")
_STARTED_WITHIN_S: Final = 60.0
_ENDED_WITHIN_S: Final = 30.0
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
    with log.open("wb") as out:
        process = await asyncio.to_thread(
            subprocess.Popen,
            [*command, "--listen", "127.0.0.1:0"],
            env=environ(folder),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        url = await _told(process, log)
        yield Service(url=url, process=process, log=log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, _ENDED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)


async def _told(process: subprocess.Popen[bytes], log: Path) -> str:
    end, said = time.monotonic() + _STARTED_WITHIN_S, ""
    while process.poll() is None and time.monotonic() < end:
        said = await asyncio.to_thread(log.read_text, errors="replace")
        if found := _URL.search(said):
            return found[0]
        await asyncio.sleep(0.02)
    raise RuntimeError(f"serve never said where it listens: {said[-2000:]}")


async def asked(
    http: aiohttp.ClientSession, name: str, data: Mapping[str, Any] | None = None
) -> tuple[int, dict[str, Any]]:
    """Send an event; returns status and reply. Raises TimeoutError and aiohttp's errors."""
    async with (
        asyncio.timeout(_ANSWERED_WITHIN_S),
        http.post(f"/events/{name}", json=dict(data or {})) as response,
    ):
        return response.status, await response.json()
