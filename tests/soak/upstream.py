"""The misbehaving server in a process of its own, and what it says of the connections it has."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from tests.servers.misbehaving import MisbehavingServer, Seen
from tests.servers.slow_door import SLOW_ACCEPT
from tests.soak.processes import Child, raise_file_limit

_LOOK_EVERY_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the server knows: replies being made, connections open, and what ended since last asked.

    `open` tells of each reply that is being made, `ended` holds `{text, mode, ended_at,
    closed}` each; `closed`: the client closed it before the reply's end.
    """

    open: list[str]
    connections: int
    requests: int
    ended: list[dict[str, Any]]
    slow_port: int


class Upstream(Child):
    """`async with Upstream() as up`; `up.base("drip@2")` is an `api_base`."""

    module = __name__

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.slow_port = (await self.told()).slow_port
        return self

    def base(self, mode: str) -> str:
        """Return the `api_base` under which every request is treated as `mode` says."""
        if mode == SLOW_ACCEPT:
            return f"http://127.0.0.1:{self.slow_port}/ok/v1"
        return f"http://127.0.0.1:{self.port}/{mode}/v1"

    async def told(self) -> Told:
        """Ask what it knows; what has ended is told once."""
        return Told(**await self.ask())

    async def connections_left(self, bound_s: float = 10.0) -> int:
        """Wait until no connection is open, idle ones included; return how many are after that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(bound_s):
                while (await self.told()).connections:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(_LOOK_EVERY_S)
        return (await self.told()).connections

    async def quiet(self, bound_s: float = 30.0) -> list[dict[str, Any]]:
        """Wait until no reply is being made; return what ended meanwhile.

        Raises TimeoutError, which tells of those that are being made even then.
        """
        ended: list[dict[str, Any]] = []
        end = time.monotonic() + bound_s
        while (told := await self.told()).open and time.monotonic() < end:
            ended += told.ended
            await asyncio.sleep(_LOOK_EVERY_S)
        if told.open:
            raise TimeoutError(f"replies are still being made: {told.open}")
        return ended + told.ended


def _text(seen: Seen) -> str:
    messages = seen.body.get("messages") or [{}]
    return str(messages[-1].get("content"))


def _teller(server: MisbehavingServer) -> Callable[[], dict[str, Any]]:
    total = 0

    def told() -> dict[str, Any]:
        nonlocal total
        ended = [each for each in server.requests if each.ended_at is not None]
        server.requests[:] = [each for each in server.requests if each.ended_at is None]
        total += len(ended)
        return {
            "open": [f"{e.mode}{' streamed' * e.stream}, {e.sent} sent" for e in server.requests],
            "slow_port": server.slow_port,
            "connections": server.connections,
            "requests": total + len(server.requests),
            "ended": [
                {"text": _text(e), "mode": e.mode, "ended_at": e.ended_at, "closed": e.closed}
                for e in ended
            ],
        }

    return told


async def _serve() -> None:
    async with MisbehavingServer(backlog=4096) as server:
        await Child.serve(server.port, _teller(server))


if __name__ == "__main__":
    raise_file_limit()
    sys.exit(asyncio.run(_serve()))
