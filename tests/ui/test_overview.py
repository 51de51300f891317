"""The overview at both sizes, and its designed states."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from rich.cells import cell_len

from ksi_tui.app import KsiApp
from ksi_tui.config import UiSettings
from ksi_tui.engine.errors import DatabaseOwned
from ksi_tui.engine.views import Level, Snapshot, Verdict
from ksi_tui.incident.recorder import QUERY as RECORDED
from ksi_tui.screens.layouts import Layout, layout_for
from ksi_tui.widgets.table import LEFT_ALONE_S, LiveTable
from tests.ui.harness import SMALL, WIDE, Hand, dashboard
from tests.ui.scripted import ScriptedClient, active, busy, first_start, queue


async def test_wide_shows_the_verdict_the_numbers_and_five_panes() -> None:
    async with dashboard(ScriptedClient(busy()), WIDE) as hand:
        await hand.sees("ksi-tui prod-eu  ▲ DEGRADED  openai open 4m12s (timeout)", "03:12:44 UTC")
        lines = hand.screen.splitlines()
        assert lines[1].startswith(" active 31/32   queued 214   retrying 6   failed 3 new")
        assert "today ≥ $41.20 (4 unpriced)" in lines[1]
        for title in ("1 Queues", "2 Active  31 of 32", "3 Providers", "4 Locks  3", "5 Tokens"):
            assert f"┌─ {title}" in hand.screen
        assert "openai      ■ open       4m12s   41%" in hand.screen
        assert "etl-nightl…-03" in hand.screen
        assert "► no token     1m20s  0.7s   412     0 no token for 34 s" in hand.screen
        assert "anthropic   1.8M   402k    44%    $21.07" in hand.screen


async def test_small_shows_one_pane_tabs_with_counts_and_what_is_hidden() -> None:
    async with dashboard(ScriptedClient(busy()), SMALL) as hand:
        await hand.sees("[2 Active 31]", "3 Providers ■1 ▼1", "4 Locks 3", "5 Tokens 1.9k/s")
        await hand.sees("r-1042: asked gpt-4o, gets claude-sonnet-4-5 · agent a12 · 412 tokens")
        assert "┌─ 1 Queues" not in hand.screen
        await hand.press("1")
        await hand.sees("┌─ 1 Queues  214 in 6 sessions", "[1 Queues 214]")
        await hand.press("5")
        await hand.sees("┌─ 5 Tokens", "     0└")
        await hand.press("tab")
        await hand.sees("┌─ 1 Queues")


@pytest.mark.parametrize("size", [SMALL, WIDE, (100, 30), (120, 36), (200, 60), (60, 16)])
@pytest.mark.parametrize("key", ["1", "2", "3", "4", "5"])
async def test_every_line_fills_the_terminal_exactly(size: tuple[int, int], key: str) -> None:
    async with dashboard(ScriptedClient(busy()), size) as hand:
        await hand.press(key)
        await hand.pilot.pause()
        lines = hand.screen.splitlines()
        assert len(lines) == size[1]
        assert {cell_len(line) for line in lines} == {size[0]}


async def test_a_terminal_too_small_says_so_and_recovers() -> None:
    async with dashboard(ScriptedClient(busy()), (50, 12)) as hand:
        await hand.sees("50x12 is too small", "60x16")
        assert "Active" not in hand.screen
        await hand.pilot.resize_terminal(*SMALL)
        await hand.sees("[2 Active 31]")


def test_the_layout_follows_width_and_height() -> None:
    assert layout_for(140, 45) is Layout.PANES
    assert layout_for(140, 24) is Layout.TABS
    assert layout_for(80, 60) is Layout.TABS
    assert layout_for(59, 40) is Layout.SMALL
    assert layout_for(80, 15) is Layout.SMALL


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_the_first_start_says_what_can_be_done(size: tuple[int, int]) -> None:
    async with dashboard(ScriptedClient(first_start()), size) as hand:
        await hand.sees(
            "● OK  nothing waits longer than usual",
            "No provider key was found, so the simulated provider",
            "s   submit a prompt",
            "enter in the form sends it",
            "D   start demo load with faults",
            "OPENAI_API_KEY, ANTHROPIC_API_KEY",
        )
        assert "D demo" in hand.screen.splitlines()[-1]


async def test_demo_and_provider_help_are_not_offered_with_real_providers() -> None:
    async with dashboard(ScriptedClient(busy()), WIDE) as hand:
        await hand.sees("s submit")
        assert "D demo" not in hand.screen
        await hand.press("D")
        await hand.sees("demo load runs on simulated providers only")


async def test_while_the_engine_starts_the_frame_stands_and_says_so() -> None:
    client, gate = ScriptedClient(busy()), asyncio.Event()

    @asynccontextmanager
    async def slowly() -> AsyncIterator[ScriptedClient]:
        await gate.wait()
        yield client

    app = KsiApp(slowly, ui=UiSettings(operator="op1", refresh_hz=30), name="ksi-tui")
    async with app.run_test(size=SMALL) as pilot:
        hand = Hand(pilot, client, app.clock)  # type: ignore[arg-type]
        await hand.sees("○ STARTING  starting the engine", "Starting the engine: opening")
        await hand.press("s")
        await hand.type("hi")
        await hand.press("enter")
        await hand.sees("! the engine is starting", "hi")
        await hand.press("escape")
        gate.set()
        await hand.sees("▲ DEGRADED")
        await app.close_engine()


async def test_an_engine_that_cannot_start_is_a_state_with_its_exit_code() -> None:
    @asynccontextmanager
    async def owned() -> AsyncIterator[ScriptedClient]:
        raise DatabaseOwned("ksi.db: another ksi-tui runs on it (pid 4711)")
        yield  # pragma: no cover

    app = KsiApp(owned, ui=UiSettings(operator="op1", refresh_hz=30), name="ksi-tui")
    async with app.run_test(size=SMALL) as pilot:
        hand = Hand(pilot, ScriptedClient(busy()), app.clock)  # type: ignore[arg-type]
        await hand.sees("■ DOWN", "The engine could not start", "(pid 4711)")
        await hand.press("q")
        await hand.until(lambda: app.return_code == 3, "exits with 3")
        await app.close_engine()


async def test_the_cursor_follows_the_request_and_not_the_position() -> None:
    client = ScriptedClient(busy())
    async with dashboard(client, WIDE) as hand:
        await hand.press("j", "j")
        table = hand.app.screen.query_one("#active", LiveTable)
        assert table.cursor_key == "r-0991"
        client.now = dataclasses.replace(client.now, active=client.now.active[::-1])
        seen = len(client.queries)
        await hand.until(lambda: len(client.queries) > seen + 2)
        assert hand.screen.find("r-1042") < hand.screen.find("r-1070"), "held while keys follow"
        hand.clock.advance(1)
        await hand.until(lambda: hand.screen.find("r-1070") < hand.screen.find("r-1042"))
        assert table.cursor_key == "r-0991"
        assert "► r-0991" in hand.screen


async def test_an_untouched_cursor_stays_at_the_top() -> None:
    client = ScriptedClient(busy())
    async with dashboard(client, WIDE) as hand:
        await hand.sees("► r-1042")
        client.now = dataclasses.replace(client.now, active=client.now.active[::-1])
        await hand.sees("► r-1070")


async def test_ten_thousand_sessions_are_read_by_the_window() -> None:
    many = tuple(queue(f"s-{n}", f"r-{n}") for n in range(10_000))
    client = ScriptedClient(dataclasses.replace(busy(), queues=many, queues_total=0))
    async with dashboard(client, SMALL) as hand:
        await hand.press("1", "G")
        await hand.sees("► s-9999")
        shown = [query for query in client.queries if query is not RECORDED]
        assert 0 < max(query.queue_limit for query in shown) < 200
        await hand.press("g")
        await hand.sees("► s-0 ")
        for _ in range(30):
            await hand.press("j")
        await hand.sees("► s-30 ")


async def test_zoom_gives_the_screen_to_one_pane_and_back() -> None:
    async with dashboard(ScriptedClient(busy()), WIDE) as hand:
        await hand.press("3", "z")
        await hand.sees_no("┌─ 2 Active")
        await hand.sees("┌─ 3 Providers", "[3 Providers")
        await hand.press("z")
        await hand.sees("┌─ 2 Active", "┌─ 3 Providers", "┌─ 5 Tokens")


async def test_freeze_holds_the_picture() -> None:
    client = ScriptedClient(busy())
    async with dashboard(client, WIDE) as hand:
        await hand.press("f")
        await hand.sees("picture frozen")
        client.now = dataclasses.replace(client.now, active=(active("r-new"),), active_total=1)
        before = len(client.queries)
        await hand.pilot.pause(0.2)
        assert len(client.queries) == before
        assert "r-new" not in hand.screen
        await hand.press("f")
        await hand.sees("r-new")


async def test_a_click_moves_the_cursor_and_a_tab_click_changes_the_pane() -> None:
    async with dashboard(ScriptedClient(busy()), SMALL) as hand:
        await hand.pilot.click("#active", offset=(10, 4))
        await hand.sees("► r-0991")
        await hand.pilot.click("#tabs", offset=(3, 0))
        await hand.sees("┌─ 1 Queues")


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_ascii_shows_no_other_character(size: tuple[int, int]) -> None:
    async with dashboard(ScriptedClient(busy()), size, ascii=True) as hand:
        app = hand.app
        await hand.until(lambda: "DEGRADED" in hand.screen)
        strips = app.screen._compositor.render_strips()
        assert all(segment.text.isascii() for strip in strips for segment in strip)
        assert "+- 2 Active  31 of 32 " in hand.screen
        assert "> no token" in hand.screen


HOSTILE = "\x1b]52;c;ZXZpbA==\x07[@click=app.quit]x[/nope]\u202e\x9b31m\nnew"


async def test_hostile_ids_and_reasons_are_shown_and_do_nothing() -> None:
    hostile = Snapshot(
        at=0.0,
        verdict=Verdict(level=Level.DEGRADED, cause=HOSTILE),
        totals=busy().totals,
        active=(active(HOSTILE, session_id=HOSTILE, agent_id=HOSTILE, model=HOSTILE, why=HOSTILE),),
        queues=(queue(HOSTILE, HOSTILE, why=HOSTILE),),
        providers=(),
        notices=(HOSTILE,),
    )
    async with dashboard(ScriptedClient(hostile), WIDE) as hand:
        await hand.sees("[@click=app.quit]x[/nope]")
        assert not any(char in hand.screen for char in "\x1b\x07\x9b\u202e")
        await hand.pilot.click("#active", offset=(20, 2))
        assert hand.app.is_running


async def test_a_table_left_alone_shows_its_top_again() -> None:
    client = ScriptedClient(busy())
    async with dashboard(client, WIDE) as hand:
        await hand.press("j", "j")
        await hand.sees("► r-0991")
        client.now = dataclasses.replace(client.now, active=client.now.active[::-1])
        hand.clock.advance(LEFT_ALONE_S + 1)
        await hand.sees("► r-1070")


async def test_the_picture_under_a_dialog_goes_on() -> None:
    client = ScriptedClient(busy())
    async with dashboard(client, WIDE, theme="ksi-dark") as hand:  # others cover what is below
        await hand.press("q")
        await hand.sees("Leave with work in flight?")
        verdict = dataclasses.replace(client.now.verdict, cause="another cause by now")
        client.now = dataclasses.replace(client.now, verdict=verdict)
        await hand.sees("another cause by now", "Leave with work in flight?")
