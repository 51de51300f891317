"""Attention: what needs somebody, worst first, and nothing that does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.lanes import Waiting
from ksi_tui.engine.models import State
from ksi_tui.engine.views import (
    AttentionKind,
    AttentionView,
    CircuitLook,
    Level,
    Phase,
    SnapshotQuery,
)
from tests.engine.engine_fixtures import (
    HandClock,
    Rig,
    config,
    fails,
    held,
    provider,
    running,
)

TWO = [
    provider("p", circuit={"fail_max": 1, "reset_timeout_s": 300}),
    provider("q", "m*", priority=2),
    provider("n", "n*", max_concurrency=1),
]


def rows(rig: Rig) -> list[AttentionView]:
    return list(rig.engine.snapshot().attention)


def told(rig: Rig) -> list[tuple[str, str]]:
    return [(row.what, row.state) for row in rows(rig)]


async def test_a_quiet_engine_needs_nobody(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        await rig.submit("runs", session_id="s")
        await rig.calls(1)
        await rig.submit("waits", session_id="s")
        clock.now += 9
        assert (rows(rig), rig.engine.snapshot().attention_total) == ([], 0)


async def test_an_open_circuit_with_what_it_hits_and_where_its_traffic_went(
    tmp_path: Path,
) -> None:
    clock = HandClock()
    settings = config(
        tmp_path,
        providers=TWO,
        prices={"m1": {"input": 1, "output": 1}, "x": {"input": 1, "output": 1}},
        retry={"max_attempts": 1},
    )
    async with running(settings, clock=clock) as rig:
        rig.p.script = fails(ErrorKind.TIMEOUT, "no first token in 30 s")
        await rig.ended(await rig.submit("opens it"))
        clock.now += 130
        done = [await rig.submit(f"{n}") for n in range(3)]
        await rig.ended(*done)
        await rig.emit("queue:pause", scope="provider", id="q", by="op2")
        await rig.submit("waits", session_id="s")
        (row, *_) = rows(rig)
        assert (row.kind, row.what, row.state, row.look) == (
            AttentionKind.CIRCUIT,
            "p",
            "open",
            CircuitLook.OPEN,
        )
        assert (row.for_s, row.hits, row.provider, row.action) == (130, "1 req", "p", "open")
        assert "no first token in 30 s" in row.why
        shot = rig.engine.snapshot()
        assert shot.verdict.level is Level.DEGRADED
        assert shot.verdict.cause == (
            "p open 2m10s (timeout): 80% of it moved to q, 20% waits, probe in 3 min; "
            "q paused by op2"
        )
        assert shot.verdict.short == "p open 2m10s, 20% waits, probe in 3 min; q paused by op2"
        assert next(each for each in shot.providers if each.name == "q").paused
        await rig.emit("queue:resume", scope="provider", id="q")
        assert next(p for p in rig.engine.snapshot().providers if p.name == "q").now.startswith(
            "takes "
        )


async def test_what_moving_costs_more_an_hour(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(
        tmp_path,
        providers=[
            provider("p", circuit={"fail_max": 1, "reset_timeout_s": 3000}),
            provider("q", "m*", "big", model="big", priority=2),
        ],
        prices={"m1": {"input": 1, "output": 1}, "big": {"input": 101, "output": 101}},
        retry={"max_attempts": 1},
    )
    async with running(settings, clock=clock) as rig:
        rig.p.script = fails(ErrorKind.PROVIDER_ERROR, "down")
        first = await rig.submit("opens it")
        await rig.ended(first)
        for number in range(60):
            await rig.ended(await rig.submit(f"{number}"))
        clock.now += 360
        # A call is 10 tokens: 100 dollars a million more, 61 calls with the first, in 0.1 h.
        cause = rig.engine.snapshot().verdict.cause
        assert re.search(r"100% of it moved to q, \+\$0\.6\d/h, probe in", cause), cause


async def test_a_forced_circuit_and_a_cooling_one(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, providers=TWO, retry={"max_attempts": 1})
    async with running(settings, clock=clock) as rig:
        rig.providers["n"].script = fails(ErrorKind.API_RATE_LIMIT, "slow", retry_after_s=50)
        await rig.ended(await rig.submit("x", model="n1"))
        await rig.emit("provider:open", provider="p", by="op1", reason="deploy", for_s=1800)
        clock.now += 8
        found = {row.what: row for row in rows(rig)}
        assert found["p"].state == "forced"
        assert found["p"].why == "forced open by op1 until 08:30 (30 min left): deploy"
        assert (found["n"].state, found["n"].look) == ("cooling", CircuitLook.COOLING)
        assert (found["n"].why, found["n"].for_s) == ("429 for n1: called again in 42 s", 8)
        order = [row.what for row in rows(rig)]
        assert order.index("p") < order.index("n")


async def test_a_silent_stream_says_since_when_and_what_was_usual(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        request_id = await rig.submit("x", session_id="globex-7")
        (up,) = await rig.calls(1)
        up.say("a")
        clock.now += 1
        up.say("b", 5)
        await rig.submit("y", session_id="globex-7")
        clock.now += 9.5
        assert rows(rig) == []
        clock.now += 10
        (row,) = rows(rig)
        assert (row.kind, row.what, row.state, row.look) == (
            AttentionKind.NO_TOKEN,
            request_id,
            "no token",
            Phase.NO_TOKEN,
        )
        assert row.why == "p silent since 08:00:01, usual gap 0.2 s"
        assert (row.for_s, row.hits, row.action) == (19.5, "2 req in globex-7", "elsewhere")
        up.say("c")
        clock.now += 1
        assert rows(rig) == []


async def test_a_first_token_that_takes_longer_than_usual(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        await rig.submit("x")
        (up,) = await rig.calls(1)
        clock.now += 6
        up.say("first")
        up.go.set()
        await rig.settled()
        slow = await rig.submit("y")
        await rig.calls(2)
        clock.now += 17
        assert rows(rig) == []
        clock.now += 2
        assert [(r.what, r.state) for r in rows(rig)] == [(slow, "first token")]
        assert rows(rig)[0].why.endswith("usual 6.0 s")


async def test_a_wait_for_a_lock_over_three_times_the_usual(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        for _ in range(3):  # usually a request of this model waits 20 s
            await rig.emit("queue:pause", scope="session", id="u")
            request_id = await rig.submit("x", session_id="u")
            clock.now += 20
            await rig.emit("queue:resume", scope="session", id="u")
            await rig.ended(request_id)
        await rig.emit(
            "conversation:acquire_lock", session_id="acme-42", agent_id="a7", timeout_s=600
        )
        head = await rig.submit("1", session_id="acme-42", agent_id="a3")
        await rig.submit("2", session_id="acme-42", agent_id="a3")
        clock.now += 59
        assert rows(rig) == []
        clock.now += 2
        (row,) = rows(rig)
        assert (row.kind, row.what, row.state) == (AttentionKind.WAIT, "acme-42", "waiting")
        assert (row.for_s, row.hits, row.action, row.request_id) == (61, "2 req", "why", head)
        assert row.why == "lock held by a7, 9 min left"


async def test_all_that_waits_for_one_slot_is_one_row(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, providers=TWO)
    async with running(settings, clock=clock, scripts={"n": held}) as rig:
        await rig.submit("runs", model="n1")
        (up,) = await rig.calls(1, "n")
        oldest = await rig.submit("0", model="n1", session_id="first")
        clock.now += 1
        for number in range(20):
            await rig.submit("x", model="n1", session_id=f"s{number % 4}")
        clock.now += 31
        up.say("on and on")
        (row,) = rows(rig)
        assert (row.what, row.request_id, row.hits) == ("first", oldest, "21 req, 5 sessions")
        assert row.why == "n at 1 of 1"


async def test_new_failures_by_kind_pauses_and_locks_extended_often(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"max_attempts": 1})
    async with running(settings, clock=clock) as rig:
        rig.p.script = fails(ErrorKind.INVALID_REQUEST, "bad")
        failed = [await rig.submit(f"{n}", session_id=f"f{n}") for n in range(3)]
        await rig.ended(*failed)
        await rig.emit("queue:pause", scope="session", id="nightly", by="op2", reason="budget")
        await rig.submit("x", session_id="nightly")
        for _ in range(4):
            await rig.emit("conversation:acquire_lock", session_id="l", agent_id="a1")
        clock.now += 40
        assert told(rig) == [(failed[-1], "failed"), ("nightly", "paused"), ("l", "locked")]
        failure, pause, lock = rows(rig)
        assert (failure.why, failure.hits, failure.action) == (
            "invalid_request: bad",
            "3 req",
            "failed",
        )
        assert (pause.why, pause.hits, pause.action, pause.action_label) == (
            "by op2: budget",
            "1 req",
            "pause",
            "resume",
        )
        assert lock.why == "held by a1, 4 min left, extended 3x"
        rig.advance(700)
        await rig.event("conversation:unlocked")
        assert told(rig) == [("nightly", "paused")]


async def test_a_backoff_that_lasts_longer_than_answers_do(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 600, "max_delay_s": 600})
    async with running(settings, clock=clock) as rig:
        rig.p.script = fails(ErrorKind.NETWORK_ERROR, "cut")
        request_id = await rig.submit("x", session_id="s")
        await rig.state(request_id, State.RETRYING)
        clock.now += 31
        (row,) = rows(rig)
        assert (row.what, row.state, row.look) == ("s", "retrying", Phase.RETRYING)
        assert row.why.startswith("backoff 9 min")


async def test_a_lost_worker_and_a_store_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        rig.core.providers.workers.lost("killed by signal 9", clock.now)
        clock.now += 3
        (row,) = rows(rig)
        assert (row.kind, row.state, row.for_s) == (AttentionKind.WORKER, "lost", 3)
        assert row.why == "killed by signal 9; a new one takes calls"
        with monkeypatch.context() as patch:
            patch.setattr(type(rig.core.store), "fault", "the disk is full")
            assert next((r.kind, r.why) for r in rows(rig)) == (
                AttentionKind.FAULT,
                "the disk is full",
            )
        clock.now += 601
        assert rows(rig) == []


async def test_worst_first_and_no_more_than_asked_for(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        for number in range(30):
            await rig.emit("queue:pause", scope="session", id=f"s{number}")
        await rig.emit("provider:open", provider="p")
        shot = rig.engine.snapshot(SnapshotQuery(attention_limit=4))
        assert (len(shot.attention), shot.attention_total) == (4, 31)
        assert shot.attention[0].what == "p"
        assert len({row.key for row in rig.engine.snapshot().attention}) == 20


async def test_a_big_engine_is_looked_at_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()
    settings = config(tmp_path, providers=TWO)
    async with running(settings, clock=clock, scripts={"n": held}) as rig:
        items = [{"prompt": "x", "session_id": f"s{n}", "model": "n1"} for n in range(300)]
        await rig.emit("completion:batch", requests=items)
        await rig.calls(1, "n")
        asked: list[int] = []
        real = rig.core.queue.lines

        def lines(limit: int) -> Iterator[Waiting]:
            asked.append(limit)
            return real(limit)

        monkeypatch.setattr(rig.core.queue, "lines", lines)
        for _ in range(10):
            clock.now += 0.09
            rig.engine.snapshot()
        assert len(asked) == 1
        clock.now += 1
        rig.engine.snapshot()
        assert len(asked) == 2
