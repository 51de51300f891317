"""One provider: circuit and history, health, what it is called for, limits, charts."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from ksi_tui.screens import later
from tests.ui.harness import SMALL, WIDE, Hand, dashboard
from tests.ui.scripted import ScriptedClient, active, busy, provider

SIZES = pytest.mark.parametrize("size", [SMALL, WIDE])
BAD = "\x1b]0;evil\x07[@click=app.quit]x[/nope]\u202e\x9b"

STATUS: dict[str, Any] = {
    "provider": "openai",
    "config": {
        "kind": "litellm",
        "models": ["gpt-*", "o4-*"],
        "model": "openai/{model}",
        "api_key_env": "OPENAI_API_KEY",
        "priority": 1,
        "max_concurrency": 16,
        "idle_timeout_s": 30,
        "supports_streaming": True,
    },
    "circuit_breaker": {
        "state": "open",
        "is_open": True,
        "recent_failures": 5,
        "open_until": "2026-11-22T03:13:32.400000+00:00",
        "forced": None,
        "forced_by": None,
        "forced_until": None,
        "last_success": "2026-11-22T03:08:02+00:00",
        "reason": "5 timeouts in a row",
    },
    "paused": None,
    "cooldown_until": None,
    "cooldowns": {"gpt-4o": "2026-11-22T03:12:53.400000+00:00"},
    "limits": {"rpm": 500, "rpm_used": 120, "tpm": None, "tpm_used": 0},
    "stats": {
        "total_calls": 1203,
        "successful_calls": 1100,
        "failed_calls": 103,
        "success_rate": 0.914,
        "latency_ms": {"p50": 8100, "p95": 30000, "p99": 30100},
        "ttft_ms": {"p50": 700, "p95": 1500, "p99": 2400},
        "tokens_per_s": 0.0,
        "failures_by_kind": {"timeout": 90, "provider_error": 13},
        "in_flight": 0,
        "last_call": "2026-11-22T03:12:34.400000+00:00",
        "last_error": {
            "at": "2026-11-22T03:12:34.400000+00:00",
            "kind": "timeout",
            "message": "no first token in 30 s",
        },
    },
}
JOURNAL = {
    "entries": [
        {
            "seq": 5,
            "at": "2026-11-22T03:08:32+00:00",
            "name": "provider:circuit",
            "data": {
                "provider": "openai",
                "from": "closed",
                "to": "open",
                "reason": "5 timeouts in a row",
            },
        },
        {
            "seq": 4,
            "at": "2026-11-22T01:00:00+00:00",
            "name": "action:open circuit",
            "data": {"target": "openai", "by": "op1", "reason": "incident 7", "detail": None},
        },
    ],
    "more": True,
}


def series(hours: float = 1.0) -> dict[str, Any]:
    return {
        "start": "2026-11-22T02:12:00+00:00",
        "step_s": 60,
        "names": ["openai"],
        "series": [
            {
                "name": "openai",
                "requests": [0.5] * 59 + [0.25],
                "errors": [0.0] * 50 + [0.1] * 10,
                "latency_ms": [4000.0] * 59 + [None],
            }
        ],
    }


def engine(**changes: Any) -> ScriptedClient:
    replies = {
        "completion:provider_status": {**STATUS, **changes},
        "system:journal": JOURNAL,
        "completion:series": series(),
    }
    return ScriptedClient(busy(), replies)


async def opened(hand: Hand, name: str = "openai") -> None:
    await hand.app.push_screen(later.provider_screen(name))


@SIZES
async def test_all_of_a_provider_is_shown(size: tuple[int, int]) -> None:
    async with dashboard(engine(), size) as hand:
        await opened(hand)
        await hand.sees("overview > openai", "■ open 4m12s", "ok 41% in 5 min")
        panes = {
            "1": [
                "■ open since 03:08:32, 4m12s",
                "5 timeouts in a row",
                "in 0:48; b lets one through now",
                "5 in a row",
                "gpt-4o: 0:09 left (429)",
                "03:08:32  ■ open",
                "was closed: 5 timeouts in a row",
                '! open circuit    openai by op1: "incident 7"',
                "older ones are in the log",
            ],
            "2": ["it is not called for anything now"],
            "3": [
                "8.1s     30s     30s",
                "0.7s    1.5s    2.4s",
                "1,203: 1,100 answered (91%), 103 failed",
                "timeout",
                "90 ██",
                "provider_error",
                "no first token",
            ],
            "4": ["0/16", "120 of 500 (24%)", "no limit", "gpt-*, o4-*", "OPENAI_API_KEY"],
            "5": ["calls/min  now 15", "errors/min  now 6", "latency s  now 4", "[1h]"],
        }
        for key, texts in panes.items():
            await hand.press(key)
            await hand.sees(*texts)


@SIZES
async def test_a_forced_circuit_names_who_and_until_when(size: tuple[int, int]) -> None:
    breaker = {
        **STATUS["circuit_breaker"],
        "forced": "open",
        "forced_by": "op1",
        "forced_until": "2026-11-22T03:42:44.400000+00:00",
        "reason": "incident 7",
    }
    async with dashboard(engine(circuit_breaker=breaker), size) as hand:
        await opened(hand)
        await hand.press("1")
        await hand.sees("forced open by op1 until 03:42:44, 30:00 left", "incident 7")


async def test_a_paused_one_says_by_whom() -> None:
    pause = {"scope": "provider", "id": "openai", "by": "op2", "reason": "budget"}
    async with dashboard(engine(paused=pause), WIDE) as hand:
        await opened(hand)
        await hand.sees('paused by op2: "budget"')


@SIZES
async def test_in_flight_lists_its_calls_and_opens_them(size: tuple[int, int]) -> None:
    async with dashboard(engine(), size) as hand:
        await opened(hand, "azure-eu")
        await hand.press("2")
        await hand.sees("2 In flight  2", "r-0988", "r-0991", "► streaming")
        assert "r-1042" not in hand.screen
        assert hand.client.queries[-1].provider == "azure-eu"
        await hand.press("j", "enter")
        await hand.sees("azure-eu > ", "r-0991")


async def test_keys_act_on_the_provider_not_on_a_row() -> None:
    async with dashboard(engine(), WIDE) as hand:
        await opened(hand, "azure-eu")
        await hand.sees("r-0988")
        target = hand.app.screen.target()  # type: ignore[attr-defined]
        assert (target.provider, target.request_id) == ("azure-eu", None)
        await hand.press("1", "enter")
        await hand.sees("enter opens a row of In flight: 2 goes there")


@SIZES
async def test_reading_and_an_unknown_provider_are_states(size: tuple[int, int]) -> None:
    client = engine()
    client.now = dataclasses.replace(client.now, providers=())
    gate, emit = asyncio.Event(), client.emit

    async def slow(name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        await gate.wait()
        return await emit(name, data)

    client.emit = slow  # type: ignore[method-assign]
    client.replies["completion:provider_status"] = {
        "error": "no provider 'nope'",
        "code": "not_found",
    }
    async with dashboard(client, size) as hand:
        await opened(hand, "nope")
        await hand.sees("○ reading…")
        gate.set()
        await hand.sees("! no provider 'nope'")
        assert hand.app.screen.target() is None  # type: ignore[attr-defined]


async def test_charts_over_another_time() -> None:
    async with dashboard(engine(), WIDE) as hand:
        await opened(hand)
        await hand.sees("15m [1h] 6h 24h 7d")
        await hand.press("right_square_bracket")
        await hand.sees("15m 1h [6h] 24h 7d", "calls/min")
        await hand.press("left_square_bracket", "left_square_bracket")
        await hand.sees("[15m] 1h")
        assert [data["hours"] for data in hand.client.sent("completion:series")][-1] == 0.25
        await hand.press("left_square_bracket")
        await hand.sees("there is no shorter time")


async def test_a_late_reply_of_another_time_is_not_shown() -> None:
    client = engine()
    emit, gates = client.emit, {1.0: asyncio.Event(), 6.0: asyncio.Event()}

    async def slow(name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        if name == "completion:series":
            await gates[(data or {})["hours"]].wait()
            found = series()
            if (data or {})["hours"] == 1.0:
                found["series"] = []
            return found
        return await emit(name, data)

    client.emit = slow  # type: ignore[method-assign]
    async with dashboard(client, WIDE) as hand:
        await opened(hand)
        await hand.press("right_square_bracket")
        gates[1.0].set()
        gates[6.0].set()
        await hand.sees("15m 1h [6h] 24h 7d", "calls/min  now 15")
        assert "no call in this time" not in hand.screen


@SIZES
async def test_no_call_and_no_series_are_said(size: tuple[int, int]) -> None:
    client = engine()
    client.replies["completion:series"] = {**series(), "series": []}
    async with dashboard(client, size) as hand:
        await opened(hand)
        await hand.press("5")
        await hand.sees("no call in this time")
    client.replies["completion:series"] = {"error": "unknown event", "code": "invalid_request"}
    async with dashboard(client, size) as hand:
        await opened(hand)
        await hand.press("5")
        await hand.sees("not known: unknown event")


@SIZES
async def test_hostile_text_is_only_text(size: tuple[int, int]) -> None:
    breaker = {**STATUS["circuit_breaker"], "reason": BAD, "forced": BAD, "forced_by": BAD}
    stats = {**STATUS["stats"], "failures_by_kind": {BAD: 2}}
    stats["last_error"] = {"at": BAD, "kind": BAD, "message": BAD}
    config = {**STATUS["config"], "models": [BAD], "api_base": BAD}
    client = engine(
        circuit_breaker=breaker, stats=stats, config=config, cooldowns={BAD: "2026-11-23T00:00Z"}
    )
    client.now = dataclasses.replace(
        client.now,
        providers=(provider(BAD, now=BAD),),
        active=(active(BAD, provider=BAD, session_id=BAD, why=BAD),),
    )
    async with dashboard(client, size) as hand:
        await opened(hand, BAD)
        for key in ("1", "2", "3", "4"):
            await hand.press(key)
            await hand.sees("[@click=app.quit]")
            assert not any(char in hand.screen for char in "\x1b\x07\x9b\u202e")


async def test_copying_offers_name_words_and_row(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    async with dashboard(engine(), WIDE) as hand:
        await opened(hand)
        await hand.sees("03:08:32  ■ open")
        monkeypatch.setattr(hand.app.screen, "copy_out", lambda text, what: taken.append(text))
        await hand.press("y", "l")
        await hand.until(lambda: taken)
        assert taken[0].startswith("Provider openai, 03:12:44 UTC")
        assert "■ open since 03:08:32" in taken[0]
        assert "was closed: 5 timeouts in a row" in taken[0]


async def test_frozen_holds_the_picture() -> None:
    client = engine()
    async with dashboard(client, WIDE) as hand:
        await opened(hand)
        await hand.sees("■ open 4m12s")
        await hand.press("f")
        await hand.sees("frozen, f goes on")

        def reads() -> int:
            return sum(query.provider == "openai" for query in client.queries)

        asked = reads()
        client.now = dataclasses.replace(client.now, at=client.now.at + 10)
        await hand.pilot.pause(0.1)
        assert reads() == asked
        await hand.press("f")
        await hand.until(lambda: reads() > asked)
