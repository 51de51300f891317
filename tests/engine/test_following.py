"""Whoever follows one request is told all of it, its answer as it comes; nobody else pays."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.events import Subscription
from tests.engine.engine_fixtures import (
    Rig,
    Upstream,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
    until,
)

TWO = [provider("a", priority=1), provider("b", priority=2)]


async def _until_end(told: Subscription) -> list[tuple[str, Any]]:
    """Return names and data of all that is told until the request's end."""
    seen: list[tuple[str, Any]] = []
    async with asyncio.timeout(20):
        async for event in told:
            seen.append((event.name, event.data))
            if event.name in ("completion:result", "completion:error", "completion:cancelled"):
                return seen
    raise AssertionError("the subscription ended")


def _texts(seen: list[tuple[str, Any]]) -> list[tuple[int, int, str]]:
    return [
        (data["attempt"], data["call"], choice["delta"]["content"])
        for name, data in seen
        if name == "completion:delta"
        for choice in data["choices"]
    ]


async def _talks(up: Upstream) -> str:
    up.say("Hello ")
    up.say("there")
    return "Hello there"


async def test_a_request_may_be_followed_before_it_exists(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": _talks}) as rig:
        async with rig.engine.subscribe("request:mine") as told:
            await rig.submit(request_id="mine")
            await rig.submit(request_id="other")
            seen = await _until_end(told)
        assert [name for name, _ in seen] == [
            "engine:snapshot",
            "completion:queued",
            "completion:progress",
            "completion:progress",
            "completion:delta",
            "completion:progress",
            "completion:delta",
            "completion:result",
        ]
        assert seen[0][1]["request"] is None
        assert _texts(seen) == [(1, 1, "Hello "), (1, 1, "there")]
        assert seen[4][1]["request_id"] == "mine"
        assert (seen[4][1]["provider"], seen[4][1]["model"]) == ("p", "m1")
        assert {data["request_id"] for _, data in seen[1:]} == {"mine"}


async def test_nobody_else_is_told_of_texts(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": _talks}) as rig:
        async with rig.engine.subscribe("request:mine"), rig.engine.subscribe("*:*") as others:
            await rig.submit(request_id="mine")
            await rig.ended("mine")
            assert not any(event.name == "completion:delta" for event in others.drain())
        assert not rig.events("completion:delta")
        numbers = [event.seq for event in rig.seen]
        assert numbers == list(range(len(numbers))), "they take no number from the others"


async def test_who_comes_later_is_told_what_has_come(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.submit(request_id="mine")
        (up,) = await rig.calls(1)
        assert up.spec.on_deltas is None, "nobody listened when it was called"
        up.say("Hello ")
        async with rig.engine.subscribe("request:mine") as told:
            up.say("there")
            up.go.set()
            seen = await _until_end(told)
        assert seen[0][1]["request"] == {
            "status": "processing",
            "provider": "p",
            "model": "m1",
            "attempt": 1,
            "call": 1,
            "text": "Hello ",
        }
        assert _texts(seen) == [(1, 1, "there")]


async def test_each_call_has_its_number(tmp_path: Path) -> None:
    async def breaks(up: Upstream) -> str:
        up.say(up.spec.provider)
        return await fails(ErrorKind.NETWORK_ERROR)(up)

    async def talks(up: Upstream) -> str:
        up.say(up.spec.provider)
        return up.spec.provider

    scripts = {"a": breaks, "b": in_turn(breaks, talks)}
    async with running(config(tmp_path, providers=TWO), scripts=scripts) as rig:
        async with rig.engine.subscribe("request:mine") as told:
            await rig.submit(request_id="mine")
            seen = await _until_end(told)
        assert _texts(seen) == [(1, 1, "a"), (1, 2, "b"), (2, 1, "a"), (2, 2, "b")]


async def test_more_than_text_is_handed_on_as_it_is(tmp_path: Path) -> None:
    piece = {"index": 1, "delta": {"tool_calls": [{"index": 0}]}}

    async def calls(up: Upstream) -> str:
        assert up.spec.on_deltas is not None
        up.spec.on_deltas("", 3, [piece])
        return "x"

    async with running(config(tmp_path), scripts={"p": calls}) as rig:
        async with rig.engine.subscribe("request:mine") as told:
            await rig.submit(request_id="mine")
            seen = await _until_end(told)
        assert [d["choices"] for n, d in seen if n == "completion:delta"] == [[piece]]
        assert ("first_token") in [d.get("status") for _, d in seen]


async def test_an_unstreamed_call_hands_out_no_pieces(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        async with rig.engine.subscribe("request:mine") as told:
            await rig.submit(request_id="mine", stream=False)
            await _until_end(told)
        assert rig.p.calls[0].spec.on_deltas is None


@pytest.mark.parametrize("end", ["leave", "engine"])
async def test_a_subscription_that_ends_leaves_nothing(tmp_path: Path, end: str) -> None:
    rig: Rig
    async with running(config(tmp_path)) as rig:
        one, two = rig.engine.subscribe("request:a"), rig.engine.subscribe("request:a")
        one.end()
        one.end()
        assert rig.engine._router.follows("a")
        if end == "leave":
            await two.aclose()
            assert not rig.engine._router.follows("a")
    assert not rig.engine._router.follows("a")
    two.drain()
    with pytest.raises(StopAsyncIteration):
        await anext(two)


async def test_a_name_with_marks_is_only_a_name(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        async with rig.engine.subscribe("request:*") as all_of_them:
            await rig.submit(request_id="a:b")
            await rig.ended("a:b")
            assert len(all_of_them.drain()) == 1, "the snapshot alone"
        async with rig.engine.subscribe("request:a:*") as told:
            await rig.submit(request_id="a:*")
            seen = await _until_end(told)
        assert seen[-1][1]["request_id"] == "a:*"


async def test_a_failure_tells_when_to_ask_again(tmp_path: Path) -> None:
    script = fails(ErrorKind.API_RATE_LIMIT, retry_after_s=30)
    settings = config(tmp_path, retry={"max_attempts": 1})
    async with running(settings, scripts={"p": script}) as rig:
        request_id = await rig.submit()
        told = await rig.event("completion:error", request_id)
        assert told["retry_after_s"] == 30
        await rig.emit("provider:reset", provider="p")
        rig.p.script = fails(ErrorKind.PROVIDER_ERROR)
        other = await rig.submit()
        assert (await rig.event("completion:error", other))["retry_after_s"] is None


async def test_call_parameters_reach_the_provider_and_outlive_a_checkpoint(
    tmp_path: Path,
) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit(params={"top_p": 0.5, "n": 2}, temperature=1)
        (up,) = await rig.calls(1)
        assert up.spec.params == {"top_p": 0.5, "n": 2, "temperature": 1}
        saved = await rig.emit("checkpoint:collect")
        refused = await rig.emit("completion:async", prompt="x", params={"api_base": "http://x"})
        assert refused["code"] == "invalid_request"
        assert "api_base" in refused["error"]
        up.go.set()
        await rig.ended(request_id)
    async with running(config(tmp_path / "other")) as rig:
        restored = await rig.emit("checkpoint:restore", **saved)
        assert restored["restored"] == 1, restored
        await until(lambda: rig.p.calls)
        assert rig.p.calls[0].spec.params == {"top_p": 0.5, "n": 2, "temperature": 1}
