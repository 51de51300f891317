"""Every fault, streamed and not, with one to three providers, many at once, through real workers.

Judges what has to hold whatever the load: the right final state, each call within its clock, and
nothing left behind: no connection by the server's count, no task, slot, lock or ticket, no memory.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.providers.factory import build_provider
from ksi_tui.engine.providers.pool import WorkerPool
from tests.engine.engine_fixtures import left_over
from tests.faults.matrix import CLOCK_S, FAULTS, MAX_ATTEMPTS, MAX_COOLDOWN_S, Ends, Fault
from tests.faults.stage import closed_port
from tests.soak import gauges
from tests.soak.floods import FLOODS

GOOD = "good"
PATIENT_S = 60.0
SLACK_S = 5.0
"""How late a clock may end a call: a machine that others use, too."""
_SETTLE_S = 60.0


class Bases(Protocol):
    """A server with an `api_base` a mode."""

    def base(self, mode: str) -> str:
        """Return the `api_base`."""
        ...


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, streamed or not, with the provider that has it alone, or others behind it.

    With three the second one has the same fault.
    """

    fault: Fault
    streamed: bool
    providers: int

    @property
    def ends(self) -> Ends:
        """How its bad call has to end."""
        return self.fault.ends[self.streamed]

    @property
    def model(self) -> str:
        """The name of its model, and of its first provider."""
        word = "".join(c if c.isalnum() else "-" for c in self.fault.mode)
        return f"{word}-{'stream' if self.streamed else 'whole'}-of{self.providers}"

    @property
    def outcome(self) -> str:
        """What its request has to come to: `completed`, or the kind of its failure."""
        ends = self.ends
        if ends.kind is None or (self.providers > 1 and ends.rule.fails_over):
            return "completed"
        return str(ends.kind)


def cases(only: Sequence[str] = (), providers: Sequence[int] = (1, 2, 3)) -> list[Case]:
    """Return every case, or those of the modes named."""
    return [
        Case(fault, streamed, count)
        for fault in (*FAULTS, *FLOODS)
        if not only or fault.mode in only
        for streamed in fault.ends
        for count in providers
    ]


@dataclass(slots=True)
class Report:
    """What was seen: how many requests, what was wrong of them, what each round left behind."""

    requests: int = 0
    wrong: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    rounds: list[dict[str, float]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether all was as it has to be."""
        return not self.wrong and not self.left


def settings(
    folder: Path, played: Iterable[Case], up: Bases, *, clock_s: float, in_flight: int
) -> Config:
    """Return an engine's settings: the providers of all cases, and a good one."""
    nowhere = closed_port()
    providers: list[dict[str, Any]] = []
    for case in played:
        base = _address(up, case.fault.mode, nowhere)
        common = {"models": [case.model], "model": "openai/gpt-4o-mini", "api_base": base}
        providers.append({"name": case.model, **common})
        if case.providers == 3:
            providers.append({"name": f"{case.model}.b", "priority": 2, **common})
    clocks = ("first_token_timeout_s", "idle_timeout_s", "reply_timeout_s")
    good = {"models": ["*-of2", "*-of3"], "model": "openai/gpt-4o-mini", "priority": 3}
    good |= dict.fromkeys(clocks, PATIENT_S)
    providers.append({"name": GOOD, "api_base": up.base("ok"), **good})
    return Config.model_validate(
        {
            "engine": {
                "database": str(folder / "storm.db"),
                "responses_dir": str(folder / "responses"),
                "max_concurrency": in_flight,
                "shutdown_grace_s": 0,
                **dict.fromkeys(clocks, clock_s),
            },
            "retry": {"max_attempts": MAX_ATTEMPTS, "initial_delay_s": 0.02, "jitter": 0},
            "circuit": {"fail_max": 1_000_000, "max_cooldown_s": MAX_COOLDOWN_S},
            "providers": providers,
        }
    )


def _address(up: Bases, mode: str, nowhere: int) -> str:
    if mode == "refused":
        return f"http://127.0.0.1:{nowhere}/v1"
    if mode == "dns":  # a name too long to be asked of any server
        return f"http://{'.'.join(['nowhere' * 8] * 5)}/v1"
    return up.base(mode)


class Storm:
    """Plays cases again and again on engines whose calls one pool of workers makes."""

    def __init__(self, folder: Path, up: Bases, pool: WorkerPool, *, in_flight: int) -> None:
        self._folder = folder
        self._up = up
        self._pool = pool
        self._in_flight = in_flight
        self._engines = 0
        self.report = Report()

    async def play(self, played: Sequence[Case], *, each: int, rng: random.Random) -> None:
        """Play `each` requests of every case: those that end by themselves, then those that hang.

        Each half is all on the way at once, in random order, as many as may be in flight.
        """
        for hanging in (False, True):
            half = [case for case in played if bool(case.ends.clock) is hanging]
            if half:
                await self._play(half, each, rng, CLOCK_S if hanging else PATIENT_S)
        gc.collect()
        workers = [view.pid for view in self._pool.workers if view.pid]
        self.report.rounds.append(
            {
                "engine MB": gauges.rss_mb(),
                "workers MB": sum(map(gauges.rss_mb, workers)),
                "files": gauges.files(),
                "tasks": gauges.named_tasks(),
            }
        )

    async def _play(
        self, played: Sequence[Case], each: int, rng: random.Random, clock_s: float
    ) -> None:
        self._engines += 1
        folder = self._folder / str(self._engines)
        folder.mkdir()
        config = settings(folder, played, self._up, clock_s=clock_s, in_flight=self._in_flight)
        before = gauges.named_tasks()
        engine = CompletionEngine(config, build=lambda one: build_provider(one, self._pool))
        async with engine:
            asked = [case for case in played for _ in range(each)]
            rng.shuffle(asked)
            ids = [await _submitted(engine, case) for case in asked]
            await self._settled(engine, len(asked))
            for case, request_id in zip(asked, ids, strict=True):
                status = await engine.emit("completion:request_status", {"request_id": request_id})
                self._judge(case, status, clock_s)
        self.report.requests += len(asked)
        if (tasks := gauges.named_tasks() - before) > 0:
            self.report.left.append(f"{tasks} tasks after an engine's end")

    async def _settled(self, engine: CompletionEngine, count: int) -> None:
        """Wait until all have ended and nothing is held; what is held even then is reported."""
        assert engine._parts is not None
        parts = engine._parts
        bound_s = _SETTLE_S + count * 2 * PATIENT_S / self._in_flight
        try:
            async with asyncio.timeout(bound_s):
                while left_over(parts):  # noqa: ASYNC110 - any condition, not an event of ours
                    await asyncio.sleep(0.05)
        except TimeoutError:
            self.report.left.append(f"after {bound_s:g} s: {left_over(parts)}")
        locks = sum(1 for lane in parts.core.queue.lanes() if parts.core.locks.get(lane.session_id))
        if locks:
            self.report.left.append(f"{locks} locks")
        await parts.core.store.write()

    def _judge(self, case: Case, status: dict[str, Any], clock_s: float) -> None:
        error = status["error"]
        came = status["status"] if status["status"] != "failed" or not error else error["kind"]
        said = f"{case.model}: " + (error["message"] if error else "")
        if came != case.outcome:
            self.report.wrong.append(f"{said}: came to {came}, not to {case.outcome}")
        # What falls silent has had its first token's clock, too: its own begins with the last one.
        limit_s = case.ends.timeout_s or clock_s * (2 if case.ends.clock == "idle" else 1)
        for call in (call for attempt in status["attempts"] for call in attempt["calls"]):
            own_s = PATIENT_S if call["provider"] == GOOD else limit_s
            late_s = (call["duration_ms"] or 0) / 1000 - own_s
            if late_s > SLACK_S:
                self.report.wrong.append(f"{said}: a call ended {late_s:.1f} s after its clock")


async def _submitted(engine: CompletionEngine, case: Case) -> str:
    asked: dict[str, Any] = {"prompt": "hello", "model": case.model, "stream": case.streamed}
    if case.ends.timeout_s is not None:
        asked["timeout_s"] = case.ends.timeout_s
    reply = await engine.emit("completion:async", {**asked, **_locked(case)})
    if "error" in reply:
        raise RuntimeError(reply["error"])
    return str(reply["request_id"])


def _locked(case: Case) -> dict[str, Any]:
    return {"agent_id": f"agent of {case.model}", "conversation_lock": {"enabled": True}}
