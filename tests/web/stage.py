"""A web server of the tests' own, whose dashboards are a few lines of Python, and a browser."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from ksi_tui.access.connections import bound, url_of
from ksi_tui.web.serving import Served, serving

KEY = "k" * 43
WAIT_S = 20.0

ECHO = """
import os, sys
def say(data):
    os.write(1, b"D" + len(data).to_bytes(4, "big") + data)
os.write(1, b"__GANGLION__\\n")
say(f"pid {os.getpid()} {sys.argv[1]} {os.environ['COLUMNS']}x{os.environ['ROWS']};".encode())
while head := sys.stdin.buffer.read(5):
    said = sys.stdin.buffer.read(int.from_bytes(head[1:], "big"))
    if said == b"q" or b'"quit"' in said:
        break
    say(head[:1] + said + b";")
sys.stderr.write("\\x1b[2Jfirst\\nksi-tui: last words\\n")
"""
"""A dashboard that says what it hears."""

STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"__GANGLION__\\nD\\0\\0\\0\\4pid ")
said = f"{os.getpid()};".encode()
os.write(1, b"D" + len(said).to_bytes(4, "big") + said)
while True:
    os.write(1, b"D\\0\\1\\0\\0" + bytes(65536))
"""
"""A dashboard that hears nothing, leaves for nobody, and paints for ever."""


BRIM = """
import os, sys
os.write(1, b"__GANGLION__\\nD\\0\\0\\0\\1;")
sys.stdin.buffer.read()
for _ in range(64):
    os.write(1, b"D\\0\\1\\0\\0" + bytes(65536))
open(sys.argv[1], "w").close()
"""
"""A dashboard that paints more than a pipe holds before it leaves, and then writes a file."""


class Tab:
    """A page's websocket and what it heard."""

    def __init__(self, line: aiohttp.ClientWebSocketResponse) -> None:
        self.line = line
        self.heard = ""

    async def hears(self, words: str, within_s: float = WAIT_S) -> str:
        """Wait for words; returns all that was heard so far."""
        async with asyncio.timeout(within_s):
            while words not in self.heard:
                message = await self.line.receive()
                assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), message
                data = message.data
                self.heard += data if isinstance(data, str) else data.decode(errors="replace")
        return self.heard

    async def pid(self) -> int:
        """Return the process behind it, as it says."""
        await self.hears(";")
        return int(self.heard.split("pid ", 1)[1].split()[0].rstrip(";"))

    async def closed(self) -> tuple[int, str]:
        """Wait until the other side closes; returns its code and its reason."""
        async with asyncio.timeout(WAIT_S):
            while (message := await self.line.receive()).type is not aiohttp.WSMsgType.CLOSE:
                assert message.type is aiohttp.WSMsgType.BINARY, message
        return int(message.data), str(message.extra)


class Browser:
    """A browser on a web server's page."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str = KEY) -> None:
        self.session, self.url, self.key = session, url, key

    async def get(self, path: str = "", **headers: str) -> tuple[int, str, Any]:
        """Return status, text and headers of a page."""
        async with self.session.get(f"{self.url}/{path}", headers=headers) as answer:
            return answer.status, await answer.text(errors="replace"), answer.headers

    @asynccontextmanager
    async def visiting(self, query: str = "", **headers: str) -> AsyncIterator[Tab]:
        """Open the page's websocket."""
        headers = {"Origin": self.url, **headers}
        url = f"{self.url}/{self.key}/ws{query}"
        async with self.session.ws_connect(url, headers=headers) as line:
            yield Tab(line)


@asynccontextmanager
async def served(
    program: str = ECHO,
    *,
    most: int = 2,
    absent: Callable[[], str | None] = lambda: None,
    command: Callable[[int], Sequence[str]] | None = None,
) -> AsyncIterator[Browser]:
    """Serve small programs in the place of dashboards; gives a browser."""
    sock: socket.socket = bound("127.0.0.1:0", anywhere=False)
    python = (sys.executable, "-I", "-S", "-c", program)
    given = Served(
        sock=sock,
        host="127.0.0.1",
        key=KEY,
        command=command or (lambda number: (*python, f"n{number}")),
        absent=absent,
        most=most,
    )
    with sock:
        async with aiohttp.ClientSession() as session, serving(given):
            yield Browser(session, url_of(sock))


def runs(pid: int) -> bool:
    """Return whether a process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
