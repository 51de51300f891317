"""How soon an upstream is closed that is cancelled: a thousand in flight, through two workers.

Measured by the clock of the server, which is a process of its own. Beside it the floor: the same
server and a bare client that does nothing but shut its thousand sockets. What is said about what
is left over is the soak's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.soak.cancelling import IN_FLIGHT, cancelled, p99
from tests.soak.closing import closed_barely


async def cancelled_at_once(folder: Path) -> dict[str, Any]:
    """Return the p99 of each way to cancel, and every sample, in ms."""
    seen = await cancelled(folder, workers=2)
    if seen["connections_left"] or any(seen["left"].values()):
        raise RuntimeError(f"left over: {seen['connections_left']} connections, {seen['left']}")
    ways = {way.replace(" ", "_"): values for way, values in seen["ways"].items()}
    ways["barely"] = await closed_barely(IN_FLIGHT)
    return {**{f"{way}_p99_ms": p99(values) for way, values in ways.items()}, "samples_ms": ways}
