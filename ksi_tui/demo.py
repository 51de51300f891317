"""The demonstration: simulated providers with faults, and a load that makes everything show.

Talks to the engine through its client only, so it runs on any engine whose providers
are simulated. Nothing here reaches a network.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ksi_tui.client import EngineClient, SnapshotQuery

if TYPE_CHECKING:
    from pathlib import Path

    from ksi_tui.config import Config

SESSIONS = 40
MOST_UNFINISHED = 120
"""Over so many unfinished requests the load waits, so that a forgotten demo stays small."""
_PAUSE_S = (0.12, 0.5)
_TOTALS_ONLY = SnapshotQuery(active_limit=0, queue_limit=0, lock_limit=0, trend_points=1)

_PROVIDERS: tuple[dict[str, Any], ...] = (
    {
        "kind": "simulated",
        "name": "sim-down",
        "models": ["sim/down"],
        "model": "{model}",
        "priority": 1,
        "max_concurrency": 4,
        "circuit": {"fail_max": 4, "reset_timeout_s": 20, "max_reset_timeout_s": 60},
    },
    {
        "kind": "simulated",
        "name": "sim-flaky",
        "models": ["sim/flaky"],
        "model": "{model}",
        "priority": 1,
        "max_concurrency": 6,
        "params": {"seed": 7, "delay_ms": 400, "tokens_per_s": 45, "words": 90},
        "circuit": {"fail_max": 6, "reset_timeout_s": 15},
    },
    {
        "kind": "simulated",
        "name": "sim-steady",
        "models": ["sim/*"],
        "model": "sim/slow",
        "priority": 2,
        "max_concurrency": 8,
        "params": {"seed": 3, "delay_ms": 700, "tokens_per_s": 30, "words": 140},
    },
    {
        "kind": "simulated",
        "name": "sim-fast",
        "models": ["sim/limited"],
        "model": "{model}",
        "priority": 1,
        "max_concurrency": 6,
        "params": {
            "seed": 5,
            "delay_ms": 150,
            "tokens_per_s": 110,
            "words": 60,
            "retry_after_s": 9,
        },
    },
)

_PROMPTS = (
    "Summarise the thread for the customer in three sentences.",
    "Why did invoice 2231 double between May and June?",
    "Draft a polite answer to the complaint below.",
    "Classify this ticket: billing, access, fault or praise.",
    "Translate the release notes into plain words.",
    "List the open questions of the meeting, most urgent first.",
)
_CUSTOMERS = ("acme", "globex", "initech", "hooli", "umbrella", "wayne", "stark", "wonka")
_PRIORITIES = ("critical", "high", "normal", "normal", "normal", "normal", "low", "background")


def demo_config(database: Path) -> Config:
    """Return settings for a demonstration on the given database: four providers, short clocks."""
    from ksi_tui.config import validated  # noqa: PLC0415 - kept out of the first frame

    data = {
        "engine": {
            "database": str(database),
            "responses_dir": str(database.parent / "responses"),
            "max_concurrency": 16,
            "default_model": "sim/slow",
            "first_token_timeout_s": 12,
            "idle_timeout_s": 12,
            "timeout_s": 120,
            "shutdown_grace_s": 1,
        },
        "retry": {"max_attempts": 4, "initial_delay_s": 1.5, "max_delay_s": 20},
        "providers": _PROVIDERS,
    }
    return validated(data, "the demonstration")


class DemoLoad:
    """Emits varied requests, a few a second, over `SESSIONS` sessions, until stopped.

    The same seed makes the same requests. Bounded: over `MOST_UNFINISHED` unfinished
    requests it waits.
    """

    def __init__(self, client: EngineClient, *, seed: int = 1) -> None:
        self._client = client
        self._random = random.Random(seed)  # noqa: S311 - variety, no secret
        self._task: asyncio.Task[None] | None = None
        self._models: tuple[str, ...] = ()
        self.emitted = 0

    def start(self) -> None:
        """Begin to emit; a second start changes nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="demo-load")

    async def stop(self) -> None:
        """Stop emitting and wait for it; what was emitted goes on."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        self._models = await self._known_models()
        while True:
            totals = self._client.snapshot(_TOTALS_ONLY).totals
            if totals.queued + totals.active + totals.retrying < MOST_UNFINISHED:
                self.emitted += 1
                await self._client.emit("completion:async", self._request())
                if self._random.random() < 0.04:
                    await self._hold_a_lock()
            await asyncio.sleep(self._random.uniform(*_PAUSE_S))

    async def _known_models(self) -> tuple[str, ...]:
        """Return the models to ask for: one for every way in which a simulated provider behaves."""
        seen = self._client.snapshot(_TOTALS_ONLY).providers
        if any(provider.name == "sim-steady" for provider in seen):
            return ("sim/slow", "sim/slow", "sim/flaky", "sim/limited", "sim/limited", "sim/down")
        return ("sim/echo", "sim/slow", "sim/slow", "sim/flaky", "sim/limited", "sim/cut")

    def _request(self) -> Mapping[str, Any]:
        pick = self._random
        number = pick.randrange(SESSIONS)
        session_id = f"{_CUSTOMERS[number % len(_CUSTOMERS)]}-{number}"
        request: dict[str, Any] = {
            "prompt": pick.choice(_PROMPTS),
            "session_id": session_id,
            "agent_id": f"a{number % 12}",
            "model": pick.choice(self._models),
            "priority": pick.choice(_PRIORITIES),
            "metadata": {"demo": True},
        }
        if pick.random() < 0.03:
            request |= self._hanging()
        elif pick.random() < 0.5:
            slow = {"tokens_per_s": pick.choice((15, 30, 60)), "words": pick.randrange(40, 260)}
            request["extra_body"] = {"sim": slow}
        if pick.random() < 0.15:
            request["conversation_lock"] = {"enabled": True, "timeout_s": 45}
        return request

    def _hanging(self) -> dict[str, Any]:
        """Return what makes a call hang until its clock stops it."""
        return {"extra_body": {"sim": {"delay_ms": 60_000}}, "max_attempts": 2}

    async def _hold_a_lock(self) -> None:
        number = self._random.randrange(SESSIONS)
        await self._client.emit(
            "conversation:acquire_lock",
            {
                "session_id": f"{_CUSTOMERS[number % len(_CUSTOMERS)]}-{number}",
                "agent_id": f"a{self._random.randrange(12)}",
                "timeout_s": 30,
            },
        )


class DemoSwitch:
    """Turns the load on and off."""

    def __init__(self) -> None:
        self._load: DemoLoad | None = None

    async def toggle(self, client: EngineClient | None) -> str:
        """Start or stop the load and return what happened in words."""
        if self._load is not None:
            await self.stop()
            return "demo load stopped; what it queued still runs"
        if client is None:
            return "the engine is not ready"
        self._load = DemoLoad(client)
        self._load.start()
        return "demo load runs; D stops it"

    async def stop(self) -> None:
        """Stop the load, if it runs, and wait for it."""
        load, self._load = self._load, None
        if load is not None:
            await load.stop()
