"""The pane Attention: what needs somebody, above the others, folded to one line when nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

from ksi_tui.client import Snapshot
from ksi_tui.engine.views import AttentionKind, AttentionView
from ksi_tui.screens.overview import Overview
from tests.ui.harness import SMALL, WIDE, Hand, dashboard
from tests.ui.scripted import ScriptedClient, busy, first_start
from tests.ui.story import attention, row


def needy(*views: AttentionView) -> Snapshot:
    shown = views or attention()
    return dataclasses.replace(busy(), attention=shown, attention_total=len(shown))


def overview(hand: Hand) -> Overview:
    screen = hand.app.screen
    assert isinstance(screen, Overview)
    return screen


async def test_the_picture_where_there_is_room() -> None:
    async with dashboard(ScriptedClient(needy()), WIDE) as hand:
        await hand.sees("! Attention  4", "worst first")
        await hand.sees("openai        ■ open", "4m12s", "62 req, 23 sessions", "enter its circuit")
        await hand.sees("acme-42       ○ waiting", "extended 3x", "w why")
        await hand.sees("r-1042        ► no token", "34s", "n send elsewhere")
        await hand.sees("nightly-eval  = paused", '2h11m by op2: "budget until 06', "p resume")
        lines = hand.screen.splitlines()
        place = {
            name: next(i for i, text in enumerate(lines) if name in text)
            for name in ("! Attention", "3 Providers", "2 Active")
        }
        assert place["! Attention"] < place["3 Providers"] < place["2 Active"]


async def test_the_small_picture_puts_what_is_hit_into_the_why() -> None:
    async with dashboard(ScriptedClient(needy()), SMALL) as hand:
        await hand.sees("! Attention  4", "no first token…; 62 req", "; 3 req", "[2 Active")
        assert "BEST KEY" not in hand.screen
        await hand.press("exclamation_mark")
        await hand.sees("openai: enter its circuit · 62 req, 23 sessions · 5 timeouts in a row")
        assert "r-1042" in hand.screen


async def test_nothing_folds_to_one_line_and_gives_its_room_back() -> None:
    for size in (WIDE, SMALL):
        scripted = ScriptedClient(needy())
        async with dashboard(scripted, size) as hand:
            await hand.sees("! Attention  4")
            scripted.now = busy()
            await hand.sees(" ! Attention  √ nothing waits longer than usual")
            await hand.sees_no("enter its circuit", "62 req, 23 sessions")
            await hand.press("exclamation_mark")
            await hand.sees("nothing needs attention")
            scripted.now = needy()
            await hand.sees("! Attention  4")


async def test_more_than_fits_is_scrolled_and_asked_for() -> None:
    many = tuple(
        row(AttentionKind.PAUSE, f"s{n}", look=None, state="paused", session_id=f"s{n}")
        for n in range(30)
    )
    for size, most in ((WIDE, 6), (SMALL, 4)):
        async with dashboard(ScriptedClient(needy(*many)), size) as hand:
            await hand.sees("! Attention  30", f"{most} of 30")
            await hand.press("exclamation_mark", "G")
            await hand.sees("s29")


async def test_the_keys_are_about_the_row_and_what_it_tells_of() -> None:
    async with dashboard(ScriptedClient(needy()), WIDE) as hand:
        screen = overview(hand)
        await hand.sees("! Attention  4")
        await hand.press("exclamation_mark")
        await hand.sees("► openai")
        target = screen.target()
        assert target is not None
        assert (target.provider, target.request_id, target.session_id) == ("openai", None, None)
        await hand.press("j")
        target = screen.target()
        assert target is not None
        assert (target.request_id, target.session_id) == ("r-81", "acme-42")
        opened: list[Any] = []
        screen.go = opened.append  # type: ignore[assignment, method-assign]
        await hand.press("w", "j", "enter", "j", "enter", "g", "enter")
        assert [getattr(s, "request_id", None) for s in opened[:2]] == ["r-81", "r-1042"]
        assert [type(s).__name__ for s in opened] == [
            "WhyScreen",
            "RequestScreen",
            "SessionScreen",
            "ProviderScreen",
        ]


async def test_what_is_the_engines_own_opens_the_log_of_what_led_to_it() -> None:
    fault = row(
        AttentionKind.FAULT,
        "database",
        look=None,
        state="fault",
        why="disk full",
        action="events",
    )
    async with dashboard(ScriptedClient(needy(fault)), WIDE) as hand:
        screen = overview(hand)
        await hand.sees("! fault", "disk full")
        opened: list[Any] = []
        screen.go = opened.append  # type: ignore[assignment, method-assign]
        await hand.press("exclamation_mark", "enter")
        assert [type(s).__name__ for s in opened] == ["EventsScreen"]


async def test_the_focus_leaves_a_pane_that_folds() -> None:
    scripted = ScriptedClient(needy())
    async with dashboard(scripted, SMALL) as hand:
        await hand.sees("! Attention  4")
        await hand.press("exclamation_mark")
        assert hand.app.focused is not None
        assert hand.app.focused.id == "attention"
        scripted.now = busy()
        await hand.until(lambda: hand.app.focused is not None and hand.app.focused.id == "active")
        target = overview(hand).target()
        assert target is not None
        assert target.request_id == "r-1042"


async def test_tab_goes_through_attention_too() -> None:
    async with dashboard(ScriptedClient(needy()), WIDE) as hand:
        await hand.sees("! Attention  4")
        seen = []
        for _ in range(6):
            assert hand.app.focused is not None
            seen.append(hand.app.focused.id)
            await hand.press("tab")
        assert seen == ["active", "providers", "locks", "tokens", "attention", "queues"]


async def test_what_comes_from_outside_is_cleaned() -> None:
    evil = row(
        AttentionKind.PAUSE,
        "s\x1b[31m1",
        look=None,
        state="paused",
        why="by x\x1b]52;c;aGk=\x07[@click=app.quit]y",
        session_id="s",
    )
    async with dashboard(ScriptedClient(needy(evil)), WIDE) as hand:
        await hand.sees("= paused", "[@click=app.quit]y")
        assert "\x1b" not in hand.screen


async def test_zoom_and_too_small_hide_it_and_every_size_is_drawn() -> None:
    async with dashboard(ScriptedClient(needy()), WIDE) as hand:
        await hand.sees("! Attention  4")
        await hand.press("z")
        await hand.sees_no("! Attention")
        await hand.press("z")
        await hand.sees("! Attention  4")
        for size in ((59, 14), (80, 24), (60, 16), (200, 60), (140, 45)):
            await hand.pilot.resize_terminal(*size)
            await hand.pilot.pause()
            assert hand.screen.strip()
        await hand.sees("! Attention  4", "3 Providers")


async def test_the_first_start_needs_nobody() -> None:
    async with dashboard(ScriptedClient(first_start()), SMALL) as hand:
        await hand.sees("! Attention  √", "No provider key was found")
