"""What a screen reads: made at once, and true at that moment."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ksi_tui.engine.core import RECENT_ENDED
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from ksi_tui.engine.views import CircuitLook, Level, Phase, SnapshotQuery
from tests.engine.engine_fixtures import (
    HandClock,
    Upstream,
    answers,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
    until,
)

BOOM = fails(ErrorKind.PROVIDER_ERROR, "boom")


async def test_an_idle_engine(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        shot = rig.engine.snapshot()
        assert (shot.verdict.level, shot.simulated_only) == (Level.OK, True)
        assert (shot.active, shot.queues, shot.locks, shot.live, shot.notices) == (
            (),
            (),
            (),
            None,
            (),
        )
        assert [p.name for p in shot.providers] == ["p"]
        assert (shot.totals.active, shot.totals.capacity, shot.totals.queued) == (0, 32, 0)
        assert shot.tokens is not None


async def test_what_runs_and_what_waits(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, engine={"max_concurrency": 2})
    async with running(settings, clock=clock, scripts={"p": held}) as rig:
        first = await rig.submit("1", session_id="s", agent_id="a1")
        (up,) = await rig.calls(1)
        clock.now += 2
        up.say("some", 4)
        clock.now += 1
        behind = await rig.submit("2", session_id="s")
        await rig.submit("3", session_id="t")
        await rig.calls(2)
        full = await rig.submit("4", session_id="u")
        clock.now += 1
        shot = rig.engine.snapshot()
        assert shot.at == clock.now
        streaming = next(view for view in shot.active if view.request_id == first)
        assert (streaming.phase, streaming.age_s, streaming.ttft_s) == (Phase.STREAMING, 4.0, 2.0)
        assert (streaming.tokens, streaming.tokens_per_s) == (4, 2.0)
        assert (streaming.attempt, streaming.max_attempts) == (1, 3)
        assert (streaming.agent_id, streaming.provider, streaming.model) == ("a1", "p", "m1")
        assert {q.session_id: (q.depth, q.head_id, q.why) for q in shot.queues} == {
            "s": (1, behind, f"behind {first} in its session"),
            "u": (1, full, "engine at 2 of 2"),
        }
        assert (shot.totals.active, shot.totals.queued, shot.totals.queued_sessions) == (2, 2, 3)
        assert shot.active_total == 2
        assert shot.providers[0].in_flight == 2


async def test_worst_first_then_what_ended_a_moment_ago(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 60})
    async with running(settings, clock=clock) as rig:

        async def by_prompt(up: Upstream) -> str:
            return await {
                "ends": in_turn(fails(ErrorKind.INVALID_REQUEST, "bad")),
                "backs": BOOM,
            }.get(up.prompt, held)(up)

        rig.p.script = by_prompt
        ended = await rig.submit("ends")
        await rig.ended(ended)
        backs = await rig.submit("backs")
        await rig.state(backs, State.RETRYING)
        streams, silent, waits = [await rig.submit(name) for name in ("streams", "silent", "waits")]
        await rig.calls(5)
        rig.p.of("silent").say("x")
        clock.now += 20
        rig.p.of("streams").say("y")
        shot = rig.engine.snapshot()
        assert [(v.request_id, v.phase) for v in shot.active] == [
            (silent, Phase.NO_TOKEN),
            (waits, Phase.FIRST_TOKEN),
            (backs, Phase.RETRYING),
            (streams, Phase.STREAMING),
            (ended, Phase.FAILED),
        ]
        assert shot.active[2].why == "backoff 40 s (provider_error)"
        assert shot.active[4].why == "invalid_request: bad"
        assert (shot.totals.failed_new, shot.totals.retrying) == (1, 1)
        clock.now += 700
        assert ended not in [v.request_id for v in rig.engine.snapshot().active]


async def test_a_window_shows_a_part_and_counts_the_whole(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        engine={"max_concurrency": 5},
        providers=[provider("p", circuit={"fail_max": 100})],
        retry={"initial_delay_s": 600, "max_delay_s": 600},
    )
    async with running(settings, scripts={"p": BOOM}) as rig:
        ids = [await rig.submit(f"{number}") for number in range(8)]
        for request_id in ids:
            await rig.state(request_id, State.RETRYING)
        rig.p.script = held
        runs = [await rig.submit(f"runs {number}") for number in range(5)]
        await rig.calls(13)
        for number in range(7):
            await rig.submit(f"waits {number}")
        shot = rig.engine.snapshot(SnapshotQuery(active_limit=3, queue_limit=2))
        assert (len(shot.active), shot.active_total) == (3, 13)
        assert (len(shot.queues), shot.queues_total) == (2, 15)
        rest = rig.engine.snapshot(SnapshotQuery(active_offset=3, active_limit=100))
        assert len(rest.active) == 10
        everything = {v.request_id for v in (*shot.active, *rest.active)}
        assert everything == {*ids, *runs}


async def test_one_request_live_with_its_text(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit()
        (up,) = await rig.calls(1)
        query = SnapshotQuery(request_id=request_id)
        for piece in ("one ", "two ", "three"):
            up.say(piece)
        live = rig.engine.snapshot(query).live
        assert live is not None
        assert (live.text, live.text_length, live.tokens) == ("one two three", 13, 3)
        assert live.if_nobody_acts is not None
        up.go.set()
        await rig.ended(request_id)
        assert rig.engine.snapshot(query).live is None
        assert rig.engine.snapshot(SnapshotQuery(request_id="none")).live is None


async def test_locks_with_their_waiters_and_what_the_holder_does(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        runs = await rig.submit(
            "1", session_id="s", agent_id="a1", conversation_lock={"timeout_s": 60}
        )
        await rig.calls(1)
        await rig.submit("2", session_id="s", agent_id="a2")
        await rig.submit("3", session_id="s", agent_id="a1")
        await rig.emit("conversation:acquire_lock", session_id="t", agent_id="a9", timeout_s=30)
        clock.now += 5
        soon, later = rig.engine.snapshot().locks
        assert (soon.session_id, soon.holder, soon.left_s, soon.doing) == ("t", "a9", 25.0, "")
        assert (later.session_id, later.waiting, later.doing) == ("s", 1, f"{runs} runs")
        assert (later.doing_phase, later.extended) == (Phase.FIRST_TOKEN, 0)


async def test_providers_and_the_verdict(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(
        tmp_path,
        providers=[
            provider("p", "m1", circuit={"fail_max": 1, "reset_timeout_s": 30}),
            provider("q", "n1"),
        ],
        retry={"max_attempts": 1},
    )
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(BOOM, held)
        rig.providers["q"].script = fails(ErrorKind.API_RATE_LIMIT, retry_after_s=50)
        await rig.ended(await rig.submit(model="n1"))
        shot = rig.engine.snapshot()
        assert (shot.verdict.level, shot.verdict.cause) == (Level.DEGRADED, "q cooling (429)")
        assert shot.providers[1].circuit is CircuitLook.COOLING
        await rig.ended(await rig.submit())
        clock.now += 8
        shot = rig.engine.snapshot()
        assert shot.verdict.level is Level.DEGRADED
        assert shot.verdict.cause == "p open 8 s (provider_error), probe in 22 s"
        sick = shot.providers[0]
        assert (sick.circuit, sick.since_s, sick.ok_rate) == (CircuitLook.OPEN, 8.0, 0.0)
        assert sick.now.startswith("probe in 22 s")
        assert sum(sick.per_minute) == 1
        await rig.submit("probe")
        rig.advance(23)
        await rig.calls(2)
        assert rig.engine.snapshot().providers[0].circuit is CircuitLook.HALF_OPEN


async def test_every_provider_down_is_down(tmp_path: Path) -> None:
    settings = config(
        tmp_path, providers=[provider("p", circuit={"fail_max": 1})], retry={"max_attempts": 1}
    )
    async with running(settings, scripts={"p": BOOM}) as rig:
        await rig.ended(await rig.submit())
        assert rig.engine.snapshot().verdict.level is Level.DOWN


async def test_a_provider_streams_at_a_rate_while_it_streams(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        await rig.submit()
        (up,) = await rig.calls(1)
        for _ in range(10):
            clock.now += 1
            up.say("x", 5)
        shot = rig.engine.snapshot()
        assert shot.totals.tokens_per_s > 4
        assert shot.providers[0].tokens_per_s > 4


async def test_an_ending_engine_says_so(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.submit()
        await rig.calls(1)
        ending = asyncio.create_task(rig.emit("system:shutdown", grace_s=60))
        await until(lambda: rig.core.draining)
        verdict = rig.engine.snapshot().verdict
        assert (verdict.level, verdict.cause) == (Level.STOPPING, "1 still run")
        rig.p.calls[0].go.set()
        await ending


async def test_tokens_of_today_with_the_waste(tmp_path: Path) -> None:
    prices = {"m1": {"input": 1.0, "output": 2.0}}
    async with running(config(tmp_path, prices=prices), scripts={"p": held}) as rig:
        done = await rig.submit("1")
        (up,) = await rig.calls(1)
        up.go.set()
        await rig.ended(done)
        wasted = await rig.submit("2")
        (await rig.calls(2))[1].say("thrown away", 3)
        await rig.emit("completion:cancel", request_id=wasted)
        await rig.settled()
        tokens = rig.engine.snapshot().tokens
        assert tokens is not None
        (row,) = tokens.rows
        assert row.provider == "p"
        assert (row.unpriced, row.estimated) == (0, True)
        assert tokens.waste_tokens > 0
        assert row.cost is not None
        assert row.cost > 13e-6
        assert rig.engine.snapshot().totals.cost_today == row.cost
    async with running(config(tmp_path, prices=prices)) as rig:
        again = rig.engine.snapshot().tokens
        assert again is not None
        assert again.rows[0].cost == row.cost
        assert again.waste_tokens == tokens.waste_tokens


async def test_failures_stand_before_other_ended_ones_and_are_not_pushed_out(
    tmp_path: Path,
) -> None:
    script = in_turn(fails(ErrorKind.INVALID_REQUEST), answers)
    async with running(config(tmp_path), scripts={"p": script}) as rig:
        failed = await rig.submit("fails")
        await rig.ended(failed)
        for _ in range(RECENT_ENDED + 1):
            await rig.ended(await rig.submit("answers"))
        shown = [row.request_id for row in rig.engine.snapshot().active]
        assert shown[0] == failed
        assert len(shown) == RECENT_ENDED + 1
