"""Plays the cases of the matrix on whole engines whose calls go through a real provider worker.

Gathers what was seen and judges nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.assembly import Parts
from ksi_tui.engine.circuit import Settled
from ksi_tui.engine.circuit_memory import CircuitState
from ksi_tui.engine.events import WORKER_STARTED
from ksi_tui.engine.providers.factory import build_provider
from ksi_tui.engine.providers.litellm import LitellmProvider
from ksi_tui.engine.providers.pool import WorkerPool
from tests.engine.engine_fixtures import FINAL, left_over, until
from tests.faults.matrix import CLOCK_S, MAX_ATTEMPTS, MAX_COOLDOWN_S, Case, Effect, cases
from tests.servers import calling
from tests.servers.calling import Events
from tests.servers.misbehaving import MisbehavingServer

PLAY_BOUND_S = 90.0
PATIENT_S = 60.0
_STAYS_OPEN_S = 3600.0
GOOD = "good"
_NOWHERE = ".".join(["nowhere" * 8] * 5)
"""A name too long to be asked of any server: it is known to be nobody's without a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of a case's request.

    `status` is what `completion:request_status` says. `wait_s` is how long the provider was
    left alone between its two calls, `cooling_s` how long its model was to be left alone after
    the last one, `again` what became of the next request where the circuit had opened.
    """

    status: Mapping[str, Any]
    circuit: Effect
    reason: str
    wait_s: float | None
    cooling_s: Mapping[str, float]
    again: Mapping[str, Any] | None

    @property
    def calls(self) -> list[Mapping[str, Any]]:
        """Its calls in their order."""
        return [call for attempt in self.status["attempts"] for call in attempt["calls"]]

    @property
    def took_s(self) -> float:
        """How long its calls and its backoffs took, without the waits for its turn."""
        backoffs = [
            _moment(attempt["retry_at"]) - _moment(attempt["finished_at"])
            for attempt in self.status["attempts"]
            if attempt["retry_at"]
        ]
        return float(sum(call["duration_ms"] for call in self.calls)) / 1000 + sum(backoffs)


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def closed_port() -> int:
    """Return a port of loopback on which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def address(server: MisbehavingServer, mode: str, port: int) -> str:
    """Return the `api_base` under which a fault happens; `port` is a closed one."""
    if mode == "refused":
        return f"http://127.0.0.1:{port}/v1"
    if mode == "dns":
        return f"http://{_NOWHERE}/v1"
    return server.base(mode)


def settings(
    folder: Path,
    bases: Mapping[str, str],
    good: str,
    *,
    clock_s: float = PATIENT_S,
    engine: Mapping[str, Any] | None = None,
    retry: Mapping[str, Any] | None = None,
    circuit: Mapping[str, Any] | None = None,
) -> Config:
    """Return an engine's settings: a provider each of `bases`, which serves the model of its name.

    A good provider stands behind those whose names end in `-two`.
    """
    common = {"model": "openai/gpt-4o-mini"}
    return Config.model_validate(
        {
            "engine": {
                "database": str(folder / "ksi.db"),
                "first_token_timeout_s": clock_s,
                "idle_timeout_s": clock_s,
                "reply_timeout_s": clock_s,
                "shutdown_grace_s": 0,
                **(engine or {}),
            },
            "retry": {
                "max_attempts": MAX_ATTEMPTS,
                "initial_delay_s": 0.02,
                "jitter": 0,
                **(retry or {}),
            },
            "circuit": {"fail_max": 50, "max_cooldown_s": MAX_COOLDOWN_S, **(circuit or {})},
            "providers": [
                *(
                    {"name": name, "models": [name], "api_base": base, **common}
                    for name, base in bases.items()
                ),
                {"name": GOOD, "models": ["*-two"], "api_base": good, "priority": 2, **common},
            ],
        }
    )


class Stage:
    """A running engine, and what happens on it."""

    def __init__(self, engine: CompletionEngine) -> None:
        self.engine = engine

    @property
    def parts(self) -> Parts:
        """The engine's parts."""
        assert self.engine._parts is not None
        return self.engine._parts

    async def finished(self, requests: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Submit requests all at once; return what is known of each when all have ended."""
        async with self.engine.subscribe("completion:*") as events:
            replies = await asyncio.gather(
                *(self.engine.emit("completion:async", each) for each in requests)
            )
            ids = [reply["request_id"] for reply in replies]
            left = set(ids)
            async with asyncio.timeout(PLAY_BOUND_S):
                while left:
                    event = await anext(events)
                    if event.name in FINAL:
                        left.discard(event.data["request_id"])
        await until(lambda: not left_over(self.parts), "nothing is left over")
        await self.parts.core.store.write()  # calls that were closed late are on disk after it
        return [
            await self.engine.emit("completion:request_status", {"request_id": each})
            for each in ids
        ]

    async def play(self, played: Sequence[Case]) -> dict[Case, Seen]:
        """Play cases side by side, each on a provider of its own that had failed once before."""
        for case in played:
            self._fail_once(case.model)
        statuses = await self.finished(map(_request, played))
        return {
            case: await self._seen(case, status)
            for case, status in zip(played, statuses, strict=True)
        }

    def _fail_once(self, provider: str) -> None:
        """Let a failure be counted, which a neutral end leaves and an answer takes away."""
        entry, now = self.parts.core.providers.get(provider), self.parts.core.clock()
        assert entry is not None
        permit = entry.circuit.admit(now)
        assert permit is not None
        entry.circuit.settle(permit, Settled.COUNTS, now)

    async def _seen(self, case: Case, status: Mapping[str, Any]) -> Seen:
        core = self.parts.core
        entry, now = core.providers.get(case.model), core.clock()
        assert entry is not None
        look = entry.circuit.look(now)
        calls = [
            call
            for attempt in status["attempts"]
            for call in attempt["calls"]
            if call["provider"] == case.model
        ]
        opened = look.state is CircuitState.OPEN
        wait_s = None
        if len(calls) == 2:
            wait_s = _moment(calls[1]["started_at"]) - _moment(calls[0]["finished_at"])
        last = _moment(calls[-1]["finished_at"])
        return Seen(
            status=status,
            circuit=_effect(look.failures, len(calls), opened=opened),
            reason=look.reason,
            wait_s=wait_s,
            cooling_s={model: until - last for model, until in entry.cooldowns.items()},
            again=(await self.finished([_request(case)]))[0] if opened else None,
        )


def _effect(failures: int, calls: int, *, opened: bool) -> Effect:
    """Return what calls did to a circuit that had counted one failure before them."""
    if opened:
        return Effect.OPENS
    found = {0: Effect.CLOSES, 1: Effect.NEUTRAL, 1 + calls: Effect.COUNTS}.get(failures)
    assert found is not None, f"{failures} failures after 1 and {calls} calls"
    return found


def _request(case: Case) -> dict[str, Any]:
    asked: dict[str, Any] = {"prompt": "hello", "model": case.model, "stream": case.streamed}
    if case.ends.timeout_s is not None:
        asked["timeout_s"] = case.ends.timeout_s
    return asked


@asynccontextmanager
async def staged(config: Config, pool: WorkerPool) -> AsyncIterator[Stage]:
    """Run an engine on a pool of workers that outlives it."""
    engine = CompletionEngine(config, build=lambda each: build_provider(each, pool))
    async with engine:
        yield Stage(engine)


@asynccontextmanager
async def worker() -> AsyncIterator[WorkerPool]:
    """Run one provider worker, which is ready."""
    events = Events()
    pool = WorkerPool(1, on_event=events)
    pool.start()
    try:
        await events.until(lambda names: WORKER_STARTED in names)
        yield pool
    finally:
        await pool.aclose()


async def warm_up(server: MisbehavingServer, pool: WorkerPool) -> None:
    """Let a worker load what its first call loads, or the first cases would wait for that."""
    provider = LitellmProvider(calling.settings(server.base("ok")), pool)
    await provider.call(calling.spec(), calling.Observer())
    server.counts.clear()


async def play_all(folder: Path, server: MisbehavingServer, pool: WorkerPool) -> dict[Case, Seen]:
    """Play the whole matrix: first what ends by itself, then what hangs, on short clocks."""
    await warm_up(server, pool)
    seen: dict[Case, Seen] = {}
    port = closed_port()
    for hanging, clock_s in ((False, PATIENT_S), (True, CLOCK_S)):
        played = cases(hanging=hanging)
        bases = {case.model: address(server, case.fault.mode, port) for case in played}
        place = folder / ("hanging" if hanging else "ending")
        place.mkdir()
        config = settings(
            place,
            bases,
            server.base("ok"),
            clock_s=clock_s,
            engine={"max_concurrency": 24 if hanging else 12},
            # What opens early is asked again after all the others have been.
            circuit={"reset_timeout_s": _STAYS_OPEN_S},
        )
        async with staged(config, pool) as stage:
            seen |= await stage.play(played)
    return seen
