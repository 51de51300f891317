"""What the status events say at their edges: full, cooled down, forced, long ago, nobody's."""

from __future__ import annotations

from pathlib import Path

from ksi_tui.engine.errors import ErrorKind
from tests.engine.engine_fixtures import HandClock, answers, config, fails, held, provider, running

HOUR_S = 3600


async def test_a_full_provider_is_not_available_until_a_slot_is_free(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", max_concurrency=1), provider("q")])
    async with running(settings, scripts={"p": held}) as rig:
        request_id = await rig.submit()
        (up,) = await rig.calls(1)
        reply = await rig.emit("completion:provider_status")
        assert reply["available_providers"] == 1
        up.go.set()
        await rig.ended(request_id)
        reply = await rig.emit("completion:provider_status")
        assert reply["available_providers"] == 2


async def test_a_cooldown_is_told_while_it_lasts(tmp_path: Path) -> None:
    clock = HandClock()
    limited = fails(ErrorKind.API_RATE_LIMIT, "slow down", status=429, retry_after_s=20)
    settings = config(tmp_path, retry={"max_attempts": 1})
    async with running(settings, clock=clock, scripts={"p": limited}) as rig:
        await rig.ended(await rig.submit())
        reply = await rig.emit("completion:provider_status", provider="p")
        assert reply["cooldown_until"] == "2027-01-15T08:00:20.000Z"
        clock.now += 21
        reply = await rig.emit("completion:provider_status", provider="p")
        assert reply["cooldown_until"] is None


async def test_who_forced_a_circuit_is_told(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        entry = rig.core.providers.get("p")
        assert entry is not None
        entry.circuit.force_open(clock.now, reason="bad answers", by="op1")
        breaker = (await rig.emit("completion:provider_status", provider="p"))["circuit_breaker"]
        assert (breaker["forced"], breaker["forced_by"]) == ("open", "op1")
        assert breaker["reason"] == "bad answers"


async def test_usage_of_the_last_hours_and_in_buckets(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": answers}) as rig:
        for _ in range(2):
            await rig.ended(await rig.submit())
            clock.now += HOUR_S / 2
        clock.now += 5 * HOUR_S
        await rig.ended(await rig.submit())
        recent = await rig.emit("completion:token_usage", hours=1)
        assert recent["usage"]["request_count"] == 1
        whole = await rig.emit("completion:token_usage", bucket_minutes=60)
        assert whole["usage"]["request_count"] == 3
        assert [(each["at"], each["request_count"]) for each in whole["trend"]] == [
            ("2027-01-15T08:00:00.000Z", 2),
            ("2027-01-15T14:00:00.000Z", 1),
        ]


async def test_calls_of_nobody_make_no_agent(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await rig.ended(await rig.submit())
        reply = await rig.emit("completion:token_usage")
        assert reply["usage"]["request_count"] == 1
        assert (reply["active_agents"], reply["active_models"]) == (0, 1)
