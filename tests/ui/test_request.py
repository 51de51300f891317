"""One request: why, timeline, usage, prompt and its answer live, at both sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from ksi_tui.engine.views import Phase
from tests.ui.acting import live
from tests.ui.harness import SMALL, WIDE, dashboard
from tests.ui.scripted import ScriptedClient, busy


def _moment(clock: str) -> str:
    return f"2026-11-22T03:{clock}+00:00"


REPORT: dict[str, Any] = {
    "request_id": "r-1042",
    "session_id": "globex-7",
    "agent_id": "a12",
    "status": "processing",
    "priority": "normal",
    "requested_model": "gpt-4o",
    "model": "claude-sonnet-4-5",
    "provider": "anthropic",
    "queued_at": _moment("11:24.100000"),
    "deadline_at": _moment("26:24.400000"),
    "session_position": {"at": 1, "of": 3},
    "max_attempts": 3,
    "metadata": {"customer": "globex", "ticket": 8841},
    "params": {
        "temperature": 0.2,
        "max_tokens": 4096,
        "tools": [{"type": "function", "function": {"name": "asana"}}],
    },
    "history": "session",
    "prompt": "Why did invoice 2231 double?\nShow the lines.",
    "attempts": [
        {
            "attempt": 1,
            "started_at": _moment("11:24.200000"),
            "finished_at": _moment("11:54.600000"),
            "retry_at": _moment("11:56.700000"),
            "verdicts": [
                {
                    "provider": "openai",
                    "kind": "open",
                    "detail": "openai open",
                    "until": _moment("13:32.200000"),
                },
                {"provider": "azure-eu", "kind": "taken", "detail": ""},
                {"provider": "anthropic", "kind": "taken", "detail": ""},
            ],
            "calls": [
                {
                    "provider": "azure-eu",
                    "model": "gpt-4o",
                    "asked_model": "gpt-4o",
                    "outcome": "failed",
                    "started_at": _moment("11:24.200000"),
                    "finished_at": _moment("11:24.600000"),
                    "duration_ms": 400,
                    "error": {"kind": "api_rate_limit", "message": "slow down", "status": 429},
                    "waste": True,
                },
                {
                    "provider": "anthropic",
                    "model": "claude-sonnet-4-5",
                    "asked_model": "gpt-4o",
                    "outcome": "failed",
                    "started_at": _moment("11:24.600000"),
                    "finished_at": _moment("11:54.600000"),
                    "duration_ms": 30_000,
                    "error": {"kind": "timeout", "message": "anthropic: no first token in 30 s"},
                    "usage": {"input": 2310, "output": 0, "estimated": True},
                    "cost": 0.0069,
                    "price_version": "litellm 1.106.2 map",
                    "tool_schema_tokens": 1104,
                    "waste": True,
                },
            ],
        },
        {
            "attempt": 2,
            "started_at": _moment("11:56.700000"),
            "verdicts": [
                {
                    "provider": "azure-eu",
                    "kind": "cooling",
                    "detail": "azure-eu cooling",
                    "until": _moment("12:52.700000"),
                },
                {"provider": "anthropic", "kind": "taken", "detail": ""},
            ],
            "calls": [
                {
                    "provider": "anthropic",
                    "model": "claude-sonnet-4-5",
                    "asked_model": "gpt-4o",
                    "outcome": "running",
                    "started_at": _moment("11:56.700000"),
                    "first_token_at": _moment("11:57.400000"),
                    "last_token_at": _moment("12:10.400000"),
                    "ttft_ms": 700,
                    "tokens_so_far": 412,
                    "clock": "idle",
                    "clock_ends_at": _moment("13:10.400000"),
                    "estimate": {
                        "input": 390,
                        "cache_read": 1920,
                        "output": 412,
                        "cost": 0.0079,
                        "estimated": True,
                    },
                    "worker": {"worker": 2, "pid": 40117, "up_s": 10_900},
                }
            ],
        },
    ],
}
SENT: dict[str, Any] = {
    "begun": True,
    "known": True,
    "history": [
        {"role": "user", "content": "Which invoices are open?"},
        {"role": "assistant", "content": "2230 and 2231."},
    ],
    "messages": [
        {"role": "system", "content": "You are the billing assistant."},
        {"role": "user", "content": "Why did invoice 2231 double?\nShow the lines."},
    ],
    "turns": 1,
    "history_tokens": 1870,
    "estimated_tokens": 2310,
}


def engine(report: dict[str, Any] | None = None) -> ScriptedClient:
    found = report or REPORT

    def status(data: Mapping[str, Any]) -> dict[str, Any]:
        return {**found, "sent": SENT} if data.get("sent") else dict(found)

    client = ScriptedClient(busy(), {"completion:request_status": status})
    client.lives["r-1042"] = live()
    return client


async def test_wide_shows_everything_of_a_request() -> None:
    async with dashboard(engine(), WIDE) as hand:
        await hand.press("enter")
        await hand.sees(
            "ksi-tui prod-eu  overview > globex-7 > r-1042",
            "r-1042  ► no token for 34 s   session globex-7 (1 of 3)   agent a12   priority normal",
            "deadline in 13:40",
            "meta customer=globex ticket=8841 deadline in 13:40",
            "anthropic silent since 03:12:10 (usual gap 0.03 s), after 412 tokens. 2 wait behind",
            "If nobody acts: the idle clock fires in 0:26",
            "03:11:24.1  · queued       by a12, priority normal",
            "openai       skipped: open, probe in 2:08",
            "azure-eu     0.4s   ! api_rate_limit 429: slow down",
            "anthropic    30s    ! timeout: no first token in 30 s",
            "~ backoff      2.1s",
            "azure-eu     skipped: cooling, 0:56 left",
            "taken, as claude-sonnet-4-5 (asked gpt-4o)",
            "► first token  after 0.7s",
            "► last token   412 tokens, 32 tok/s",
            "► no token     34s    [================>             ] idle limit 60 s",
            "2,310 est.      390 est.",
            "1,920 est.",
            "≤ $0.0069     ~ $0.0079",
            "30s",
            "asked    gpt-4o  temp 0.2  max 4,096",
            "answers  → claude-sonnet-4-5",
            "history  session, 1 turn, ~1,870 tok",
            "tools    1 (asana: 1,104 tok schema)",
            "prices   litellm 1.106.2 map",
            "worker   w2, pid 40117, up 3h01m",
            "~2,310 tok",
            "system > You are the billing assistant.",
            "user   > Why did invoice 2231 double?",
            "Invoice 2231 doubled",
            "-- no token for 34 s --",
        )


async def test_small_shows_tabs() -> None:
    async with dashboard(engine(), SMALL) as hand:
        await hand.press("enter")
        await hand.sees(
            "► no token for 34 s · session globex-7 (1 of 3) · a12",
            "deadline in 13:40",
            "[1 Timeline] 2 Answer 412 tok  3 Prompt  4 Usage ≤$0.015  5 Raw",
            "anthropic silent since 03:12:10 (usual gap 0.03 s), after 412 tokens. 2 wait │",
            "│ behind it. ",
            "If nobody acts: the idle clock fires in 0:26, attempt 3 of 3 starts",
            "► attempt 2    of 3",
            "[=======>       ] idle limit 60 s",
        )
        await hand.press("2")
        await hand.sees("[2 Answer 412 tok]", "Invoice 2231 doubled")
        await hand.press("tab")
        await hand.sees("[3 Prompt]", "Show the lines.", "-- 1 earlier turn went along")
        await hand.press("4")
        await hand.sees(
            "asked    gpt-4o", "answers  → claude", "max 4,096", "ATTEMPT 1     ATTEMPT 2"
        )
        await hand.press("5")
        await hand.sees("[5 Raw]", '"request_id": "r-1042"')
        await hand.press("v")
        await hand.sees("[2 Answer 412 tok]")
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


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_before_the_record_is_read_it_says_so(size: tuple[int, int]) -> None:
    client = engine()
    gate = client.hold("completion:request_status")
    async with dashboard(client, size) as hand:
        await hand.press("enter")
        await hand.sees("○ reading…", "the record is read from the database")
        for _ in range(20):  # ticks go on and ask no second time
            await hand.pilot.pause(0.02)
        gate.set()
        await hand.sees("► attempt 2")
        assert len(client.sent("completion:request_status")) == 1


async def test_an_end_that_comes_while_the_record_is_read_is_read_at_once() -> None:
    client = engine()
    gate = client.hold("completion:request_status")
    async with dashboard(client, WIDE) as hand:
        await hand.press("enter")
        await hand.until(lambda: client.sent("completion:request_status"))
        client.lives.clear()
        client.replies["completion:request_status"] = {**REPORT, "status": "completed"}
        looked = len(client.queries)
        await hand.until(lambda: len(client.queries) > looked)
        gate.set()
        await hand.sees("√ completed")


async def test_the_record_is_read_again_in_time_and_what_was_sent_only_once() -> None:
    client = engine()
    async with dashboard(client, WIDE) as hand:
        await hand.press("enter")
        await hand.sees("► attempt 2")
        hand.clock.advance(1.1)
        await hand.until(lambda: len(client.sent("completion:request_status")) == 2)
        assert [bool(d.get("sent")) for d in client.sent("completion:request_status")] == [
            True,
            False,
        ]
        await hand.sees("system > You are the billing assistant.")


@pytest.mark.parametrize("size", [SMALL, WIDE])
@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        (
            {"status": "failed", "error": {"kind": "timeout", "message": "no first token"}},
            ["! failed", "timeout: no first token", "r tries it again under the same id"],
        ),
        (
            {"status": "cancelled", "by": "op2", "reason": "ticket 8841", "text": "Invoice"},
            ["× cancelled", "cancelled by op2: ticket 8841; the text that had arrived is kept"],
        ),
        (
            {"status": "completed", "provider": "anthropic", "attempts_spent": 2, "ttft_ms": 700},
            ["√ completed", "completed by anthropic as claude-sonnet-4-5 in place of gpt-4o,"],
        ),
    ],
)
async def test_each_end_is_told(
    size: tuple[int, int], changes: dict[str, Any], seen: list[str]
) -> None:
    ended = {"finished_at": _moment("12:40.000000"), "deadline_at": None}
    client = engine({**REPORT, **ended, **changes})
    client.lives.clear()
    async with dashboard(client, size) as hand:
        await hand.press("enter")
        await hand.sees(*seen, "took 1m15s")


def stopped_report(**call: Any) -> dict[str, Any]:
    last = {
        **REPORT["attempts"][1]["calls"][0],
        "outcome": "cancelled",
        "finished_at": _moment("12:42.000000"),
        "duration_ms": 45_300,
        "partial_text": "Invoice",
        **call,
    }
    attempts = [REPORT["attempts"][0], {**REPORT["attempts"][1], "calls": [last]}]
    ended = {"status": "cancelled", "by": "op1", "finished_at": _moment("12:42.000000")}
    return {**REPORT, **ended, "attempts": attempts}


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_cancelling_and_unconfirmed_are_states_one_sees(size: tuple[int, int]) -> None:
    client = engine(stopped_report(closing=True))
    client.lives.clear()
    async with dashboard(client, size) as hand:
        await hand.press("enter")
        await hand.sees(
            "× cancelling", "its upstream is being closed", "closing the upstream, 2.4s"
        )
        client.now = dataclasses.replace(client.now, at=client.now.at + 4)
        await hand.sees("unconfirmed after 5 s: upstream may still bill", "6.4s")
    client = engine(stopped_report(closing=False, upstream_closed_ms=None))
    client.lives.clear()
    async with dashboard(client, size) as hand:
        await hand.press("enter")
        await hand.sees("cancelled, unconfirmed after 5 s: upstream may still bill")
    client = engine(stopped_report(closing=False, upstream_closed_ms=38.0))
    client.lives.clear()
    async with dashboard(client, size) as hand:
        await hand.press("enter")
        await hand.sees("× cancelled", "upstream closed after 38 ms")


async def test_what_people_did_stands_in_the_timeline_with_who_and_why() -> None:
    deed = {
        "at": _moment("12:00.000000"),
        "what": "send elsewhere",
        "text": "op1 · slow",
        "by": "op1",
        "reason": "slow",
        "detail": "avoid azure-eu",
    }
    async with dashboard(engine({**REPORT, "timeline": [deed]}), WIDE) as hand:
        await hand.press("enter")
        await hand.sees("03:12:00.0  ! elsewhere    by op1: slow (avoid azure-eu)")
        screen = hand.screen
        assert screen.find("► attempt 2") < screen.find("! elsewhere")


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_texts_can_be_hidden_and_shown_everywhere(size: tuple[int, int]) -> None:
    secrets = ("Invoice 2231", "invoice 2231", "billing assistant", "Which invoices")
    async with dashboard(engine(), size) as hand:
        await hand.press("enter")
        await hand.sees("► attempt 2")
        await hand.press("t")
        for key in ("1", "2", "3", "4", "5"):
            await hand.press(key, "G")
            await hand.sees("hidden, t shows it") if key in "235" else await hand.pilot.pause()
            assert not any(secret in hand.screen for secret in secrets)
        await hand.press("2", "t")
        await hand.sees("Invoice 2231 doubled")


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_never_hides_for_good_and_copies_no_text(size: tuple[int, int]) -> None:
    async with dashboard(engine(), size, text="never") as hand:
        await hand.press("enter")
        await hand.sees("► attempt 2")
        await hand.press("t")
        await hand.sees('texts stay hidden: ui.text is "never"')
        for key in ("2", "3", "5"):
            await hand.press(key, "G")
            await hand.sees("hidden: ui.text is")
            assert "nvoice 2231" not in hand.screen
        await hand.press("y")
        await hand.sees("copy  i id")
        assert "t text" not in hand.screen.splitlines()[-1]
        assert "c command" not in hand.screen.splitlines()[-1]


@pytest.mark.parametrize(
    ("key", "said", "copied"),
    [
        ("i", "the id", "r-1042"),
        ("t", "the text", "Invoice 2231 doubled"),
        ("c", "the command", "ksi-tui run -"),
        ("l", "the timeline in words", "Request r-1042 of session globex-7 (agent a12)"),
        ("enter", "the id", "r-1042"),
    ],
)
async def test_copying_asks_which(
    key: str, said: str, copied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    async with dashboard(engine(), WIDE) as hand:
        await hand.press("enter")
        await hand.sees("► attempt 2")
        screen = hand.app.screen
        monkeypatch.setattr(screen, "copy_out", lambda text, what: taken.extend((text, what)))
        await hand.press("y")
        await hand.sees("copy  i id  t text  c command  l timeline in words  esc nothing")
        await hand.press(key)
        await hand.until(lambda: taken)
        assert copied in taken[0]
        assert taken[1] == said
        assert hand.app.screen is screen


async def test_leaving_the_copy_menu_copies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with dashboard(engine(), SMALL) as hand:
        await hand.press("enter")
        await hand.sees("► attempt 2")
        taken: list[str] = []
        monkeypatch.setattr(hand.app.screen, "copy_out", lambda *_: taken.append("x"))
        await hand.press("y", "escape")
        await hand.sees_no("copy  i id")
        await hand.sees("► attempt 2")
        assert taken == []


async def test_zoom_gives_one_pane_the_screen_and_takes_it_back() -> None:
    async with dashboard(engine(), WIDE) as hand:
        await hand.press("enter")
        await hand.sees("► attempt 2", "┌─ Prompt")
        await hand.press("1", "z")
        await hand.sees_no("┌─ Prompt", "Usage and call")
        await hand.sees("[1 Timeline]", "► attempt 2")
        await hand.press("z")
        await hand.sees("┌─ Prompt", "Usage and call")


async def test_raw_takes_the_answers_place_and_gives_it_back() -> None:
    async with dashboard(engine(), WIDE) as hand:
        await hand.press("enter")
        await hand.sees("┌─ Answer so far")
        await hand.press("v")
        await hand.sees("┌─ Raw record", '"request_id": "r-1042"', "► attempt 2")
        assert "┌─ Answer so far" not in hand.screen
        await hand.press("v")
        await hand.sees("┌─ Answer so far")


async def test_resizing_at_any_moment_keeps_what_is_chosen() -> None:
    async with dashboard(engine(), WIDE) as hand:
        await hand.press("enter")
        await hand.sees("┌─ Prompt")
        await hand.press("3")
        await hand.pilot.resize_terminal(*SMALL)
        await hand.sees("[3 Prompt]", "Show the lines.")
        await hand.pilot.resize_terminal(50, 12)
        await hand.sees("50x12 is too small")
        await hand.pilot.resize_terminal(*WIDE)
        await hand.sees("┌─ Answer so far", "Show the lines.")
