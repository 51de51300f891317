"""One request: why, timeline, usage, prompt and its answer live, at both sizes."""

from __future__ import annotations

from typing import Any

import pytest

from ksi_tui.engine.views import Phase
from tests.ui.acting import live
from tests.ui.harness import SMALL, WIDE, dashboard
from tests.ui.scripted import ScriptedClient, busy

REPORT: dict[str, Any] = {
    "request_id": "r-1042",
    "session_id": "globex-7",
    "agent_id": "a12",
    "status": "processing",
    "priority": "normal",
    "requested_model": "gpt-4o",
    "model": "claude-sonnet-4-5",
    "provider": "anthropic",
    "queued_at": "2026-11-22T03:11:24.100000+00:00",
    "max_attempts": 3,
    "metadata": {"customer": "globex"},
    "params": {"temperature": 0.2},
    "history": "session",
    "prompt": "Why did invoice 2231 double?\nShow the lines.",
    "attempts": [
        {
            "attempt": 1,
            "started_at": "2026-11-22T03:11:24.200000+00:00",
            "finished_at": "2026-11-22T03:11:54.600000+00:00",
            "retry_at": "2026-11-22T03:11:56.700000+00:00",
            "verdicts": [
                {"provider": "openai", "kind": "open", "detail": "open, probe in 2:08"},
                {"provider": "anthropic", "kind": "taken", "detail": ""},
            ],
            "calls": [
                {
                    "provider": "anthropic",
                    "model": "claude-sonnet-4-5",
                    "asked_model": "gpt-4o",
                    "outcome": "failed",
                    "duration_ms": 30_000,
                    "error": {"kind": "timeout", "message": "no first token in 30 s"},
                    "usage": {"input": 2310, "output": 0, "estimated": True},
                    "cost": 0.0069,
                    "waste": True,
                }
            ],
        },
        {
            "attempt": 2,
            "started_at": "2026-11-22T03:11:56.700000+00:00",
            "verdicts": [{"provider": "anthropic", "kind": "taken", "detail": ""}],
            "calls": [
                {
                    "provider": "anthropic",
                    "model": "claude-sonnet-4-5",
                    "asked_model": "gpt-4o",
                    "outcome": "running",
                    "first_token_at": "2026-11-22T03:11:57.400000+00:00",
                    "ttft_ms": 700,
                    "tokens_so_far": 412,
                }
            ],
        },
    ],
}


def engine(report: dict[str, Any] | None = None) -> ScriptedClient:
    client = ScriptedClient(busy(), {"completion:request_status": report or REPORT})
    client.lives["r-1042"] = live()
    return client


async def test_wide_shows_everything_of_a_request() -> None:
    async with dashboard(engine(), WIDE) as hand:
        await hand.press("enter")
        await hand.sees(
            "ksi-tui prod-eu  overview > globex-7 > r-1042",
            "► no token   session globex-7   agent a12   priority normal",
            "asked gpt-4o, gets claude-sonnet-4-5",
            "If nobody acts: the idle clock fires in 0:26",
            "03:11:24.1  · queued",
            "skipped: open, probe in 2:08",
            "30s    ! timeout: no first token in 30 s",
            "~ backoff      2.1s",
            "taken, as claude-sonnet-4-5 (asked gpt-4o)",
            "► first token  after 0.7s",
            "2,310 est.",
            "$0.0069",
            "user   > Why did invoice 2231 double?",
            "Invoice 2231 doubled",
            "-- no token for 34 s --",
        )


async def test_small_shows_tabs() -> None:
    async with dashboard(engine(), SMALL) as hand:
        await hand.press("enter")
        await hand.sees("[1 Timeline]", "2 Answer 412 tok", "► attempt 2    of 3")
        await hand.press("2")
        await hand.sees("[2 Answer 412 tok]", "Invoice 2231 doubled")
        await hand.press("tab")
        await hand.sees("[3 Prompt]", "Show the lines.")
        await hand.press("4")
        await hand.sees("asked    gpt-4o", "params   temperature 0.2")
        await hand.press("escape")
        await hand.sees("[2 Active 31]")


async def test_the_answer_streams_and_ends() -> None:
    client = engine()
    async with dashboard(client, WIDE) as hand:
        await hand.press("enter")
        await hand.sees("Answer so far  412 tokens")
        client.lives["r-1042"] = live(
            phase=Phase.STREAMING, text="Invoice 2231 doubled because", tokens=500
        )
        await hand.sees("doubled because", "Answer so far  500 tokens")
        client.lives.clear()
        client.replies["completion:request_status"] = {
            **REPORT,
            "status": "completed",
            "text": "Invoice 2231 doubled because of two contracts.",
        }
        await hand.sees("√ completed", "because of two contracts.", "Answer  46 characters")


async def test_never_shows_neither_prompt_nor_reply() -> None:
    async with dashboard(engine(), WIDE, text="never") as hand:
        await hand.press("enter")
        await hand.sees("hidden: ui.text", "overview > globex-7")
        assert "Why did invoice" not in hand.screen
        assert "Invoice 2231 doubled" not in hand.screen


async def test_an_unknown_request_is_said() -> None:
    unknown = {"error": "no request r-1042", "code": "not_found"}
    client = ScriptedClient(busy(), {"completion:request_status": unknown})
    async with dashboard(client, SMALL) as hand:
        await hand.press("enter")
        await hand.sees("! no request r-1042")


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_hostile_text_of_every_kind_is_only_text(size: tuple[int, int]) -> None:
    bad = "\x1b]0;evil\x07[@click=app.quit]x[/nope]\u202e\x9b"
    report = {
        **REPORT,
        "session_id": bad,
        "agent_id": bad,
        "requested_model": bad,
        "prompt": bad,
        "metadata": {bad: bad},
        "params": {bad: bad},
        "timeline": [{"at": bad, "what": f"completion:{bad}", "text": bad}],
        "error": {"kind": bad, "message": bad},
    }
    client = engine(report)
    client.lives["r-1042"] = live(why=bad, text=bad, if_nobody_acts=bad, model=bad)
    async with dashboard(client, size) as hand:
        await hand.press("enter")
        for key in ("1", "2", "3", "4"):
            await hand.press(key)
            await hand.sees("[@click=app.quit]")
            assert not any(char in hand.screen for char in "\x1b\x07\x9b\u202e")


async def test_cancel_from_the_request_screen_names_it() -> None:
    client = engine()
    client.replies["completion:session_status"] = {
        "completions": [{"request_id": "r-1042", "status": "processing"}]
    }
    async with dashboard(client, SMALL) as hand:
        await hand.press("enter")
        await hand.sees("► attempt 2")
        await hand.press("c")
        await hand.sees("Stop 1 request of globex-7?")
