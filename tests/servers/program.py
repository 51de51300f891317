"""Runs a program that listens on loopback and says where; it ends with its context."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

STARTED_WITHIN_S: Final = 120.0
_ENDED_WITHIN_S: Final = 30.0
_URL: Final = re.compile(r"http://127\.0\.0\.1:[0-9]+")


@asynccontextmanager
async def running(
    command: Sequence[str], log: Path, environ: Mapping[str, str]
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Run a program with all that it says in `log`; SIGTERM ends it, SIGKILL where that fails."""
    with log.open("wb") as out:
        process = await asyncio.to_thread(
            subprocess.Popen,
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, _ENDED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)


async def url_of(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the address that a program says it listens on; RuntimeError if it says none."""
    end, said = time.monotonic() + STARTED_WITHIN_S, ""
    while process.poll() is None and time.monotonic() < end:
        said = await asyncio.to_thread(log.read_text, errors="replace")
        if found := _URL.search(said):
            return found[0]
        await asyncio.sleep(0.02)
    raise RuntimeError(f"{log.stem} never said where it listens: {said[-2000:]}")
