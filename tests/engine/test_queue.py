"""Order, concurrency, fairness: through the whole engine."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from tests.engine.engine_fixtures import (
    HandClock,
    Upstream,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
    until,
)


async def test_one_session_runs_one_at_a_time_by_priority_and_arrival(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.submit("first", session_id="s")
        await rig.calls(1)
        for prompt, priority in (
            ("n1", "normal"),
            ("bg", "background"),
            ("low", "low"),
            ("n2", "normal"),
            ("high", "high"),
            ("crit", "critical"),
        ):
            await rig.submit(prompt, session_id="s", priority=priority)
        await rig.emit("completion:inject", prompt="inj", session_id="s")
        for number in range(1, 9):
            (await rig.calls(number))[-1].go.set()
        await rig.settled()
        assert rig.p.prompts == ["first", "crit", "high", "inj", "n1", "n2", "low", "bg"]
        assert rig.p.most_open == 1


async def test_a_request_in_backoff_keeps_its_place_at_the_head(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 10})
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(fails(ErrorKind.NETWORK_ERROR), held)
        first = await rig.submit("first", session_id="s", priority="low")
        await rig.state(first, State.RETRYING)
        urgent = await rig.submit("urgent", session_id="s", priority="critical")
        assert await rig.why(urgent) == f"behind {first} in its session"
        rig.advance(9.9)
        elsewhere = await rig.submit("elsewhere", session_id="other")
        (await rig.calls(2))[1].go.set()
        await rig.ended(elsewhere)
        assert rig.p.prompts == ["first", "elsewhere"]
        rig.advance(0.2)
        (await rig.calls(3))[2].go.set()
        (await rig.calls(4))[3].go.set()
        await rig.ended(first, urgent)
        assert rig.p.prompts[2:] == ["first", "urgent"]


async def test_sessions_run_side_by_side_up_to_the_engines_limit(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"max_concurrency": 4})
    async with running(settings, scripts={"p": held}) as rig:
        ids = [await rig.submit(f"{number}", session_id=f"s{number}") for number in range(10)]
        await rig.calls(4)
        assert await rig.why(ids[9]) == "engine at 4 of 4"
        assert rig.ticket(ids[9]).state is State.QUEUED
        for number in range(10):
            assert rig.core.queue.running_count <= 4
            (await rig.calls(number + 1))[number].go.set()
        await rig.settled()
        assert rig.p.most_open == 4
        assert rig.p.prompts == [str(number) for number in range(10)]


async def test_the_more_urgent_session_gets_the_next_slot(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"max_concurrency": 1})
    async with running(settings, scripts={"p": held}) as rig:
        await rig.submit("runs")
        (up,) = await rig.calls(1)
        await rig.submit("normal")
        await rig.submit("low", priority="low")
        await rig.submit("critical", priority="critical")
        up.go.set()
        for number in (2, 3, 4):
            (await rig.calls(number))[-1].go.set()
        assert rig.p.prompts == ["runs", "critical", "normal", "low"]


async def test_waiting_raises_a_request_above_fresher_ones(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, engine={"max_concurrency": 1})
    async with running(settings, clock=clock, scripts={"p": held}) as rig:
        await rig.submit("runs")
        (up,) = await rig.calls(1)
        await rig.submit("old", priority="background")
        clock.now += 181
        await rig.submit("fresh", priority="normal")
        up.go.set()
        assert (await rig.calls(2))[1].prompt == "old"


async def test_a_providers_limit_is_exact_under_load(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        engine={"max_concurrency": 32},
        providers=[provider("p", max_concurrency=3), provider("q", max_concurrency=2)],
    )
    async with running(settings, scripts={"p": held, "q": held}) as rig:
        p, q = rig.p, rig.providers["q"]
        items = [{"prompt": f"{number}"} for number in range(50)]
        await rig.emit("completion:batch", requests=items)

        def unanswered() -> list[Upstream]:
            return [up for up in (*p.calls, *q.calls) if not up.go.is_set()]

        for left in range(50, 0, -1):
            await until(partial(lambda left: len(unanswered()) == min(5, left), left))
            unanswered()[0].go.set()
        await rig.settled()
        assert len(rig.events("completion:result")) == 50
        assert (p.most_open, q.most_open) == (3, 2)
        assert len(p.calls) + len(q.calls) == 50


async def test_what_waits_for_a_slot_is_queued_says_so_and_holds_none(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        engine={"max_concurrency": 2},
        providers=[provider("p", "m1", max_concurrency=1), provider("q", "n1")],
    )
    async with running(settings, scripts={"p": held, "q": held}) as rig:
        first = await rig.submit("first")
        await rig.calls(1)
        second = await rig.submit("second")
        other = await rig.submit("other", model="n1")
        await rig.calls(1, "q")
        status = await rig.status(second)
        assert (status["status"], status["cause"]["kind"]) == ("queued", "slot")
        assert status["why"] == "p at 1 of 1"
        assert status["cause"]["target"] == "p"
        assert rig.core.queue.running_count == 2
        rig.p.calls[0].go.set()
        await rig.ended(first)
        (await rig.calls(2))[1].go.set()
        rig.providers["q"].calls[0].go.set()
        await rig.ended(second, other)


async def test_a_busy_model_holds_up_no_other_model(tmp_path: Path) -> None:
    settings = config(
        tmp_path, providers=[provider("p", "m1", max_concurrency=1), provider("q", "n1")]
    )
    async with running(settings, scripts={"p": held}) as rig:
        for number in range(5):
            await rig.submit(f"{number}")
        await rig.ended(await rig.submit("quick", model="n1", priority="background"))
        assert len(rig.p.calls) == 1


async def test_the_last_queued_of_a_session_starts_when_the_one_before_is_on_disk(
    tmp_path: Path,
) -> None:
    async with running(config(tmp_path)) as rig:
        ids = [await rig.submit(f"{number}", session_id="s") for number in range(20)]
        await rig.ended(*ids)
        finished = [e.data["request_id"] for e in rig.seen if e.name == "completion:result"]
        assert finished == ids
        assert rig.p.most_open == 1


async def test_the_end_of_a_load_leaves_nothing_behind(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        engine={"max_concurrency": 8},
        providers=[provider("p", max_concurrency=5)],
        retry={"max_attempts": 2},
    )

    async def mixed(up: Upstream) -> str:
        await asyncio.sleep(0)
        number = int(up.prompt)
        if number % 3 == 0:
            await fails(ErrorKind.INVALID_REQUEST)(up)
        if number % 5 == 0:
            up.say("partial")
            await up.go.wait()
        return up.prompt

    async with running(settings, scripts={"p": mixed}) as rig:
        ids = [
            await rig.submit(
                f"{number}",
                session_id=f"s{number % 17}",
                agent_id=f"a{number % 4}",
                conversation_lock={"timeout_s": 60} if number % 2 else None,
            )
            for number in range(1, 121)
        ]
        for session in range(17):
            await rig.emit("completion:cancel", session_id=f"s{session}")
            await rig.emit("conversation:release_lock", session_id=f"s{session}", force=True)
        await rig.ended(*ids)
        await rig.settled()
        assert sum(rig.core.counts.values()) == 120
        assert dict(rig.core.counts) == dict(await rig.core.store.counts())
        assert len(rig.core.locks) == 0
        assert rig.core.alarms.next_at() is None
        await until(lambda: len(asyncio.all_tasks()) <= 6, "the tasks of the load end")
