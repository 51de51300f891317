"""How soon an attached dashboard shows what another one did: a cancel, until it is drawn.

Both are attached to one `ksi-tui serve`. One is a dashboard in a terminal, the other the client
that a dashboard has. The clock begins with the act, before its reply, and ends with the bytes
that draw the cancelled row; between two acts it waits until the terminal is still.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from pathlib import Path
from typing import Any, Final

from ksi_tui.door.place import socket_of
from ksi_tui.remote.client import RemoteClient
from tests.benchmarks.screen import environ
from tests.benchmarks.serving import our_gateway
from tests.benchmarks.terminal import Terminal

TIMES: Final = 20
_DRAWN_WITHIN_S: Final = 30.0
_PROVIDER: Final = 'name = "sim"\nkind = "simulated"\nmodels = ["sim/*"]\nmodel = "{model}"\n'


async def seeing(folder: Path) -> dict[str, Any]:
    """Milliseconds from one dashboard's cancel until the other's terminal shows it."""
    async with our_gateway(folder, [_PROVIDER]):
        socket = socket_of(folder / "ksi.db")
        command = [sys.executable, "-m", "ksi_tui", "attach", str(socket)]
        async with RemoteClient(socket, operator="bench") as other:
            with Terminal(command, environ(folder)) as terminal:
                await asyncio.to_thread(terminal.until, b"Nothing is running", _DRAWN_WITHIN_S)
                taken = [await _once(f"seen-{n}-x", other, terminal) for n in range(TIMES)]
    ordered = sorted(taken)
    return {
        "p50_ms": ordered[len(ordered) // 2],
        "worst_ms": ordered[-1],
        "taken_ms": taken,
    }


async def _once(request_id: str, other: RemoteClient, terminal: Terminal) -> float:
    asked = {"model": "sim/hang", "prompt": "x", "request_id": request_id}
    await _done(other, "completion:async", asked)
    await asyncio.to_thread(terminal.until_drawn, re.compile(request_id.encode()), _DRAWN_WITHIN_S)
    await asyncio.to_thread(terminal.drain_for, 0.3)
    row = re.compile(request_id.encode() + rb"[^\n]*cancelled")
    drawn = asyncio.create_task(
        asyncio.to_thread(terminal.until_drawn, row, _DRAWN_WITHIN_S), name="drawn"
    )
    began = time.monotonic()
    await _done(other, "completion:cancel", {"request_id": request_id})
    return 1000 * (await drawn - began)


async def _done(client: RemoteClient, name: str, data: dict[str, Any]) -> None:
    reply = await client.emit(name, data)
    if "code" in reply:
        raise RuntimeError(reply["error"])
