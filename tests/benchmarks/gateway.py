"""The gateway beside LiteLLM's proxy: the same calls, from one client, to one upstream.

Both stand as real processes with one worker each; the client is a third, the upstream a fourth.
They take turns in short blocks, so that a neighbour on the machine hits both. In between stands
what neither can do without: the client calls the upstream itself (`bare`), and a handler around
bare litellm, the floor of both. Every answer is compared with what the upstream says.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.benchmarks import serving
from tests.benchmarks.work import (
    Taken,
    Work,
    cpu_ratio,
    expected,
    in_flight,
    in_turn,
    median_ms,
    total,
    wall_ratio,
)

AT_ONCE: Final = 32
BLOCKS: Final = 5
WARM_CALLS: Final = 64
_KEPT_S: Final = 2.0
"""Shorter than the proxy keeps a connection: it closes one after 5 s, also just as it is used."""
OURS, PROXY, LEAST, BARE = "ours", "proxy", "least", "bare"


WORKS: Final = (
    Work(name="calls_1", calls=60, at_once=1),
    Work(name="calls_32", calls=320, at_once=AT_ONCE),
    Work(name="calls_64", calls=320, at_once=64),
    Work(name="streams_1", calls=6, at_once=1, stream=True),
    Work(name="streams_32", calls=AT_ONCE, at_once=AT_ONCE, stream=True),
)


class _Caller:
    """Calls one side. `base` ends with `/v1`."""

    def __init__(self, http: aiohttp.ClientSession, base: str, served: serving.Served) -> None:
        self._http, self._url, self._served = http, f"{base}/chat/completions", served
        self._headers = {"Authorization": f"Bearer {served.key}"}
        self._number = 0

    async def block(self, work: Work) -> dict[str, float]:
        """Do some work; returns its wall and CPU seconds, the client's own apart."""
        side, own, began = self._served.cpu_s, time.process_time(), time.perf_counter()
        await in_flight(work.at_once, work.calls, lambda _: self._one(work))
        return {
            "wall_s": time.perf_counter() - began,
            "cpu_s": self._served.cpu_s - side,
            "client_cpu_s": time.process_time() - own,
        }

    async def _one(self, work: Work) -> None:
        self._number += 1
        question = [{"role": "user", "content": f"question {self._number}"}]
        body = {"model": "ok", "messages": question, "max_tokens": work.words}
        if work.stream:
            body["stream"] = True
        async with self._http.post(self._url, json=body, headers=self._headers) as response:
            answer = await response.read()
        if response.status != 200:
            raise RuntimeError(f"{self._url} answered {response.status}: {answer[:500]!r}")
        text = _streamed(answer) if work.stream else _whole(answer)
        if text.split() != expected(work.words):
            raise RuntimeError(f"{self._url} answered {text[:500]!r}")


def _whole(answer: bytes) -> str:
    return str(json.loads(answer)["choices"][0]["message"]["content"])


def _streamed(answer: bytes) -> str:
    frames = [line[6:] for line in answer.split(b"\n") if line.startswith(b"data: ")]
    if frames[-1].strip() != b"[DONE]":
        raise RuntimeError(f"a stream ended with {frames[-1][:500]!r}")
    deltas = [c["delta"] for frame in frames[:-1] for c in json.loads(frame)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


@asynccontextmanager
async def _sides(folder: Path) -> AsyncIterator[Mapping[str, _Caller]]:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_S)
    async with (
        serving.upstream(folder) as upstream,
        serving.litellm_proxy(folder, f"{upstream.url}/ok/v1") as proxy,
        serving.our_gateway(folder, [_provider(f"{upstream.url}/ok/v1")]) as ours,
        serving.least_gateway(folder, f"{upstream.url}/ok/v1") as least,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        yield {
            OURS: _Caller(http, f"{ours.url}/v1", ours),
            PROXY: _Caller(http, f"{proxy.url}/v1", proxy),
            LEAST: _Caller(http, f"{least.url}/v1", least),
            BARE: _Caller(http, f"{upstream.url}/ok/v1", upstream),
        }


def _provider(api_base: str) -> str:
    return f'name = "ok"\nmodels = ["ok"]\nmodel = "openai/gpt-4o-mini"\napi_base = "{api_base}"\n'


async def gateway(folder: Path, blocks: int = BLOCKS) -> dict[str, Any]:
    """Wall and CPU of both sides per kind of work, and per call or word the median in ms."""
    async with _sides(folder) as sides:
        for caller in sides.values():
            await caller.block(Work(name="warm", calls=WARM_CALLS, at_once=AT_ONCE))
            await caller.block(Work(name="warm", calls=AT_ONCE, at_once=AT_ONCE, stream=True))
        taken = await in_turn(sides, WORKS, blocks)
    return {work.name: _summed(work, taken[work.name]) for work in WORKS} | {"blocks": blocks}


def _summed(work: Work, taken: Mapping[str, Taken]) -> dict[str, Any]:
    return {
        "ratio": wall_ratio(taken[OURS], taken[PROXY]),
        "floor": wall_ratio(taken[LEAST], taken[PROXY]),
        "cpu_ratio": cpu_ratio(taken[OURS], taken[PROXY]),
        "ms": median_ms(work, taken),
        "client_busy": {
            side: total(blocks, "client_cpu_s") / total(blocks, "wall_s")
            for side, blocks in taken.items()
        },
        "units_per_block": work.units,
        "taken": taken,
    }
