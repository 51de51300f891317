"""`completion:token_usage` and `tokens:high_usage`: prices, MCP, savings, waste, selectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import Usage
from ksi_tui.engine.store.base import UsageFolded
from ksi_tui.engine.store.records import UsageQuery
from tests.engine.engine_fixtures import (
    HandClock,
    Rig,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
    until,
)
from tests.engine.telling import Step, told

TOOLS = [{"type": "function", "function": {"name": "see", "parameters": {"type": "object"}}}]
TOOLS_TOKENS = 20
"""Their compact JSON has 78 characters."""
MCP = {"ksi": {"mcp_config_path": "/mcp.json"}}
FAILED = Step(kind=ErrorKind.PROVIDER_ERROR, usage=Usage(input=6, output=2), cost=0.5)
TEN = Usage(input=7, output=3)


async def _all(rig: Rig, **asked: Any) -> dict[str, Any]:
    await rig.core.store.write()
    reply = await rig.emit("completion:token_usage", **asked)
    assert "code" not in reply, reply
    return reply


# --- MCP and savings ------------------------------------------------------------------------


async def test_mcp_statistics_have_these_keys_and_are_zero_before_anything(
    tmp_path: Path,
) -> None:
    async with told(config(tmp_path), {}) as rig:
        reply = await _all(rig)
        assert set(reply) == {
            "usage",
            "active_agents",
            "active_models",
            "active_sessions",
            "mcp_statistics",
            "waste",
        }
        assert reply["mcp_statistics"] == {
            "requests": 0,
            "mcp_requests": 0,
            "share": 0.0,
            "tool_schema_tokens": 0,
            "tool_schema_tokens_per_request": 0,
            "cache_read_tokens": 0,
            "cache_savings": 0.0,
        }


async def test_a_request_with_mcp_asks_for_it_or_brings_tools(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", supports_mcp=True)])
    steps = {"with": [Step(usage=TEN, schemas=40)]}
    async with told(settings, steps) as rig:
        await rig.submit(request_id="without")
        await rig.submit(request_id="asks", extra_body=MCP)
        await rig.submit(request_id="with", tools=TOOLS)
        await rig.submit(request_id="uncounted", tools=TOOLS)
        await rig.ended("without", "asks", "with", "uncounted")
        found = (await _all(rig))["mcp_statistics"]
        assert (found["requests"], found["mcp_requests"], found["share"]) == (4, 3, 0.75)
        # One counted by the provider's tokenizer, one by its characters, one unknown here.
        assert found["tool_schema_tokens"] == 40 + TOOLS_TOKENS
        assert found["tool_schema_tokens_per_request"] == round((40 + TOOLS_TOKENS) / 3, 1)


async def test_schemas_of_wasted_calls_count_where_they_are_known_to_have_been_read(
    tmp_path: Path,
) -> None:
    refused = Step(kind=ErrorKind.NETWORK_ERROR)
    async with told(config(tmp_path), {"r": [refused, FAILED, Step(usage=TEN)]}) as rig:
        await rig.ended(await rig.submit(request_id="r", tools=TOOLS))
        found = (await _all(rig))["mcp_statistics"]
        assert (found["requests"], found["mcp_requests"]) == (1, 1)
        assert found["tool_schema_tokens"] == 2 * TOOLS_TOKENS


async def test_savings_are_the_workers_or_by_the_settings_else_null(tmp_path: Path) -> None:
    cached = Usage(input=5, cache_read=1_000_000, output=1)
    steps = {
        "told": [Step(usage=cached, cost=1.0, savings=0.25)],
        "priced": [Step(usage=cached, cost=1.0, savings=9.0)],
        "unknown": [Step(usage=cached, cost=1.0)],
    }
    prices = {"m2": {"input": 3, "cache_read": 1, "output": 0}}
    async with told(config(tmp_path, prices=prices), steps) as rig:
        await rig.ended(await rig.submit(request_id="unknown"))
        found = (await _all(rig))["mcp_statistics"]
        assert (found["cache_read_tokens"], found["cache_savings"]) == (1_000_000, None)
        await rig.ended(await rig.submit(request_id="told"))
        assert (await _all(rig))["mcp_statistics"]["cache_savings"] == 0.25
        await rig.ended(await rig.submit(request_id="priced", model="m2"))
        assert (await _all(rig))["mcp_statistics"]["cache_savings"] == 2.25
        report = await rig.status("priced")
        (call,) = report["attempts"][0]["calls"]
        assert (call["cache_savings"], call["price_version"]) == (2.0, "settings")


# --- prices ---------------------------------------------------------------------------------


async def test_free_is_not_unpriced_and_unpriced_is_not_free(tmp_path: Path) -> None:
    steps = {"free": [Step(usage=TEN, cost=0.0)], "unpriced": [Step(usage=TEN)]}
    async with told(config(tmp_path), steps) as rig:
        await rig.ended(await rig.submit(request_id="free", session_id="a"))
        reply = (await _all(rig))["usage"]
        assert (reply["cost"], reply["unpriced"]) == (0.0, 0)
        await rig.ended(await rig.submit(request_id="unpriced", session_id="b"))
        reply = (await _all(rig, session_id="b"))["usage"]
        assert (reply["cost"], reply["unpriced"]) == (None, 1)


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), -1.0])
async def test_a_cost_that_is_no_amount_of_money_is_none(tmp_path: Path, nonsense: float) -> None:
    step = Step(usage=Usage(cache_read=1), cost=nonsense, savings=nonsense)
    async with told(config(tmp_path), {"r": [step]}) as rig:
        await rig.ended(await rig.submit(request_id="r"))
        reply = (await _all(rig))["usage"]
        assert (reply["request_count"], reply["cost"], reply["unpriced"]) == (1, None, 1)


@pytest.mark.parametrize("usage", [Usage(input=10**30), Usage(input=20, output=-5)])
async def test_usage_that_nobody_can_mean_is_unknown(tmp_path: Path, usage: Usage) -> None:
    async with told(config(tmp_path), {"r": [Step(usage=usage, cost=1.0)]}) as rig:
        await rig.ended(await rig.submit(request_id="r"))
        reply = (await _all(rig))["usage"]
        assert (reply["request_count"], reply["total_tokens"]) == (1, 0)
        assert (reply["cost"], reply["unpriced"]) == (None, 1)


# --- waste ----------------------------------------------------------------------------------


async def test_waste_is_tokens_money_and_seconds_of_what_was_no_answer(tmp_path: Path) -> None:
    clock = HandClock()
    steps = {
        "retried": [FAILED, Step(usage=TEN, cost=0.25)],
        "cancelled": [Step(hold=True, usage=Usage(output=4), cost=0.125)],
    }
    async with told(config(tmp_path), steps, clock) as rig:
        await rig.ended(await rig.submit(request_id="retried"))
        await rig.submit(request_id="cancelled")
        await until(lambda: rig.providers["p"].holding)  # type: ignore[attr-defined]
        clock.now += 2.5
        await rig.emit("completion:cancel", request_id="cancelled")
        await rig.event("completion:upstream_closed", "cancelled")
        reply = await _all(rig)
        assert reply["waste"] == {"tokens": 12, "cost": 0.625, "calls": 2, "seconds": 2.5}
        assert (reply["usage"]["total_tokens"], reply["usage"]["cost"]) == (22, 0.875)
        assert reply["usage"]["request_count"] == 1


async def test_waste_without_any_price_costs_null(tmp_path: Path) -> None:
    free = Step(kind=ErrorKind.PROVIDER_ERROR, usage=TEN, cost=0.0)
    unpriced = Step(kind=ErrorKind.PROVIDER_ERROR, usage=TEN)
    steps = {"a": [free, Step(usage=TEN)], "b": [unpriced, Step(usage=TEN, cost=1.0)]}
    async with told(config(tmp_path), steps) as rig:
        await rig.ended(await rig.submit(request_id="a"))
        assert (await _all(rig))["waste"]["cost"] == 0.0
        await rig.ended(await rig.submit(request_id="b"))
        assert (await _all(rig))["waste"]["cost"] is None
        assert rig.engine.snapshot().tokens.waste_cost is None  # type: ignore[union-attr]


async def test_a_cancelled_call_of_unknown_usage_is_estimated_with_its_tools(
    tmp_path: Path,
) -> None:
    async with told(config(tmp_path), {"r": [Step(hold=True, text="x" * 40)]}) as rig:
        await rig.submit("y" * 20, request_id="r", tools=TOOLS)
        await until(lambda: rig.providers["p"].holding)  # type: ignore[attr-defined]
        await rig.emit("completion:cancel", request_id="r")
        await rig.event("completion:upstream_closed", "r")
        usage = (await _all(rig))["usage"]
        assert usage["output_tokens"] == 10
        assert usage["input_tokens"] == 5 + 4 + TOOLS_TOKENS
        assert (usage["estimated"], usage["unpriced"], usage["cost"]) == (1, 1, None)


async def test_an_answer_that_cannot_be_stored_is_booked_as_waste(tmp_path: Path) -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"x": deep}
    async with told(config(tmp_path), {"r": [Step(usage=TEN, cost=0.5, raw=deep)]}) as rig:
        telling: Any = rig.providers["p"]
        answer = telling.call

        async def unstorable(*call: Any) -> Any:
            result = await answer(*call)
            object.__setattr__(result, "response", deep)
            return result

        telling.call = unstorable
        await rig.ended(await rig.submit(request_id="r"))
        await rig.event("completion:error", "r")
        reply = await _all(rig)
        assert (reply["usage"]["total_tokens"], reply["usage"]["cost"]) == (10, 0.5)
        assert reply["usage"]["request_count"] == 0
        assert (reply["waste"]["tokens"], reply["waste"]["cost"]) == (10, 0.5)
        view = rig.engine.snapshot().tokens
        assert view is not None
        assert (view.waste_tokens, view.waste_cost) == (10, 0.5)
        (attempt,) = (await rig.status("r"))["attempts"]
        (call,) = attempt["calls"]
        assert (call["outcome"], call["waste"], call["raw_usage"]) == ("failed", True, None)
        assert "cannot be stored" in call["error"]["message"]


# --- selectors ------------------------------------------------------------------------------


async def test_selectors_combine_and_unknown_names_have_zeros(tmp_path: Path) -> None:
    clock = HandClock()
    async with told(config(tmp_path), {}, clock) as rig:
        for number, (agent, model, session) in enumerate(
            [("a1", "m1", "s1"), ("a1", "m2", "s1"), ("a2", "m1", "s2")]
        ):
            request_id = f"r{number}"
            await rig.submit(request_id=request_id, agent_id=agent, model=model, session_id=session)
            await rig.ended(request_id)
            clock.now += 3600
        await rig.core.store.write(UsageFolded(at=clock.now))
        for asked, found in (
            ({"agent_id": "a1"}, 2),
            ({"agent_id": "a1", "model": "m1"}, 1),
            ({"agent_id": "a1", "provider": "p", "model": "m2", "session_id": "s1"}, 1),
            ({"agent_id": "a2", "session_id": "s1"}, 0),
            ({"agent_id": "a1", "hours": 2.5}, 1),
            ({"session_id": "s1", "hours": 2.5}, 1),
            ({"provider": "p", "hours": 1e300}, 3),
            ({"agent_id": "nobody"}, 0),
            ({"model": "none"}, 0),
            ({"provider": "none", "session_id": "none"}, 0),
        ):
            reply = await _all(rig, **asked)
            assert set(reply) == {*asked, "usage"} - {"hours"}
            assert reply["usage"]["request_count"] == found, asked
        nothing = (await _all(rig, agent_id="nobody", bucket_minutes=60))["trend"]
        assert nothing == []
        trend = (await _all(rig, agent_id="a1", bucket_minutes=60))["trend"]
        assert [(one["at"], one["total_tokens"]) for one in trend] == [
            ("2027-01-15T08:00:00.000Z", 10),
            ("2027-01-15T09:00:00.000Z", 10),
        ]
        assert set(trend[0]) == {"at", *reply["usage"]}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"hours": 0}, "hours"),
        ({"hours": "soon"}, "hours"),
        ({"bucket_minutes": 0}, "bucket_minutes"),
        ({"bucket_minutes": 1.5}, "bucket_minutes"),
        ({"agent": "a"}, "unknown key 'agent'"),
        ({"agent_id": ""}, "agent_id"),
        ({"session_id": 7}, "session_id"),
    ],
)
async def test_wrong_input_is_named(tmp_path: Path, asked: dict[str, Any], said: str) -> None:
    async with told(config(tmp_path), {}) as rig:
        reply = await rig.emit("completion:token_usage", **asked)
        assert reply["code"] == "invalid_request"
        assert said in reply["error"]


# --- high usage -----------------------------------------------------------------------------


async def test_high_usage_is_of_all_the_requests_calls_and_told_once(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"high_usage_tokens": 15})
    steps = {"r": [FAILED, FAILED, Step(usage=TEN)], "small": [Step(usage=Usage(input=15))]}
    async with told(settings, steps) as rig:
        await rig.ended(await rig.submit(request_id="small"))
        await rig.ended(await rig.submit(request_id="r", agent_id="a"))
        (one,) = rig.events("tokens:high_usage")
        assert (one["request_id"], one["total_tokens"], one["threshold"]) == ("r", 16, 15)
        assert one["agent_id"] == "a"
        await rig.ended("r")
        assert (await _all(rig))["usage"]["total_tokens"] == 15 + 26


async def test_a_failed_or_cancelled_request_can_be_a_high_one(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"high_usage_tokens": 9}, retry={"max_attempts": 1})
    big = Usage(output=10)
    steps = {
        "failed": [Step(kind=ErrorKind.INVALID_REQUEST, usage=big)],
        "cancelled": [Step(hold=True, usage=big)],
    }
    async with told(settings, steps) as rig:
        await rig.ended(await rig.submit(request_id="failed"))
        await rig.submit(request_id="cancelled")
        await until(lambda: rig.providers["p"].holding)  # type: ignore[attr-defined]
        await rig.emit("completion:cancel", request_id="cancelled")
        await rig.event("tokens:high_usage", "cancelled")
        assert len(rig.events("tokens:high_usage")) == 2


async def test_high_usage_is_told_once_also_over_restarts_and_a_retry_by_hand(
    tmp_path: Path,
) -> None:
    settings = config(tmp_path, engine={"high_usage_tokens": 12}, retry={"max_attempts": 1})
    failed = Step(kind=ErrorKind.INVALID_REQUEST, usage=Usage(input=8))
    async with told(settings, {"r": [failed]}) as rig:
        await rig.ended(await rig.submit(request_id="r"))
        assert rig.events("tokens:high_usage") == []
    async with told(settings, {"r": [failed]}) as rig:
        await rig.emit("completion:retry", request_id="r")
        await rig.ended("r")
        assert rig.events("tokens:high_usage")[0]["total_tokens"] == 16
    async with told(settings, {"r": [Step(usage=TEN)]}) as rig:
        await rig.emit("completion:retry", request_id="r")
        await rig.ended("r")
        assert rig.events("tokens:high_usage") == []


# --- a restart ------------------------------------------------------------------------------


async def test_spending_per_hour_goes_on_after_a_restart(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, providers=[provider("p"), provider("q", "x*")])
    steps = {"a": [Step(usage=TEN, cost=0.5)], "b": [Step(usage=TEN, cost=1.5)], "c": [Step()]}
    async with told(settings, steps, clock) as rig:
        for request_id, model in (("a", "m1"), ("b", "m1"), ("c", "x1")):
            await rig.ended(await rig.submit(request_id=request_id, model=model))
            clock.now += 240
        await rig.core.store.write(UsageFolded(at=clock.now))
        before = rig.engine.snapshot().providers
        assert before[0].cost_per_h == pytest.approx(2.0 * 3600 / 720)
        assert (before[1].cost_per_h, before[1].unpriced) == (None, True)
    async with told(settings, {}, clock) as rig:
        after = rig.engine.snapshot().providers
        assert [(each.cost_per_h, each.unpriced) for each in after] == [
            (each.cost_per_h, each.unpriced) for each in before
        ]
        ((_, stored),) = await rig.core.store.usage(UsageQuery(provider="p"))
        assert stored.cost == rig.core.tokens.cost_today(clock.now) == 2.0


async def test_tokens_of_one_answer_and_a_failover_are_booked_to_who_spent_them(
    tmp_path: Path,
) -> None:
    settings = config(tmp_path, providers=[provider("p"), provider("q", priority=2)])
    async with running(settings, scripts={"p": in_turn(held), "q": held}) as rig:
        request_id = await rig.submit()
        (up,) = await rig.calls(1)
        up.fail(ErrorKind.PROVIDER_ERROR, usage=Usage(input=5))
        (second,) = await rig.calls(1, "q")
        second.go.set()
        await rig.ended(request_id)
        for name, tokens, requests in (("p", 5, 0), ("q", 10, 1)):
            usage = (await _all(rig, provider=name))["usage"]
            assert (usage["total_tokens"], usage["request_count"]) == (tokens, requests)


async def test_a_failed_call_is_on_disk_while_its_walk_goes_on(tmp_path: Path) -> None:
    both = [provider("p"), provider("q", priority=2)]
    used = fails(ErrorKind.PROVIDER_ERROR, usage=Usage(input=6, output=2), cost=0.5)
    settings = config(tmp_path, providers=both)
    async with running(settings, scripts={"p": used, "q": held}) as rig:
        request_id = await rig.submit("x")
        await rig.calls(1, "q")
        report = await rig.status(request_id)
        assert (report["usage"]["input"], report["cost"]) == (6, 0.5)
        first, second = report["attempts"][0]["calls"]
        assert (first["outcome"], second["outcome"]) == ("failed", "running")
        records = await rig.core.store.usage_records(UsageQuery(), 0, 10)
        assert [(call.provider, call.cost) for _, call in records] == [("p", 0.5)]
        rig.providers["q"].calls[0].go.set()
        await rig.ended(request_id)
        await rig.settled()
        assert len(await rig.core.store.usage_records(UsageQuery(), 0, 10)) == 2
