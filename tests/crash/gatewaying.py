"""Rounds on the gateway: clients of OpenAI who ask again under their key after each kill."""

from __future__ import annotations

import asyncio
import json
import random
import re
from typing import Any, Final

import aiohttp

from tests.crash import load
from tests.crash.home import BOUND_S, Life, must
from tests.crash.judge import Judge
from tests.crash.ledger import ledger
from tests.crash.load import Record, at_the_door
from tests.crash.points import GATEWAY, Point
from tests.crash.stage import MEETS_S, Round, all_ended, clean, ended_well, killed_in, met

POINTS: Final = {f"gateway: {point.name}": point for point in GATEWAY}
_CLIENTS: Final = 8
_EACH: Final = 6
_URL: Final = re.compile(r"listening on (http://\S+)")


class Client:
    """One who asks one thing after another, each under a key of its own, until it is answered."""

    def __init__(self, number: int, dice: random.Random) -> None:
        self._dice = dice
        self._left = [f"k-{number}-{each}" for each in range(_EACH)]
        self._bodies = {key: self._body(key) for key in self._left}
        self.answers: dict[str, str] = {}

    def _body(self, key: str) -> dict[str, Any]:
        return {
            "model": self._dice.choice(("sim/echo", "sim/slow", "ill/a")),
            "messages": [{"role": "user", "content": f"{key} says a few words"}],
            "stream": self._dice.random() < 0.5,
        }

    async def life(self, http: aiohttp.ClientSession) -> None:
        """Ask until all is answered or the engine has gone."""
        try:
            while self._left:
                key = self._left[0]
                self.answers[key] = await self._asked(http, key)
                self._left.pop(0)
        except (aiohttp.ClientError, OSError, EOFError):
            return

    async def again(self, http: aiohttp.ClientSession) -> None:
        """Ask for everything again: every answer is the same as before."""
        must(not self._left, f"never answered: {self._left}")
        for key, answer in self.answers.items():
            found = await self._asked(http, key)
            must(found == answer, f"{key} was answered {answer!r}, and again {found!r}")

    async def _asked(self, http: aiohttp.ClientSession, key: str) -> str:
        body = self._bodies[key]
        headers = {"Idempotency-Key": key}
        async with http.post("/v1/chat/completions", json=body, headers=headers) as response:
            text = await response.text()
            must(response.status == 200, f"{key}: {response.status} {text[:300]}")
        if not body["stream"]:
            return str(json.loads(text)["choices"][0]["message"]["content"])
        events = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
        if not events or events[-1] != "[DONE]":
            raise EOFError(key)
        choices = [json.loads(each)["choices"] for each in events[:-1]]
        return "".join(each[0]["delta"].get("content") or "" for each in choices if each)


async def gated(round_: Round) -> None:
    """Kill the engine under clients who ask again, until all of them are answered."""
    home, dice = round_.home, round_.dice
    home.configure(load.SETTINGS)
    judge = Judge(home=home, record=Record())
    clients = [Client(number, random.Random(dice.random())) for number in range(_CLIENTS)]
    for _ in range(2):
        await _one_life(round_, clients, POINTS[round_.kind])
        judge.after_a_kill()
    life = await home.start("serve", "--listen", "127.0.0.1:0")
    try:
        url = await _url(life)
        must(url, f"it does not start again: {life.err}")
        async with _visiting(url) as http:
            await asyncio.gather(*(client.life(http) for client in clients))
            await asyncio.gather(*(client.again(http) for client in clients))
        async with at_the_door(home.socket) as visitor:
            await all_ended(visitor)
        await ended_well(life)
    finally:
        life.kill()
    judge.at_the_end()
    found = ledger(home.copied())
    keys = {key for client in clients for key in client.answers}
    must(found.requests.keys() == keys, f"{len(keys)} keys, {len(found.requests)} requests")


async def _one_life(round_: Round, clients: list[Client], point: Point) -> None:
    life = await round_.home.start(
        "serve", "--listen", "127.0.0.1:0", traps=[point.drawn(round_.dice)]
    )
    killing = asyncio.create_task(killed_in(life, MEETS_S), name="killer")
    try:
        if url := await _url(life):
            async with _visiting(url) as http:
                await asyncio.gather(*(client.life(http) for client in clients))
        round_.note(round_.kind, met=await met(life, killing))
    finally:
        life.kill()
    clean(life)


def _visiting(url: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=BOUND_S))


async def _url(life: Life) -> str:
    """Return where the gateway is, once it says so; nothing when the life ends before that."""
    async with asyncio.timeout(BOUND_S):
        while not (found := _URL.search(life.err)):
            if life.over:
                return ""
            await asyncio.sleep(0.01)
    return found[1]
