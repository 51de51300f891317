"""The heavy loads in small, in this process: that they run, and that they would notice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ksi_tui.config import Config
from ksi_tui.door.server import Door
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.providers.pool import WorkerPool
from tests.engine.engine_fixtures import left_over, until
from tests.faults.stage import worker
from tests.servers.misbehaving import MisbehavingServer
from tests.soak import gauges
from tests.soak.cancelling import WAYS, cancelled
from tests.soak.deeds import Crowd
from tests.soak.enduring import CYCLES, GAUGES, WARM_CYCLES, Measured
from tests.soak.storm import SLACK_S, Storm, cases

pytestmark = pytest.mark.asyncio(loop_scope="module")
PLAYED = ("429", "cut", "rst", "half_open", "disorder@done", "redirect", "slow_accept")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pool() -> AsyncIterator[WorkerPool]:
    async with worker() as pool:
        yield pool


async def test_a_storm_leaves_nothing(pool: WorkerPool, tmp_path: Path) -> None:
    async with MisbehavingServer() as server:
        storm = Storm(tmp_path, server, pool, in_flight=50)
        played = cases(PLAYED)
        assert {case.fault.mode for case in played} == set(PLAYED)
        await storm.play(played, each=1, rng=random.Random(1))
        assert storm.report.requests == len(played)
        assert (storm.report.wrong, storm.report.left) == ([], [])
        await server.wait_for(lambda seen: all(each.ended_at is not None for each in seen))


async def test_a_storm_notices_a_wrong_end(pool: WorkerPool, tmp_path: Path) -> None:
    async with MisbehavingServer() as server:
        storm = Storm(tmp_path, server, pool, in_flight=10)
        (case,) = cases(["disorder@done"], providers=[1])
        server.base("ok")
        object.__setattr__(case.fault, "mode", "disorder")  # which is answered all the same
        try:
            await storm.play([case], each=1, rng=random.Random(1))
        finally:
            object.__setattr__(case.fault, "mode", "disorder@done")
        assert len(storm.report.wrong) == 1
        assert "came to completed, not to provider_error" in storm.report.wrong[0]


@pytest.mark.parametrize(("mode", "clocks"), [("stall", 2), ("stall_first", 1)])
async def test_a_storm_notices_a_call_that_outlives_its_clocks(
    tmp_path: Path, mode: str, clocks: int
) -> None:
    """What falls silent after a while has two, one after the other."""
    (case,) = (each for each in cases([mode], providers=[1]) if each.streamed)
    storm = Storm(tmp_path, None, None, in_flight=1)  # type: ignore[arg-type]
    for late_s in (-0.1, 0.1):
        took_ms = 1000 * (clocks * 4.0 + SLACK_S + late_s)
        call = {"provider": case.model, "duration_ms": took_ms}
        error = {"kind": case.outcome, "message": "late"}
        status = {"status": "failed", "error": error, "attempts": [{"calls": [call]}]}
        storm._judge(case, status, 4.0)
    (wrong,) = storm.report.wrong
    assert "a call ended 5.1 s after its clock" in wrong


async def test_many_cancelled_at_once_leave_nothing(pool: WorkerPool, tmp_path: Path) -> None:
    seen = await cancelled(tmp_path, count=24, pool=pool)
    assert {way: len(values) for way, values in seen["ways"].items()} == dict.fromkeys(WAYS, 24)
    assert (seen["left"], seen["connections_left"]) == ({way: {} for way in WAYS}, 0)


async def test_a_crowd_leaves_nothing(tmp_path: Path) -> None:
    simulated = {"kind": "simulated", "model": "{model}"}
    config = Config.model_validate(
        {
            "engine": {
                "database": str(tmp_path / "ksi.db"),
                "responses_dir": str(tmp_path / "responses"),
                "shutdown_grace_s": 0,
            },
            "retry": {"max_attempts": 2, "initial_delay_s": 0.01},
            "circuit": {"reset_timeout_s": 0.1},
            "providers": [
                {"name": "sim", "models": ["sim/*"], **simulated},
                *(
                    {"name": name, "models": [name], **simulated, "model": "sim/echo"}
                    for name in ("ok", "paced", "flaky", "cut", "spare")
                ),
                {"name": "stall", "models": ["stall"], **simulated, "model": "sim/hang"},
            ],
        }
    )
    async with CompletionEngine(config) as engine:
        assert engine._parts is not None
        parts = engine._parts
        async with Door(engine, database=config.engine.database_path, name="soak") as door:
            crowd = Crowd(engine, door.socket, random.Random(5))
            await crowd.attach()
            tasks = gauges.named_tasks()
            await crowd.bear(0.7, kill=False)
            for provider in config.providers:  # its probes would be told to fail again and again
                await engine.emit("provider:close", {"provider": provider.name})
            await until(lambda: not left_over(parts), "nothing is left over")
            await until(lambda: gauges.named_tasks() <= tasks, "no task is left")
    assert crowd.wrong == []
    assert crowd.deeds["submit"] > 10


def measured(**late: float) -> Measured:
    """Return cycles in which everything is 100 but what `late` says of the later ones."""
    seen = Measured()
    for number in range(CYCLES):
        flat = {gauge.name: 100.0 for gauge in GAUGES}
        is_late = number >= WARM_CYCLES + (CYCLES - WARM_CYCLES) // 2
        seen.cycles.append(flat | (late if is_late else {}))
        seen.types.append(Counter(str=10, **({"Leak": 5} if is_late and late else {})))
    return seen


@pytest.mark.parametrize("gauge", GAUGES, ids=lambda gauge: gauge.name)
async def test_what_grows_is_noticed(gauge: object) -> None:
    (one,) = [each for each in GAUGES if each is gauge]
    allowed = 100 * (1 + one.share) + one.room
    assert measured().grown() == []
    assert measured(**{one.name: allowed}).grown() == []
    assert measured(**{one.name: allowed + 1}).grown() == [one]
    assert measured(**{one.name: 1000.0}).more_of(1) == [("Leak", 5)]
