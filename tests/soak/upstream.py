"""The misbehaving server in a process of its own, and what it says of the connections it has.

So that its clock is not held up by the engine that is measured, and its memory is not counted
as that engine's. `time.monotonic` is one clock for all processes of a machine.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web

from tests.servers.misbehaving import MisbehavingServer, Seen

TOLD = "/-/told"
_START_S = 30.0
_LOOK_EVERY_S = 0.02
_MANY_FILES = 16_384


def raise_file_limit() -> int:
    """Let this process have as many files open as its hard limit allows, 16,384 at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, _MANY_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the server knows: replies being made, connections open, and what ended since last asked.

    `ended` holds `{text, mode, ended_at, closed}` each; `closed`: the client closed it before
    the reply's end.
    """

    open: int
    connections: int
    requests: int
    ended: list[dict[str, Any]]


class Upstream:
    """`async with Upstream() as up`; `up.base("drip@2")` is an `api_base`."""

    def __init__(self) -> None:
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Upstream:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(_START_S):
            self.port = int(await self._process.stdout.readline())
        self._session = ClientSession(timeout=ClientTimeout(total=_START_S))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._session is not None
        assert self._process.stdin is not None
        await self._session.close()
        self._process.stdin.close()
        await self._process.wait()

    def base(self, mode: str) -> str:
        """Return the `api_base` under which every request is treated as `mode` says."""
        return f"http://127.0.0.1:{self.port}/{mode}/v1"

    async def told(self) -> Told:
        """Ask what it knows; what has ended is told once."""
        assert self._session is not None
        async with self._session.get(f"http://127.0.0.1:{self.port}{TOLD}") as reply:
            return Told(**await reply.json())

    async def waits(self, count: int, bound_s: float = 60.0) -> None:
        """Wait until so many replies are being made."""
        said = 0
        try:
            async with asyncio.timeout(bound_s):
                while (said := (await self.told()).open) < count:
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError:
            raise TimeoutError(f"{said} of {count} replies are being made after {bound_s:g} s") from None

    async def quiet(self, bound_s: float = 30.0) -> list[dict[str, Any]]:
        """Wait until no reply is being made; return what ended meanwhile."""
        ended: list[dict[str, Any]] = []
        async with asyncio.timeout(bound_s):
            while True:
                told = await self.told()
                ended += told.ended
                if not told.open:
                    return ended
                await asyncio.sleep(_LOOK_EVERY_S)


def _text(seen: Seen) -> str:
    messages = seen.body.get("messages") or [{}]
    return str(messages[-1].get("content"))


def _teller(server: MisbehavingServer) -> Any:
    total = 0

    async def told(_: web.Request) -> web.Response:
        nonlocal total
        ended = [each for each in server.requests if each.ended_at is not None]
        server.requests[:] = [each for each in server.requests if each.ended_at is None]
        total += len(ended)
        answer = {
            "open": len(server.requests),
            "connections": server.connections - 1,  # but for the one that asks
            "requests": total + len(server.requests),
            "ended": [
                {"text": _text(e), "mode": e.mode, "ended_at": e.ended_at, "closed": e.closed}
                for e in ended
            ],
        }
        return web.json_response(answer)

    return told


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    server = MisbehavingServer(backlog=4096)
    server.extra.append(web.get(TOLD, _teller(server)))
    async with server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        loop.add_reader(0, gone.set)  # its parent's end of the pipe is closed, or its parent gone
        await gone.wait()


if __name__ == "__main__":
    raise_file_limit()
    asyncio.run(_serve())
