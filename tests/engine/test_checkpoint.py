"""A checkpoint is everything unfinished, as plain JSON; restored, it goes on as it was."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.config import Config
from ksi_tui.engine.checkpoint_payloads import data_of
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.injection.policy import ChainBounds, InjectionTerms, InjectMode, Position
from ksi_tui.engine.models import LockTerms, OnConflict, Priority, RequestSpec, State
from ksi_tui.engine.payloads import Completion
from tests.engine.engine_fixtures import (
    HandClock,
    Rig,
    answers,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
    until,
)


def elsewhere(folder: Path, **settings: Any) -> Config:
    """Return settings for another, empty database."""
    (folder / "other").mkdir()
    return config(folder / "other", **settings)


async def collected(rig: Rig) -> dict[str, Any]:
    """Return a checkpoint as it comes back from a file."""
    reply = await rig.emit("checkpoint:collect")
    assert "code" not in reply, reply
    return json.loads(json.dumps(reply))  # type: ignore[no-any-return]


async def restored(rig: Rig, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Restore a checkpoint, which must be accepted; returns the reply."""
    reply = await rig.engine.emit("checkpoint:restore", checkpoint)
    assert "code" not in reply, reply
    return reply


# --- round trips -----------------------------------------------------------------------------


async def test_it_goes_on_in_its_order_with_what_ran_first(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        first = await rig.submit("first", session_id="s", agent_id="a", client_id="c")
        await rig.submit("second", session_id="s", priority="low")
        await rig.submit("third", session_id="s", temperature=0.5, metadata={"k": [1]})
        await rig.emit("completion:inject", prompt="injected", session_id="s")
        (up,) = await rig.calls(1)
        up.say("half of it")
        checkpoint = await collected(rig)
    assert [i["data"]["prompt"] for i in checkpoint["session_queues"]["s"]["items"]] == [
        "first",
        "injected",
        "third",
        "second",
    ]
    assert checkpoint["session_queues"]["s"]["is_active"] is True
    assert checkpoint["active_completions"] == {
        first: {"session_id": "s", "provider": "p", "model": "m1", "text": "half of it"}
    }
    async with running(elsewhere(tmp_path)) as rig:
        reply = await restored(rig, checkpoint)
        assert reply["restored"] == 4
        assert reply["skipped"] == []
        await rig.settled()
        assert rig.p.prompts == ["first", "injected", "third", "second"]
        report = await rig.status(first)
        assert (report["interruptions"], report["attempts_spent"]) == (1, 1)
        assert (report["agent_id"], report["client_id"]) == ("a", "c")


async def test_attempts_backoff_and_detours_come_along(tmp_path: Path) -> None:
    clock = HandClock()
    both = [provider("p"), provider("q", priority=2)]
    settings: dict[str, Any] = {
        "retry": {"initial_delay_s": 30, "multiplier": 1, "max_attempts": 3},
        "providers": both,
    }
    script = {"p": fails(ErrorKind.TIMEOUT), "q": fails(ErrorKind.TIMEOUT)}
    async with running(config(tmp_path, **settings), clock=clock, scripts=script) as rig:
        request_id = await rig.submit("x", session_id="s", timeout_s=500)
        await rig.calls(1, "q")
        await rig.state(request_id, State.RETRYING)
        await rig.emit("completion:retry", request_id=request_id, avoid=["p"])
        await rig.calls(2, "q")
        await rig.state(request_id, State.RETRYING)
        checkpoint = await collected(rig)
    async with running(elsewhere(tmp_path, **settings), clock=clock) as rig:
        await restored(rig, checkpoint)
        report = await rig.status(request_id)
        assert report["status"] == "retrying"
        assert report["why"] == "backoff 30 s (timeout)"
        assert rig.p.calls == rig.providers["q"].calls == []
        rig.advance(31)
        await rig.ended(request_id)
        assert (len(rig.p.calls), len(rig.providers["q"].calls)) == (0, 1)


async def test_the_conversation_goes_on_where_it_was(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": in_turn(answers, held)}) as rig:
        await rig.ended(await rig.submit("one", session_id="s", agent_id="a1"))
        await rig.submit("two", session_id="s", agent_id="a2")
        await rig.calls(2)
        checkpoint = await collected(rig)
    async with running(elsewhere(tmp_path)) as rig:
        await restored(rig, checkpoint)
        await rig.settled()
        assert [m["content"] for m in rig.p.of("two").spec.history] == ["one", "re: one"]
        reply = await rig.emit("completion:session_status", session_id="s")
        assert reply["session"]["agents"] == ["a1", "a2"]


async def test_locks_and_circuits_stay_as_they_were(tmp_path: Path) -> None:
    clock = HandClock()
    settings: dict[str, Any] = {
        "providers": [provider("p"), provider("sick", "x")],
        "circuit": {"fail_max": 1, "reset_timeout_s": 100},
        "retry": {"max_attempts": 1},
    }
    down = {"sick": fails(ErrorKind.PROVIDER_ERROR)}
    async with running(config(tmp_path, **settings), clock=clock, scripts=down) as rig:
        await rig.ended(await rig.submit("opens it", model="x"))
        await rig.emit("conversation:acquire_lock", session_id="s", agent_id="a7", timeout_s=60)
        locked = await rig.submit("locked out", session_id="s", agent_id="a1")
        waits = await rig.submit("waits for the probe", model="x")
        checkpoint = await collected(rig)
    clock.now += 20
    async with running(elsewhere(tmp_path, **settings), clock=clock) as rig:
        reply = await restored(rig, checkpoint)
        more = reply["details"]["restored"]
        assert (more["locks"], more["circuits"]) == (1, 1)
        assert await rig.why(locked) == "lock held by a7, 40 s left"
        assert await rig.why(waits) == "sick open, probe in 80 s"
        rig.advance(41)
        await rig.ended(locked)
        rig.advance(41)
        await rig.ended(waits)


# --- what is there already wins --------------------------------------------------------------


async def test_what_is_here_already_is_skipped_and_named(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        mine = await rig.submit("mine", session_id="s")
        await rig.emit("conversation:acquire_lock", session_id="t", agent_id="a")
        await rig.calls(1)
        checkpoint = await collected(rig)
        reply = await restored(rig, checkpoint)
        assert set(reply["details"]["restored"].values()) == {0}
        assert reply["restored"] == 0
        named = [next(iter(each.values())) for each in reply["details"]["skipped"]]
        assert set(reply["skipped"]) < set(named)
        assert sorted(named) == sorted([mine, "s", "t", "t"])
        rig.p.calls[0].go.set()
        await rig.ended(mine)
        again = await restored(rig, checkpoint)
        assert {"request_id": mine} == {
            key: value
            for each in again["details"]["skipped"]
            for key, value in each.items()
            if value == mine
        }
        await rig.settled()
        assert len(rig.p.calls) == 1


async def test_two_restores_at_once_take_each_request_once(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        for number in range(20):
            await rig.submit(f"n{number}", session_id=f"s{number % 4}")
        checkpoint = await collected(rig)
    async with running(elsewhere(tmp_path)) as rig:
        replies = await asyncio.gather(restored(rig, checkpoint), restored(rig, checkpoint))
        assert sum(reply["restored"] for reply in replies) == 20
        await rig.settled()
        assert sorted(rig.p.prompts) == sorted(f"n{number}" for number in range(20))
        assert rig.core.counts[State.COMPLETED] == 20


async def test_generated_ids_go_on_above_the_restored_ones(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        taken = [await rig.submit(f"n{number}") for number in range(5)]
        checkpoint = await collected(rig)
    async with running(elsewhere(tmp_path)) as rig:
        await restored(rig, checkpoint)
        assert await rig.submit("new") not in taken


async def test_the_older_form_without_state_is_taken_as_new(tmp_path: Path) -> None:
    items = [{"request_id": f"old-{n}", "data": {"prompt": f"p{n}"}} for n in range(3)]
    async with running(config(tmp_path)) as rig:
        await restored(rig, {"session_queues": {"s": {"items": items, "is_active": False}}})
        await rig.settled()
        assert rig.p.prompts == ["p0", "p1", "p2"]


# --- what is wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"session_queues": {"s": {"items": [{"request_id": "r"}]}}}, "data"),
        ({"session_queues": {"s": {"items": [{"request_id": "r", "data": {}}]}}}, "prompt"),
        (
            {
                "session_queues": {
                    "s": {"items": [{"request_id": "r", "data": {"prompt": "p"}}] * 2}
                }
            },
            "twice",
        ),
        (
            {
                "session_queues": {
                    "s": {
                        "items": [{"request_id": "r", "data": {"prompt": "p", "session_id": "t"}}]
                    }
                }
            },
            "names t",
        ),
        ({"components": {"queue": {"requests": 5}}}, "5 requests"),
        ({"circuits": {"p": {"odd": 1}}}, "circuits.p"),
        ({"locks": {"s": {"holder": "a"}}}, "granted_at"),
        (
            {
                "sessions": {
                    "s": {
                        "created_at": "2026-01-01T00:00:00Z",
                        "last_activity": "2026-01-01T00:00:00Z",
                        "transcript": [{"role": "user", "content": "x"}],
                    }
                }
            },
            "pairs",
        ),
    ],
)
async def test_a_checkpoint_that_does_not_hold_together_is_refused_whole(
    tmp_path: Path, change: dict[str, Any], word: str
) -> None:
    good = {"request_id": "good", "data": {"prompt": "p"}}
    async with running(config(tmp_path)) as rig:
        base: dict[str, Any] = {"session_queues": {"g": {"items": [good]}}}
        base["session_queues"] |= change.get("session_queues", {})
        reply = await rig.engine.emit("checkpoint:restore", {**change, **base})
        assert reply["code"] == "invalid_request"
        assert word in reply["error"]
        await rig.settled()
        assert rig.p.calls == []
        assert sum(rig.core.counts.values()) == 0


# --- the data of a request stands for it ------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)
specs = st.builds(
    RequestSpec,
    request_id=names,
    session_id=names,
    model=names,
    prompt=texts,
    agent_id=names,
    client_id=st.none() | names,
    priority=st.sampled_from([p for p in Priority if p is not Priority.INJECT]),
    stream=st.sampled_from([None, True, False]),
    history=st.booleans(),
    timeout_s=st.floats(1, 1000),
    max_attempts=st.integers(1, 9),
    lock=st.none()
    | st.builds(LockTerms, timeout_s=st.floats(1, 99), on_conflict=st.sampled_from(OnConflict)),
    params=st.fixed_dictionaries(
        {},
        optional={
            "temperature": st.floats(0, 2),
            "max_tokens": st.integers(1, 99),
            "extra_body": st.dictionaries(names, texts, max_size=2),
        },
    ),
    metadata=st.dictionaries(names, texts, max_size=2),
    injection=st.none()
    | st.builds(
        InjectionTerms,
        mode=st.sampled_from(InjectMode),
        position=st.sampled_from(Position),
        targets=st.lists(names, min_size=1, max_size=3).map(tuple),
        trigger_type=st.none() | names,
        follow_up_guidance=st.none() | texts,
        ttl_s=st.none() | st.floats(1, 99),
    ),
    chain=st.none()
    | st.builds(
        ChainBounds,
        max_depth=st.integers(1, 9),
        token_budget=st.integers(1, 999),
        time_window_s=st.floats(1, 99),
        parent_request_id=st.none() | names,
    ),
)


@given(specs)
def test_the_data_of_a_request_is_the_request(spec: RequestSpec) -> None:
    data = json.loads(json.dumps(data_of(spec)))
    again = Completion.model_validate(data).spec(
        request_id=data["request_id"],
        session_id=data["session_id"],
        model=data["model"],
        timeout_s=1,
        max_attempts=1,
        lock_timeout_s=1,
        inject=False,
    )
    assert again == spec


# --- the whole of a busy engine ---------------------------------------------------------------


async def test_five_hundred_over_forty_sessions_complete_in_an_empty_database(
    tmp_path: Path,
) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        for number in range(500):
            await rig.submit(f"n{number}", session_id=f"s{number % 40}", agent_id="worker")
        for number in range(4):
            await rig.emit(
                "conversation:acquire_lock",
                session_id=f"s{number}",
                agent_id="a7" if number % 2 else "worker",
                timeout_s=600,
            )
        await rig.emit("queue:pause", scope="session", id="s9", by="op1", reason="deploy")
        for name in ("s9", "s10", "later"):
            await rig.emit("injection:inject", session_id=name, content=f"news of {name}")
        await until(lambda: len(rig.p.calls) == 32)
        checkpoint = await collected(rig)
    assert checkpoint["components"]["queue"] == {"requests": 500, "sessions": 40}
    async with running(elsewhere(tmp_path), clock=clock) as rig:
        reply = await restored(rig, checkpoint)
        assert reply["restored"] == 500
        assert reply["details"]["restored"]["locks"] == 4
        again = await collected(rig)
        assert again["locks"] == checkpoint["locks"]
        assert again["pauses"] == checkpoint["pauses"] != []
        assert reply["details"]["restored"]["injections"] == 3
        # Two sessions are locked by another agent and one is paused, 12 or 13 requests each.
        await until(lambda: rig.core.counts[State.COMPLETED] == 500 - 13 - 13 - 13)
        assert await rig.why("r-10") == "paused by op1: deploy"
        rig.advance(601)
        await until(lambda: rig.core.counts[State.COMPLETED] == 500 - 13)
        await rig.emit("queue:resume", scope="session", id="s9")
        await until(lambda: rig.core.counts[State.COMPLETED] == 500)
        left = await rig.emit("injection:list")
        assert [each["session_id"] for each in left["injections"]] == ["later"]
        await rig.settled()
        assert rig.core.counts[State.COMPLETED] == 500
        told = [prompt for prompt in rig.p.prompts if "news of" in prompt]
        assert [("news of s9" in each, "news of s10" in each) for each in told] == [
            (False, True),
            (True, False),
        ]
        asked = [re.search(r"n\d+$", prompt) for prompt in rig.p.prompts]
        order = [int(found[0][1:]) for found in asked if found]
        assert sorted(order) == list(range(500))
        for session in range(40):
            mine = [number for number in order if number % 40 == session]
            assert mine == sorted(mine)
