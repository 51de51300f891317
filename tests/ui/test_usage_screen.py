"""Usage: charts over windows, the table by what one asks for, and the Tokens pane's windows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.ui.harness import SMALL, WIDE, Hand, dashboard
from tests.ui.scripted import ScriptedClient, busy
from tests.ui.test_engine import over, simulated

STEPS = {0.25: 60, 1: 120, 24: 900, 168: 7200}
ESCAPES = "pro\x1b]52;c;eA==\x07vider"


def _lists(rate: float, count: int) -> dict[str, Any]:
    return {
        "tokens": [rate] * count,
        "input": [rate] * count,
        "requests": [rate / 100] * count,
        "errors": [0.0] * count,
        "cost": [None] * count,
        "unpriced": 3,
        "latency_ms": [1500.0] * (count - 1) + [None],
        "ttft_ms": [None] * count,
    }


def series(data: Mapping[str, Any]) -> dict[str, Any]:
    """A reply of `completion:series` as the engine gives it."""
    step_s = STEPS[data["hours"]]
    count = int(data["hours"] * 3600 / step_s)
    named = [("anthropic", 300.0), (ESCAPES, 100.0)] if data.get("by") else []
    return {
        "start": "2026-11-22T02:00:00.000Z",
        "step_s": step_s,
        "last_s": 30.0,
        "names": [name for name, _ in named],
        "series": [{"name": name, **_lists(rate, count)} for name, rate in named],
        "others": {"names": 2, **_lists(10.0, count)} if named else None,
        "total": _lists(400.0, count),
        "since": "2026-11-01T00:00:00.000Z",
    }


def _usage(tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": tokens,
        "cache_read_tokens": tokens,
        "cache_write_tokens": 0,
        "output_tokens": 500,
        "reasoning_tokens": 0,
        "total_tokens": 2 * tokens + 500,
        "request_count": 12,
        "avg_tokens_per_request": 1.0,
        "cost": 1.25,
        "unpriced": 4,
        "estimated": 0,
    }


WASTE = {"tokens": 70, "cost": 0.5, "calls": 2, "seconds": 61.0, "unpriced": 1}
MCP = {
    "requests": 12,
    "mcp_requests": 3,
    "share": 0.25,
    "tool_schema_tokens": 900,
    "tool_schema_tokens_per_request": 300,
    "cache_read_tokens": 5,
    "cache_savings": 0.75,
}
NAMES = {
    "provider": ["anthropic", ESCAPES],
    "model": ['odd "model"'],
    "agent": ["a7", ""],
    "session": ["acme-42"],
    "minute": ["2026-11-22T03:11:00.000Z"],
    "hour": ["2026-11-22T03:00:00.000Z"],
    "day": ["2026-11-22"],
}


def token_usage(data: Mapping[str, Any]) -> dict[str, Any]:
    """A reply of `completion:token_usage` with groups."""
    by = data["by"]
    groups = [
        {
            by: name,
            "usage": _usage(1000 + 1000 * index),
            "waste": WASTE,
            "errors": 2,
            "latency_ms": 4200.0,
            "ttft_ms": None,
        }
        for index, name in enumerate(NAMES[by])
    ]
    return {"usage": _usage(9000), "waste": WASTE, "mcp_statistics": MCP, "groups": groups}


def client(**replies: Any) -> ScriptedClient:
    given = {"completion:series": series, "completion:token_usage": token_usage}
    return ScriptedClient(busy(), {**given, **replies})


async def opened(hand: Hand) -> None:
    await hand.press("m")
    await hand.sees("overview > usage", "By provider  last 1h", "anthropic")


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_charts_and_table_are_there(size: tuple[int, int]) -> None:
    async with dashboard(client(), size) as hand:
        await opened(hand)
        await hand.sees("1 Tokens/s", " 15m [1h] 24h  7d", "█", "ERRORS", "≥ $1.25 (4 unpr.)")
        assert "\x1b" not in hand.screen
        assert "02:30" in hand.screen


async def test_the_whole_is_said_with_waste_and_mcp() -> None:
    async with dashboard(client(), WIDE) as hand:
        await opened(hand)
        await hand.sees(
            "requests 12",
            "waste    1%, 70 tok, $0.50",
            "2 calls, 1m01s in vain",
            "MCP      25%, 300 tok of schemas each",
            "saved    $0.75 by caches",
        )
        await hand.sees("no call of this time has a price", "3 unpriced")


async def test_windows_go_shorter_and_longer_and_say_where_they_end() -> None:
    scripted = client()
    async with dashboard(scripted, WIDE) as hand:
        await opened(hand)
        await hand.press("right_square_bracket", "right_square_bracket")
        await hand.sees(" 24h [7d]", "By provider  last 7d", "26 Nov")
        assert scripted.sent("completion:series")[-1]["hours"] == 168
        await hand.until(lambda: scripted.sent("completion:token_usage")[-1]["hours"] == 168)
        await hand.press("right_square_bracket")
        await hand.sees("7d is the longest")
        await hand.press(*["left_square_bracket"] * 4)
        await hand.sees("[15m]", "15m is the shortest")


async def test_charts_are_split_with_a_letter_each_and_a_legend() -> None:
    scripted = client()
    async with dashboard(scripted, WIDE) as hand:
        await opened(hand)
        await hand.press("v")
        await hand.sees("charts by provider", "aaaaaaaa", "bbbbbbbb", "a anthr", "o 2 oth")
        assert scripted.sent("completion:series")[-1]["by"] == "provider"
        await hand.press("v")
        await hand.sees("charts by model")
        await hand.until(lambda: scripted.sent("completion:series")[-1].get("by") == "model")
        await hand.press("v")
        await hand.sees("charts of all together")
        await hand.sees_no("aaaaaaaa")


async def test_the_table_goes_by_everything() -> None:
    scripted = client()
    async with dashboard(scripted, WIDE) as hand:
        await opened(hand)
        for by, seen in {
            "model": 'odd "model"',
            "agent": "no agent",
            "session": "since the first call",
            "minute": "22 Nov 03:11",
            "hour": "22 Nov 03:00",
            "day": "2026-11-22",
            "provider": "anthropic",
        }.items():
            await hand.press("o")
            await hand.sees(f"By {by} ", seen)
        by_session = [one for one in scripted.sent("completion:token_usage") if "hours" not in one]
        assert {one["by"] for one in by_session} == {"session"}


async def test_rows_open_what_they_are_about() -> None:
    async with dashboard(client(), WIDE) as hand:
        await opened(hand)
        await hand.press("enter")
        await hand.sees("overview > usage > anthropic")
        await hand.press("escape", "o")
        await hand.sees("odd")
        await hand.press("enter")
        await hand.sees("overview > usage > requests", 'filter: model="odd \\"model\\""')


async def test_panes_by_number_and_zoom() -> None:
    async with dashboard(client(), SMALL) as hand:
        await opened(hand)
        await hand.press("4")
        await hand.sees("[4 Latency]", "4 Latency, mean", "1.5s")
        await hand.press("z")
        await hand.sees_no("By provider")
        await hand.press("z", "tab", "z")
        await hand.sees_no("4 Latency, mean")
        await hand.sees("By provider", "anthropic")
        await hand.press("z")
        await hand.sees("4 Latency, mean", "By provider")


async def test_a_refusal_is_said_in_place_and_nothing_piles_up() -> None:
    refused = {"error": "the disk \x1b[31mfails", "code": "not_ready"}
    scripted = client(**{"completion:series": refused, "completion:token_usage": refused})
    async with dashboard(scripted, WIDE) as hand:
        await hand.press("m")
        await hand.sees("the disk [31mfails")
        await hand.until(lambda: len(scripted.sent("completion:series")) >= 1)
        asked = len(scripted.sent("completion:series"))
        for _ in range(5):
            await hand.pilot.pause(0.05)
        assert len(scripted.sent("completion:series")) == asked
        scripted.replies.update({"completion:series": series})
        hand.clock.advance(6)
        await hand.sees("█")


async def test_an_answer_is_read_again_after_a_while() -> None:
    scripted = client()
    async with dashboard(scripted, WIDE) as hand:
        await opened(hand)
        asked = (
            len(scripted.sent("completion:series")),
            len(scripted.sent("completion:token_usage")),
        )
        hand.clock.advance(25)
        await hand.until(lambda: len(scripted.sent("completion:series")) > asked[0])
        await hand.until(lambda: len(scripted.sent("completion:token_usage")) > asked[1])


async def test_copy_hands_out_the_table() -> None:
    async with dashboard(client(), WIDE) as hand:
        await opened(hand)
        await hand.press("y")
        await hand.sees("the table")


@pytest.mark.parametrize("size", [(60, 16), (59, 20), (80, 24), (200, 60)])
async def test_any_size_will_do(size: tuple[int, int]) -> None:
    async with dashboard(client(), WIDE) as hand:
        await opened(hand)
        await hand.pilot.resize_terminal(*size)
        await hand.pilot.pause()
        await hand.press("v", "5", "o")
        await hand.sees("too small" if size[0] < 60 else "By model")


async def test_over_a_real_engine_with_its_own_answers(tmp_path: Path) -> None:
    async with over(simulated(tmp_path), WIDE) as hand:
        assert hand.app.client is not None
        await hand.app.client.emit("completion:async", {"prompt": "hello there", "agent_id": "a7"})
        await hand.until(lambda: hand.app.events.taken >= 4, "the answer is told")
        await hand.press("m")
        await hand.sees("requests 1", "simulated", "3 Errors/s")
        await hand.press("v", "o", "o")
        await hand.sees("By agent", "a7")
        await hand.press("escape", "l")
        await hand.sees("√ completion:result", "tokens")


# --- the Tokens pane of the overview --------------------------------------------------------


async def test_the_tokens_pane_shows_longer_times_from_the_rollups() -> None:
    scripted = client()
    async with dashboard(scripted, WIDE) as hand:
        await hand.sees("5 Tokens", "[15m] 1h  24h  7d")
        assert scripted.sent("completion:series") == []
        await hand.press("right_square_bracket")
        await hand.sees(" 15m [1h]", "2m00s a point", "02:30")
        (asked,) = scripted.sent("completion:series")
        assert (asked["hours"], "by" in asked) == (1, False)
        await hand.press("left_square_bracket")
        await hand.sees("[15m]")
        await hand.sees_no("02:30")


async def test_the_tokens_pane_says_why_there_is_no_chart() -> None:
    async with dashboard(ScriptedClient(busy()), SMALL) as hand:
        await hand.press("5", "right_square_bracket")
        await hand.sees("[1h]", "no reply scripted for completion:series")
