"""One session: requests, lock, transcript, happenings and cost, at both sizes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from ksi_tui.engine.views import Phase
from ksi_tui.screens import later
from ksi_tui.screens.base import Target
from ksi_tui.screens.session import SessionScreen
from tests.ui.acting import live
from tests.ui.harness import SMALL, WIDE, Hand, dashboard
from tests.ui.scripted import ScriptedClient, busy

SIZES = pytest.mark.parametrize("size", [SMALL, WIDE])
BAD = "\x1b]0;evil\x07[@click=app.quit]x[/nope]\u202e\x9b"


def completion(request_id: str, minute: int, **changes: Any) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "status": "completed",
        "phase": "completed",
        "why": None,
        "queued_at": f"2026-11-22T03:{minute:02}:00+00:00",
        "completed_at": f"2026-11-22T03:{minute:02}:04+00:00",
        "attempts": 1,
        "max_attempts": 3,
        "agent_id": "a12",
        "asked_model": "gpt-4o",
        "model": "gpt-4o",
        "provider": "openai",
        "tokens": 2722,
        "estimated": False,
        "cost": 0.0123,
        **changes,
    }


HISTORY = {
    "pairs": 21,
    "chars": 5000,
    "estimated_tokens": 1870,
    "turns": [
        {"role": "user", "text": "Which invoices are open?", "chars": 24},
        {"role": "assistant", "text": "2230 and 2231.", "chars": 14},
    ],
}
SESSION: dict[str, Any] = {
    "session_id": "globex-7",
    "exists": True,
    "completions": [
        completion("r-1001", 1),
        completion(
            "r-1020",
            5,
            status="failed",
            phase="failed",
            error_kind="timeout",
            why="no first token in 30 s",
            tokens=90,
            cost=None,
            attempts=3,
        ),
        completion(
            "r-1042",
            11,
            status="processing",
            phase="no token",
            why="no token for 34 s",
            completed_at=None,
            model="claude-sonnet-4-5",
            provider=None,
            tokens=None,
            cost=None,
        ),
        completion(
            "r-1047",
            12,
            status="queued",
            phase="queued",
            why="behind r-1042 in its session",
            completed_at=None,
            model=None,
            provider=None,
            tokens=None,
            cost=None,
            attempts=0,
        ),
    ],
    "queue": {"exists": True, "queue_size": 1, "is_active": True, "is_empty": False},
    "session": {
        "exists": True,
        "created_at": "2026-11-22T02:00:00+00:00",
        "last_activity": "2026-11-22T03:12:00+00:00",
        "request_count": 212,
        "active_request": "r-1042",
        "conversation_locked": True,
        "lock_holder": "a12",
        "lock_expiry": "2026-11-22T03:16:56.400000+00:00",
        "lock_granted": "2026-11-22T03:01:25+00:00",
        "lock_extended": 3,
        "turn_count": 21,
        "paused": None,
        "agents": ["a12", "a3"],
    },
}
USAGE = {
    "session_id": "globex-7",
    "usage": {
        "input_tokens": 402_000,
        "cache_read_tokens": 1_920,
        "cache_write_tokens": 0,
        "output_tokens": 71_000,
        "reasoning_tokens": 0,
        "total_tokens": 474_920,
        "request_count": 200,
        "cost": 1.23,
        "unpriced": 4,
        "estimated": 2,
    },
}
JOURNAL = {
    "entries": [
        {
            "seq": 9,
            "at": "2026-11-22T03:05:34+00:00",
            "name": "completion:error",
            "data": {"request_id": "r-1020", "kind": "timeout", "error": "no first token"},
        },
        {
            "seq": 8,
            "at": "2026-11-22T02:30:00+00:00",
            "name": "queue:paused",
            "data": {"scope": "session", "id": "globex-7", "by": "op2", "reason": "ticket 1"},
        },
        {
            "seq": 7,
            "at": "2026-11-22T02:10:00+00:00",
            "name": "action:force lock",
            "data": {"target": "globex-7", "by": "op1", "reason": "a9 hangs", "detail": "from a9"},
        },
    ],
    "more": False,
}


def engine(**changes: Any) -> ScriptedClient:
    def status(data: Mapping[str, Any]) -> dict[str, Any]:
        found = {**SESSION, **changes}
        return {**found, "history": HISTORY} if data.get("history") else found

    replies: dict[str, Any] = {
        "completion:session_status": status,
        "completion:token_usage": USAGE,
        "system:journal": JOURNAL,
    }
    client = ScriptedClient(busy(), replies)
    client.lives["r-1042"] = live()
    return client


async def opened(hand: Hand, session_id: str = "globex-7") -> None:
    await hand.app.push_screen(later.session_screen(session_id))


@SIZES
async def test_all_of_a_session_is_shown(size: tuple[int, int]) -> None:
    async with dashboard(engine(), size) as hand:
        await opened(hand)
        await hand.sees(
            "overview > globex-7",
            "► r-1042 runs",
            "2 unfinished",
            "lock a12, 4:12 left",
            "r-1047",
            "· queued",
            "behind r-1042",
            "► no token",
            "! failed",
            "timeout: no first",
            "newest 4 of 212",
        )
        panes = {
            "2": ["40 older ones go along too", "user      > Which invoices are open?"],
            "3": [
                "03:05:34  ! failed",
                "r-1020: timeout: no first token",
                "! force lock",
                "by op1",
            ],
            "4": ["locked by a12 since 03:01:25", "4:12 left, extended 3x", "a12, a3"],
            "5": ["cache read", "402,000", "≥ $1.23 (4 unpriced)", "2 calls estimated"],
        }
        for key, texts in panes.items():
            await hand.press(key)
            await hand.sees(*texts)


async def test_wide_shows_models_tokens_and_cost_in_the_rows() -> None:
    async with dashboard(engine(), WIDE) as hand:
        await opened(hand)
        await hand.sees("→ claude-sonnet-4-5", "2.7k", "$0.012", "unpr.", "~412", "1/3", "3/3")


async def test_small_tells_hidden_columns_of_the_row() -> None:
    async with dashboard(engine(), SMALL) as hand:
        await opened(hand)
        await hand.sees("[1 Requests 4]", "r-1047: gpt-4o · agent a12")
        await hand.press("j")
        await hand.sees("r-1042: asked gpt-4o, gets claude-sonnet-4-5")


@SIZES
async def test_reading_and_an_unknown_session_are_states(size: tuple[int, int]) -> None:
    client = engine()
    gate, emit = asyncio.Event(), client.emit

    async def slow(name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        await gate.wait()
        return await emit(name, data)

    client.emit = slow  # type: ignore[method-assign]
    async with dashboard(client, size) as hand:
        await opened(hand)
        await hand.sees("○ reading…")
        gate.set()
        await hand.sees("► r-1042 runs")
    nothing = {"exists": False, "completions": [], "session": {}, "queue": {}}
    async with dashboard(engine(**nothing), size) as hand:
        await opened(hand, "nope")
        await hand.sees("! no session nope is known", "no request of this session is kept")


@SIZES
async def test_without_a_journal_it_says_so(size: tuple[int, int]) -> None:
    client = engine()
    client.replies["system:journal"] = {"error": "unknown event", "code": "invalid_request"}
    async with dashboard(client, size) as hand:
        await opened(hand)
        await hand.press("3")
        await hand.sees("not known: unknown event")


async def test_rows_are_ordered_by_key_and_by_mouse() -> None:
    async with dashboard(engine(), WIDE) as hand:
        await opened(hand)
        await hand.sees("r-1047", "QUEUED↓")
        newest = [hand.screen.find(name) for name in ("r-1047", "r-1042  ", "r-1020", "r-1001")]
        assert newest == sorted(newest)
        hand.clock.advance(1)
        await hand.press("o")
        await hand.sees("QUEUED↑", "ordered by QUEUED, lowest first")
        oldest = [hand.screen.find(name) for name in ("r-1001", "r-1020", "r-1047")]
        assert oldest == sorted(oldest)
        await hand.press("o")
        await hand.sees("STATE↓")


async def test_rows_are_marked_and_all_of_them() -> None:
    async with dashboard(engine(), WIDE) as hand:
        await opened(hand)
        await hand.sees("r-1047")
        await hand.press("space")
        await hand.sees("1 marked")
        assert hand.app.screen.marked() == ("r-1047",)  # type: ignore[attr-defined]
        await hand.press("asterisk")
        await hand.sees_no("marked")
        await hand.press("asterisk")
        await hand.sees("4 marked")


async def test_keys_act_on_the_row_and_elsewhere_on_the_session() -> None:
    async with dashboard(engine(), WIDE) as hand:
        await opened(hand)
        await hand.sees("r-1047")
        screen = hand.app.screen
        assert isinstance(screen, SessionScreen)
        assert screen.target() == Target(request_id="r-1047", session_id="globex-7")
        await hand.press("j")
        running = Target(request_id="r-1042", session_id="globex-7", provider="anthropic")
        await hand.until(lambda: screen.target() == running, "what runs is the target")
        await hand.press("4")
        assert screen.target() == Target(session_id="globex-7")
        await hand.press("enter")
        await hand.sees("enter opens a row of Requests: 1 goes there")
        await hand.press("1", "enter")
        await hand.sees("globex-7 > r-1042")


async def test_the_filter_key_opens_the_list_of_requests_at_this_session() -> None:
    async with dashboard(engine(), WIDE) as hand:
        await opened(hand, 'a "b" c')
        await hand.press("slash")
        await hand.until(lambda: hand.app.screen.__class__.__name__ == "RequestsScreen")


async def test_the_transcript_is_read_again_when_a_turn_came() -> None:
    client = engine()
    async with dashboard(client, WIDE) as hand:
        await opened(hand)
        await hand.sees("Which invoices are open?")
        hand.clock.advance(1.1)
        await hand.until(lambda: len(client.sent("completion:session_status")) == 2)
        asked = [bool(d.get("history")) for d in client.sent("completion:session_status")]
        assert asked == [True, False]
        more = {**SESSION, "session": {**SESSION["session"], "turn_count": 22}}
        turns = [*HISTORY["turns"], {"role": "user", "text": "And now?", "chars": 8}]  # type: ignore[misc]
        client.replies["completion:session_status"] = {**more, "history": {"turns": turns}}
        hand.clock.advance(1.1)
        await hand.until(lambda: len(client.sent("completion:session_status")) == 3)
        hand.clock.advance(1.1)
        await hand.sees("And now?")


@SIZES
async def test_never_shows_no_transcript_and_copies_none(size: tuple[int, int]) -> None:
    async with dashboard(engine(), size, text="never") as hand:
        await opened(hand)
        await hand.press("2")
        await hand.sees('hidden: ui.text is "never"')
        await hand.press("y")
        await hand.sees("copy  i session id")
        assert "t transcript" not in hand.screen
        assert "invoices" not in hand.screen


@SIZES
async def test_hostile_text_is_only_text(size: tuple[int, int]) -> None:
    row = completion(BAD, 1, why=BAD, agent_id=BAD, asked_model=BAD, model=BAD, provider=BAD)
    session = {**SESSION["session"], "lock_holder": BAD, "agents": [BAD]}
    session["paused"] = {"by": BAD, "reason": BAD, "since": BAD}
    client = engine(completions=[row], session=session)
    entry = {"at": BAD, "name": BAD, "data": {BAD: BAD}}
    client.replies["system:journal"] = {"entries": [entry], "more": True}
    async with dashboard(client, size) as hand:
        await opened(hand, BAD)
        for key in ("1", "3", "4"):
            await hand.press(key)
            await hand.sees("[@click=app.quit]")
            assert not any(char in hand.screen for char in "\x1b\x07\x9b\u202e")


async def test_the_running_requests_row_is_live() -> None:
    client = engine()
    async with dashboard(client, WIDE) as hand:
        await opened(hand)
        await hand.sees("► no token")
        client.lives["r-1042"] = live(phase=Phase.STREAMING, tokens=777, why="")
        await hand.sees("► streaming", "~777")
