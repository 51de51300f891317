"""The door of the engine: it answers everything, starts, ends, and tells what happens."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.events import LOST, SNAPSHOT
from ksi_tui.engine.models import State
from ksi_tui.engine.views import Level
from tests.engine.engine_fixtures import Rig, config, held, running, until

# --- emit answers, whatever it is given ----------------------------------------------------


@pytest.mark.parametrize("name", [None, 3, "", [], {}, b"completion:async", "completion:asynk"])
async def test_an_unknown_event_is_answered_with_the_known_ones(tmp_path: Path, name: Any) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.engine.emit(name, {})
        assert reply["code"] == "invalid_request"
        assert "completion:async" in reply["error"]


@pytest.mark.parametrize("data", [[], "text", 3, {"prompt": 1}, {1: 2}, {"promt": "x"}])
async def test_data_of_the_wrong_kind_is_refused_by_every_event(tmp_path: Path, data: Any) -> None:
    async with running(config(tmp_path)) as rig:
        for name in rig.engine._router.names:
            if not name.startswith("system:"):
                reply = await rig.engine.emit(name, data)
                assert reply["code"] == "invalid_request", (name, reply)
                assert isinstance(reply["error"], str)


async def test_what_cannot_be_kept_is_refused_and_harms_nobody_else(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        odd, good = await asyncio.gather(
            rig.emit("completion:async", prompt="odd", metadata={"x": object()}),
            rig.emit("completion:async", prompt="good"),
        )
        assert odd["code"] == "invalid_request"
        await rig.ended(good["request_id"])
        await rig.settled()
        assert rig.core.store.fault is None


async def test_a_model_that_nobody_serves_is_refused_at_once(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.emit("completion:async", prompt="p", model="unheard-of")
        assert reply["code"] == "no_provider"
        assert "m*" in reply["error"]
        assert rig.core.counts[State.QUEUED] == 0


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("completion:request_status", {"request_id": "none"}),
        ("completion:cancel", {"request_id": "none"}),
        ("completion:retry", {"request_id": "none"}),
        ("completion:retry", {"session_id": "none"}),
        ("completion:provider_status", {"provider": "none"}),
    ],
)
async def test_what_does_not_exist_is_not_found(
    tmp_path: Path, name: str, data: dict[str, Any]
) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.engine.emit(name, data)
        assert reply["code"] == "not_found"
        assert "none" in reply["error"]


# --- start and end -------------------------------------------------------------------------


async def test_before_and_after_its_life_it_is_not_ready(tmp_path: Path) -> None:
    engine = CompletionEngine(config(tmp_path))
    submit = {"prompt": "p"}
    for name in ("completion:async", "completion:status", "system:context", "system:ready"):
        reply = await engine.emit(name, submit)
        assert (reply["code"], reply["error"]) == ("not_ready", "the engine has not started")
    assert engine.snapshot().verdict.level is Level.STARTING
    async with engine:
        assert "code" not in await engine.emit("completion:async", submit)
    for name in ("completion:async", "completion:status", "system:startup", "system:ready"):
        reply = await engine.emit(name, submit)
        assert (reply["code"], reply["error"]) == ("not_ready", "the engine has ended")
    assert engine.snapshot().verdict.level is Level.STOPPING


async def test_the_hosts_events_are_answered_and_harmless_when_repeated(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        for _ in range(2):
            started = await rig.emit("system:startup", anything="goes")
            assert started["status"] == "completion_service_ready"
            assert started["version"]
            assert "code" not in await rig.emit("system:context", emit_event=None)
            ready = await rig.emit("system:ready")
            assert ready["service"] == "completion_service"
            assert [task["name"] for task in ready["tasks"]] == ["service_manager"]
        ended = await rig.emit("system:shutdown")
        again = await rig.emit("system:shutdown")
        assert ended == again
        assert ended["status"] == "shutdown"


async def test_a_host_may_begin_it_without_entering(tmp_path: Path) -> None:
    engine = CompletionEngine(config(tmp_path))
    assert (await engine.emit("system:shutdown"))["code"] == "not_ready"
    assert (await engine.emit("system:startup"))["status"] == "completion_service_ready"
    assert (await engine.emit("completion:status"))["service_ready"] is True
    assert (await engine.emit("system:shutdown", {"grace_s": 0}))["interrupted"] == 0


async def test_shutdown_drains_what_runs_and_takes_no_more(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"max_concurrency": 1})
    async with running(settings, scripts={"p": held}) as rig:
        first = await rig.submit("first", session_id="s")
        second = await rig.submit("second", session_id="s")
        (up,) = await rig.calls(1)
        other = await rig.submit("other")
        ending = asyncio.create_task(rig.emit("system:shutdown", grace_s=60))
        await until(lambda: rig.core.draining)
        refused = await rig.emit("completion:async", prompt="late")
        assert refused["code"] == "not_ready"
        assert await rig.why(second) == f"behind {first} in its session"
        assert await rig.why(other) == "the engine is ending; goes on at its next start"
        up.go.set()
        reply = await ending
        assert reply["interrupted"] == 0
        assert reply["status_counts"]["completed"] == 1
        assert reply["status_counts"]["queued"] == 2
        assert rig.events("completion:result", first)
        assert len(rig.p.calls) == 1
        assert rig.p.closed


async def test_shutdown_interrupts_what_outlasts_the_grace(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.submit()
        (up,) = await rig.calls(1)
        reply = await rig.emit("system:shutdown", grace_s=0)
        assert reply["interrupted"] == 1
        assert reply["status_counts"]["queued"] == 1
        assert up.cancelled


async def test_whoever_asks_for_the_end_may_give_up_waiting(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.submit()
        await rig.calls(1)
        asked = asyncio.create_task(rig.emit("system:shutdown", grace_s=3600))
        await until(lambda: rig.core.draining)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        reply = await rig.emit("system:shutdown", grace_s=0)
        assert reply["interrupted"] == 1


async def test_no_task_is_left_after_the_end(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        for number in range(5):
            await rig.submit(f"{number}")
        await rig.calls(5)
    assert asyncio.all_tasks() == before


async def test_a_provider_that_fails_to_close_does_not_keep_the_database(tmp_path: Path) -> None:
    class Stubborn(Exception):
        pass

    async def refuse() -> None:
        raise Stubborn

    rig = Rig(config(tmp_path), None)
    rig.p.aclose = refuse  # type: ignore[method-assign]
    await rig.engine.emit("system:startup")
    assert "code" in await rig.engine.emit("system:shutdown")
    async with running(config(tmp_path)) as second:
        await second.ended(await second.submit())


# --- subscriptions -------------------------------------------------------------------------


async def test_a_subscription_begins_with_a_snapshot(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.submit()
        await rig.calls(1)
        async with rig.engine.subscribe("completion:*") as subscription:
            first = await anext(aiter(subscription))
            assert first.name == SNAPSHOT
            assert first.data["ready"] is True
            assert first.data["status_counts"]["processing"] == 1
            rig.p.calls[0].go.set()
            async with asyncio.timeout(10):
                names = [(await anext(aiter(subscription))).name]
            assert names == ["completion:result"]


async def test_numbers_of_events_rise_by_one_and_patterns_filter(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        results = rig.engine.subscribe("completion:result")
        for number in range(3):
            await rig.ended(await rig.submit(f"{number}"))
        numbers = [event.seq for event in rig.seen[1:]]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert [e.name for e in results.drain()] == [SNAPSHOT] + ["completion:result"] * 3


async def test_a_slow_subscriber_is_told_how_many_it_lost_and_slows_nobody(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        slow = rig.engine.subscribe("flood:*")
        for number in range(10_050):
            rig.core.publish("flood:drop", {"number": number})
        await rig.ended(await rig.submit())
        events = slow.drain()
        assert events[0].name == LOST
        # The snapshot and fifty drops had to make room.
        assert events[0].data["lost"] == 51
        assert events[1].data["number"] == 50
        assert events[-1].data["number"] == 10_049


async def test_the_end_of_the_engine_ends_every_subscription(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        subscription = rig.engine.subscribe("*")
        await rig.emit("system:shutdown")
        async with asyncio.timeout(10):
            rest = [event.name async for event in subscription]
        assert rest == [SNAPSHOT]


# --- what a request tells as it goes -------------------------------------------------------


async def test_the_events_of_a_streamed_request_in_their_order(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit(session_id="s", agent_id="a")
        (up,) = await rig.calls(1)
        up.say("re:", 2)
        up.say(" hello", 1)
        up.go.set()
        await rig.ended(request_id)
        told = [e for e in rig.seen if e.data.get("request_id") == request_id]
        assert [(e.name, e.data.get("status")) for e in told] == [
            ("completion:queued", None),
            ("completion:progress", "calling_provider"),
            ("completion:progress", "first_token"),
            ("completion:progress", "streaming"),
            ("completion:result", None),
        ]
        assert all(e.data["session_id"] == "s" for e in told)
        progress = told[1].data
        assert (progress["provider"], progress["attempt"]) == ("p", 1)


async def test_high_usage_is_told_with_the_threshold(tmp_path: Path) -> None:
    async with running(config(tmp_path, engine={"high_usage_tokens": 9})) as rig:
        request_id = await rig.submit(agent_id="a")
        told = await rig.event("tokens:high_usage", request_id)
        assert (told["total_tokens"], told["threshold"], told["agent_id"]) == (10, 9, "a")
    async with running(config(tmp_path, engine={"high_usage_tokens": 10})) as rig:
        await rig.ended(await rig.submit())
        assert rig.events("tokens:high_usage") == []


async def test_a_final_state_is_on_disk_before_its_event_goes_out(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        async with rig.engine.subscribe("completion:result") as results, asyncio.timeout(10):
            assert (await anext(results)).name == SNAPSHOT
            ids = [await rig.submit(f"{number}") for number in range(10)]
            told: dict[str, str] = {}
            while len(told) < len(ids):
                request_id = (await anext(results)).data["request_id"]
                told |= await rig.core.store.states([request_id])
        assert told == dict.fromkeys(ids, "completed")


async def test_two_starts_at_once_are_one(tmp_path: Path) -> None:
    engine = CompletionEngine(config(tmp_path))
    replies = await asyncio.gather(*(engine.emit("system:startup") for _ in range(3)))
    assert [reply.get("status") for reply in replies] == ["completion_service_ready"] * 3
    async with engine:
        assert engine.snapshot().verdict.level is Level.OK


async def test_a_start_that_is_given_up_leaves_the_next_one_free(tmp_path: Path) -> None:
    engine = CompletionEngine(config(tmp_path))
    given_up = asyncio.create_task(engine.emit("system:startup"))
    waits = asyncio.create_task(engine.emit("system:startup"))
    await asyncio.sleep(0)
    given_up.cancel()
    assert (await waits)["status"] == "completion_service_ready"
    with pytest.raises(asyncio.CancelledError):
        await given_up
    await engine.emit("system:shutdown")


async def test_a_shutdown_while_it_starts_ends_it(tmp_path: Path) -> None:
    engine = CompletionEngine(config(tmp_path))
    starts = asyncio.create_task(engine.emit("system:startup"))
    await asyncio.sleep(0)
    assert (await engine.emit("system:shutdown"))["status"] == "shutdown"
    assert (await starts)["status"] == "completion_service_ready"
    assert (await engine.emit("completion:status"))["code"] == "not_ready"
