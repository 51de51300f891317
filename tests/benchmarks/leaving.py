"""How soon an upstream is left when the gateway's client leaves, by the upstream's clock.

The upstream and the clients share this process and its monotonic clock; `ksi-tui serve` with its
worker stands between. Fifty leave one after the other, then fifty at once, in the middle of their
streams; then fifty who wait for a whole answer.
"""

from __future__ import annotations

import asyncio
import time
from itertools import count
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.benchmarks.serving import Served, our_gateway
from tests.servers.misbehaving import MisbehavingServer, Seen

CLIENTS: Final = 50
STREAMED, WHOLE = "long", "hang"
_WORDS: Final = 5_000
"""Words of a stream at ten a second: nobody hears them all."""
_BEGUN_WITHIN_S: Final = 60.0
_NUMBERS: Final = count(1)


class _Client:
    """One who asks and leaves; its question tells it from the others."""

    def __init__(
        self, server: MisbehavingServer, gateway: Served, http: aiohttp.ClientSession
    ) -> None:
        self._server, self._gateway, self._http = server, gateway, http
        self._asking: asyncio.Task[None] | None = None
        self._question = f"question {next(_NUMBERS)}"
        self._seen: Seen | None = None

    async def ask(self, model: str) -> None:
        """Ask, and return once the upstream answers or, of a whole one, is asked."""
        flowing = asyncio.Event()
        asking = self._read(model, flowing)
        self._asking = asyncio.create_task(asking, name=f"ask {self._question}")
        await self._server.wait_for(lambda seen: any(map(self._mine, seen)), _BEGUN_WITHIN_S)
        self._seen = next(filter(self._mine, self._server.requests))
        if model == STREAMED:
            async with asyncio.timeout(_BEGUN_WITHIN_S):
                await flowing.wait()

    async def _read(self, model: str, flowing: asyncio.Event) -> None:
        question = [{"role": "user", "content": self._question}]
        body = {
            "model": model,
            "messages": question,
            "stream": model == STREAMED,
            "max_tokens": _WORDS,
        }
        headers = {"Authorization": f"Bearer {self._gateway.key}"}
        url = f"{self._gateway.url}/v1/chat/completions"
        async with self._http.post(url, json=body, headers=headers) as response:
            async for line in response.content:
                if response.status != 200:
                    raise RuntimeError(f"{response.status}: {line!r}")
                flowing.set()

    def _mine(self, seen: Seen) -> bool:
        return bool(seen.body["messages"][-1]["content"] == self._question)

    def leave(self) -> float:
        """Close the connection; returns when, on the monotonic clock."""
        assert self._asking is not None
        self._asking.cancel()  # aiohttp closes the connection of a request that is given up
        return time.monotonic()

    async def left(self, since: float) -> float:
        """Return after how many ms the upstream saw its connection closed."""
        seen = self._seen
        assert seen is not None
        await self._server.wait_for(lambda _: seen.ended_at is not None, _BEGUN_WITHIN_S)
        if not seen.closed or seen.ended_at is None:
            raise RuntimeError("the upstream's answer ended before its client left")
        return 1000 * (seen.ended_at - since)


async def leaving(folder: Path) -> dict[str, Any]:
    """Milliseconds from a client's leaving until its upstream connection is closed."""
    async with MisbehavingServer() as server:
        providers = [
            _provider(STREAMED, server.base("ok@10")),
            _provider(WHOLE, server.base("hang")),
        ]
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            our_gateway(folder, providers) as gateway,
            aiohttp.ClientSession(connector=connector) as http,
        ):

            def client() -> _Client:
                return _Client(server, gateway, http)

            await _at_once([client()], STREAMED)
            one_by_one = [(await _at_once([client()], STREAMED))[0] for _ in range(CLIENTS)]
            streams = await _at_once([client() for _ in range(CLIENTS)], STREAMED)
            whole = await _at_once([client() for _ in range(CLIENTS)], WHOLE)
    return {
        "one_by_one": _summed(one_by_one),
        "streams_at_once": _summed(streams),
        "whole_at_once": _summed(whole),
    }


async def _at_once(clients: list[_Client], model: str) -> list[float]:
    await asyncio.gather(*(client.ask(model) for client in clients))
    times = [client.leave() for client in clients]
    return await asyncio.gather(
        *(client.left(at) for client, at in zip(clients, times, strict=True))
    )


def _provider(name: str, api_base: str) -> str:
    return (
        f'name = "{name}"\nmodels = ["{name}"]\nmodel = "openai/gpt-4o-mini"\n'
        f'api_base = "{api_base}"\n'
    )


def _summed(taken: list[float]) -> dict[str, Any]:
    ordered = sorted(taken)
    return {
        "p50_ms": ordered[len(ordered) // 2],
        "p99_ms": ordered[int(len(ordered) * 0.99)],
        "taken_ms": taken,
    }
