"""Bounds of a chain: depth, tokens really spent by all of it, time since its root."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import Usage
from tests.engine.engine_fixtures import (
    USED,
    HandClock,
    Rig,
    answers,
    config,
    fails,
    held,
    in_turn,
    running,
    until,
)

PER_CALL = USED.total


async def link(rig: Rig, request_id: str, parent: str | None, **bounds: Any) -> dict[str, Any]:
    """Run one request of a chain that injects its result; return what was told of that."""
    breaker = {"parent_request_id": parent, **bounds} if parent else bounds
    await rig.submit(
        "find",
        request_id=request_id,
        injection_config={"target_sessions": [f"to-{request_id}"]},
        circuit_breaker_config=breaker,
    )
    await rig.ended(request_id)
    await _told(rig, request_id)
    blocked = rig.events("injection:blocked", request_id)
    return blocked[-1] if blocked else rig.events("injection:stored", request_id)[-1]


async def _told(rig: Rig, request_id: str) -> None:
    names = ("injection:blocked", "injection:stored")
    await until(lambda: any(rig.events(name, request_id) for name in names))


async def test_a_chain_goes_as_deep_as_its_bound_and_no_deeper(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        parent: str | None = None
        for depth in range(1, 7):
            told = await link(rig, f"r{depth}", parent)
            if depth <= 5:
                assert "bound" not in told, depth
            else:
                assert {key: told[key] for key in ("bound", "limit", "found", "session_id")} == {
                    "bound": "max_depth",
                    "limit": 5,
                    "found": 6,
                    "session_id": "to-r6",
                }
            parent = f"r{depth}"
        assert rig.core.injections.pending == 5
        status = await rig.emit("completion:status")
        assert status["injections"] == {"pending": 5, "blocked": 1}


async def test_brothers_are_of_one_depth_and_share_the_tokens(tmp_path: Path) -> None:
    budget = 3 * PER_CALL
    async with running(config(tmp_path)) as rig:
        await link(rig, "root", None)
        for brother in ("one", "two"):
            told = await link(rig, brother, "root", max_depth=2, token_budget=budget)
            assert "bound" not in told
        told = await link(rig, "three", "root", max_depth=2, token_budget=budget)
        assert (told["bound"], told["limit"], told["found"]) == (
            "token_budget",
            budget,
            4 * PER_CALL,
        )


async def test_tokens_of_failed_calls_and_of_direct_ones_count_too(tmp_path: Path) -> None:
    wasted = Usage(input=100, cache_read=20, reasoning=3)
    script = in_turn(fails(ErrorKind.NETWORK_ERROR, usage=wasted), answers)
    async with running(config(tmp_path), scripts={"p": script}) as rig:
        await rig.submit("find", request_id="root", injection_config={"mode": "direct"})
        born = (await rig.event("injection:queued", "root"))["queued_request_id"]
        await rig.ended(born)
        spent = wasted.total + 2 * PER_CALL
        told = await link(rig, "child", "root", token_budget=spent)
        assert (told["bound"], told["found"]) == ("token_budget", spent + PER_CALL)
        chain = await rig.core.store.chain(born)
        assert chain is not None
        assert (chain.depth, chain.tokens) == (2, spent + PER_CALL)


async def test_time_runs_since_the_root_was_accepted(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await link(rig, "root", None, time_window_s=60)
        clock.now += 60
        assert "bound" not in await link(rig, "in-time", "root", time_window_s=60)
        clock.now += 1
        told = await link(rig, "late", "in-time", time_window_s=60)
        assert (told["bound"], told["limit"], told["found"]) == ("time_window_s", 60, 61)
        assert "bound" not in await link(rig, "own-root", None, time_window_s=60)


async def test_the_bounds_survive_a_restart(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await link(rig, "root", None)
        await link(rig, "child", "root")
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.submit(
            "find",
            request_id="grandchild",
            injection_config={},
            circuit_breaker_config={"parent_request_id": "child", "max_depth": 2},
        )
        await rig.calls(1)
    async with running(config(tmp_path)) as rig:
        told = await rig.event("injection:blocked", "grandchild")
        assert (told["bound"], told["found"]) == ("max_depth", 3)


async def test_a_parent_must_exist(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        for parent in ("nobody", "me"):
            reply = await rig.emit(
                "completion:async",
                prompt="x",
                request_id="me",
                circuit_breaker_config={"parent_request_id": parent},
            )
            assert reply["code"] == "not_found"
            assert f"parent_request_id: no request '{parent}'" in reply["error"]


async def test_a_batch_may_hold_parent_and_child(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:

        def line(request_id: str, parent: str) -> dict[str, Any]:
            breaker = {"parent_request_id": parent}
            return {"prompt": "x", "request_id": request_id, "circuit_breaker_config": breaker}

        reply = await rig.emit(
            "completion:batch",
            requests=[
                {"prompt": "x", "request_id": "a"},
                line("b", "a"),
                line("orphan", "later"),
                line("c", "b"),
                {"prompt": "x", "request_id": "later"},
            ],
        )
        codes = [each.get("code") for each in reply["accepted"]]
        assert codes == [None, None, "not_found", None, None]
        await rig.ended("a", "b", "c", "later")
        chains = [await rig.core.store.chain(each) for each in ("a", "b", "c", "nobody")]
        assert [chain and chain.depth for chain in chains] == [1, 2, 3, None]


@pytest.mark.parametrize(
    ("breaker", "told"),
    [
        ({"max_depth": 0}, "circuit_breaker_config.max_depth: .*greater than or equal to 1"),
        ({"token_budget": 0}, "token_budget"),
        ({"time_window_s": -1}, "time_window_s"),
        ({"depth": 1}, "unknown key 'circuit_breaker_config.depth'"),
    ],
)
async def test_wrong_bounds_are_named(tmp_path: Path, breaker: dict[str, Any], told: str) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.emit("completion:async", prompt="x", circuit_breaker_config=breaker)
        assert reply["code"] == "invalid_request"
        assert re.search(told, reply["error"])
