"""What closing takes at the least: a bare client shuts a thousand sockets, the same server reads.

No engine and no worker. What it measures is the server's own loop and the machine.
"""

from __future__ import annotations

import asyncio
import socket
import time

from tests.soak.processes import raise_file_limit
from tests.soak.silent import Silent

_BOUND_S = 120.0
_ASKED = "POST /v1/chat/completions HTTP/1.1\r\nHost: up\r\nContent-Length: {length}\r\n\r\n{body}"
_BODY = '{{"stream": true, "messages": [{{"role": "user", "content": "{name}"}}]}}'


async def closed_barely(count: int) -> list[float]:
    """Return the ms from the first of `count` closes to each, sorted."""
    raise_file_limit()
    async with Silent() as up:
        host, port = "127.0.0.1", up.port
        names = [f"bare-{number}" for number in range(count)]
        sockets = await asyncio.to_thread(_opened, names, host, port)
        try:
            await up.waits(count, _BOUND_S)
            began = time.monotonic()
            for each in sockets:
                each.shutdown(socket.SHUT_RDWR)
            closed = await up.closed()
        finally:
            for each in sockets:
                each.close()
    return sorted((closed[name] - began) * 1000 for name in names)


def _opened(names: list[str], host: str, port: int) -> list[socket.socket]:
    opened = []
    for name in names:
        body = _BODY.format(name=name)
        opened.append(socket.create_connection((host, port)))
        opened[-1].sendall(_ASKED.format(length=len(body), body=body).encode())
    return opened
