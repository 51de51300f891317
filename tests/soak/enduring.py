"""An hour's worth of everything at once, compressed: does anything grow?

The engine's clock runs so fast that an hour passes: sessions end, records are taken away, counters
are folded. The load stops after each of its cycles; what is held when nothing runs is measured
then, and the later cycles are compared with the earlier ones. The first half of them only fills
what is bounded, such as the log of events.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from ksi_tui.config import Config
from ksi_tui.door.server import Door
from ksi_tui.engine import CompletionEngine
from tests.engine.engine_fixtures import left_over
from tests.soak import gauges
from tests.soak.deeds import Crowd
from tests.soak.upstream import Upstream

WARM_CYCLES = 8
CYCLES = 16
_HOUR_S = 3600.0
_KEPT_S = 600.0
"""How long a record is kept, in the engine's time: a sixth of it all."""
_SETTLE_S = 120.0
_KILLED_EVERY = 5
"""A worker is killed in every fifth cycle: one that is killed often comes back late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One thing that has to stay flat. It may grow by `share` of itself and by `room`."""

    name: str
    share: float = 0.0
    room: float = 0.0

    def flat(self, early: Sequence[float], late: Sequence[float]) -> bool:
        """Whether the later values are no more than the earlier ones allow."""
        return median(late) <= median(early) * (1 + self.share) + self.room


GAUGES = (
    Gauge(name="engine MB", share=0.05, room=2),
    Gauge(name="objects", share=0.03, room=2000),
    Gauge(name="files", room=1),
    Gauge(name="threads", room=1),
    Gauge(name="tasks", room=0.5),
    Gauge(name="children", room=0.5),
    Gauge(name="worker MB", share=0.15, room=30),
    Gauge(name="DB MB", share=0.3, room=2),
    Gauge(name="WAL MB", room=2),
)


@dataclass(slots=True)
class Measured:
    """What each cycle left, and what was wrong besides."""

    cycles: list[dict[str, float]] = field(default_factory=list)
    types: list[Counter[str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    deeds: Counter[str] = field(default_factory=Counter)

    def halves(self, name: str) -> tuple[list[float], list[float]]:
        """Return a gauge's values of the earlier and of the later cycles, without the warm ones."""
        values = [cycle[name] for cycle in self.cycles[WARM_CYCLES:]]
        middle = len(values) // 2
        return values[:middle], values[middle:]

    def grown(self) -> list[Gauge]:
        """Return what has not stayed flat."""
        return [gauge for gauge in GAUGES if not gauge.flat(*self.halves(gauge.name))]

    def more_of(self, count: int = 12) -> list[tuple[str, int]]:
        """Return the types of which most objects have come since the middle."""
        middle = WARM_CYCLES + (len(self.types) - WARM_CYCLES) // 2 - 1
        return (self.types[-1] - self.types[middle]).most_common(count)


def settings(folder: Path, up: Upstream) -> Config:
    """Return an engine's settings: real providers that are well and ill, and simulated ones."""
    common = {"model": "openai/gpt-4o-mini"}
    real = {"ok": "ok", "paced": "ok@100", "flaky": "flaky", "cut": "cut", "stall": "stall"}
    return Config.model_validate(
        {
            "engine": {
                "database": str(folder / "soak.db"),
                "responses_dir": str(folder / "responses"),
                "max_concurrency": 64,
                "session_idle_minutes": 2,
                "retention_days": _KEPT_S / 86_400,
                "timeout_s": 10 * _HOUR_S,
                "shutdown_grace_s": 0,
            },
            "retry": {"max_attempts": 2, "initial_delay_s": 0.02, "jitter": 0.5},
            "circuit": {"fail_max": 20, "reset_timeout_s": 1, "max_reset_timeout_s": 2},
            "providers": [
                *(
                    {"name": name, "models": [name], "api_base": up.base(mode), **common}
                    for name, mode in real.items()
                ),
                {
                    "name": "spare",
                    "models": ["cut", "flaky"],
                    "api_base": up.base("ok"),
                    "priority": 2,
                    **common,
                },
                {"name": "sim", "kind": "simulated", "models": ["sim/*"], "model": "{model}"},
            ],
        }
    )


class FastClock:
    """A clock that runs `speed` times as fast as the machine's."""

    def __init__(self, speed: float) -> None:
        self._began, self._speed = time.time(), speed

    def __call__(self) -> float:
        return self._began + (time.time() - self._began) * self._speed


async def endured(
    folder: Path,
    *,
    seconds: float,
    seed: int,
    on_cycle: Callable[[int, dict[str, float]], None],
) -> Measured:
    """Bear the load for so long; return what each cycle left behind."""
    measured = Measured()
    rng = random.Random(seed)
    async with Upstream() as up:
        config = settings(folder, up)
        clock = FastClock(_HOUR_S / seconds)
        async with CompletionEngine(config, clock=clock, rng=rng) as engine:
            door = Door(engine, database=config.engine.database_path, name="soak")
            async with door:
                crowd = Crowd(engine, door.socket, rng)
                for number in range(CYCLES):
                    await crowd.bear(seconds / CYCLES, kill=number % _KILLED_EVERY == 1)
                    await _settled(engine, measured)
                    ended = await up.quiet()
                    measured.cycles.append(await _cycle(engine, folder, len(ended)))
                    measured.types.append(Counter(type(one).__name__ for one in gc.get_objects()))
                    on_cycle(number, measured.cycles[-1])
                measured.deeds = crowd.deeds
                measured.wrong += crowd.wrong
        if open_ones := await up.connections_left():
            measured.wrong.append(f"{open_ones} connections after the engine's end")
    return measured


async def _settled(engine: CompletionEngine, measured: Measured) -> None:
    assert engine._parts is not None
    parts = engine._parts
    try:
        async with asyncio.timeout(_SETTLE_S):
            while left_over(parts):  # noqa: ASYNC110 - any condition, not an event of ours
                await asyncio.sleep(0.02)
    except TimeoutError:
        measured.wrong.append(f"after {_SETTLE_S:g} s without load: {left_over(parts)}")
    await parts.core.store.write()


async def _cycle(engine: CompletionEngine, folder: Path, upstreams: int) -> dict[str, float]:
    """Return what is held now that nothing runs."""
    assert engine._parts is not None
    await asyncio.sleep(0.6)  # housekeeping looks every half second; what is over may be let go
    gc.collect()
    status = await engine.emit("completion:status", {})
    pool = engine._parts.pool
    workers = [view.pid for view in pool.workers if view.pid] if pool else []
    wal = folder / "soak.db-wal"
    return {
        "engine MB": gauges.rss_mb(),
        "objects": len(gc.get_objects()),
        "files": gauges.files(),
        "threads": gauges.threads(),
        "tasks": len(asyncio.all_tasks()),
        "children": gauges.children(),
        "worker MB": sum(map(gauges.rss_mb, workers)),
        "rows kept": sum(status["status_counts"].values()),
        "DB MB": (folder / "soak.db").stat().st_size / 1024 / 1024,
        "WAL MB": wal.stat().st_size / 1024 / 1024 if wal.exists() else 0,
        "upstreams": upstreams,
    }
