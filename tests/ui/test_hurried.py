"""Keys that follow each other at once do what they do one by one, on whichever screen they land."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from textual import events
from textual.keys import _character_to_key
from textual.widgets import Input

from ksi_tui.screens.fields import Prompt
from ksi_tui.screens.help import HelpScreen
from ksi_tui.screens.overview import Overview
from ksi_tui.screens.palette import Palette
from ksi_tui.screens.requests import RequestsScreen
from ksi_tui.screens.submit import SubmitScreen
from ksi_tui.widgets.filter_bar import FilterBar
from ksi_tui.widgets.pane import Pane
from tests.ui import test_provider, test_request, test_usage_screen
from tests.ui.acting import World, opened
from tests.ui.harness import SMALL, WIDE, Hand, dashboard
from tests.ui.request_list import ListClient
from tests.ui.scripted import ScriptedClient, busy
from tests.ui.test_lists import STORY, listing

BOTH = pytest.mark.parametrize("size", [SMALL, WIDE], ids=["80x24", "140x45"])
Client = Callable[[], ScriptedClient]


def overview() -> ScriptedClient:
    return ScriptedClient(busy())


def at_once(hand: Hand, keys: str) -> None:
    """Send keys as a terminal does, without waiting for what becomes of each."""
    driver = hand.app._driver
    assert driver is not None
    for key in keys.split():
        char = " " if key == "space" else key if len(key) == 1 else None
        name = _character_to_key(char) if char else key
        driver.send_message(events.Key(name, char))


async def after(hand: Hand) -> tuple[Any, ...]:
    """What is shown, which pane has the keys, and which one they are about."""
    await hand.pilot.pause()
    screen = hand.app.screen
    shown = [pane.id for pane in screen.query(Pane) if pane.display]
    about = screen.pane_name if isinstance(screen, Overview) else None
    return type(screen), screen.focused, shown, about


@BOTH
@pytest.mark.parametrize(
    ("world", "keys"),
    [
        (overview, "1 tab tab tab"),
        (overview, "2 tab tab tab tab tab tab tab"),
        (overview, "5 shift+tab shift+tab z"),
        (test_request.engine, "enter 3"),
        (test_request.engine, "enter 2 tab tab tab"),
        (test_request.engine, "enter 4 z tab"),
        (test_provider.engine, "3 enter 4 tab"),
        (test_usage_screen.client, "m 3 z 1"),
        (test_usage_screen.client, "m 2 3 tab"),
        (overview, "m escape 4 tab tab"),
    ],
)
async def test_quick_keys_come_to_what_slow_ones_do(
    size: tuple[int, int], world: Client, keys: str
) -> None:
    found = []
    for quick in (True, False):
        async with dashboard(world(), size) as hand:
            if quick:
                at_once(hand, keys)
            else:
                await hand.press(*keys.split())
            screen, focused, *more = await after(hand)
            found.append((screen, focused.id if focused else None, *more))
    assert found[0] == found[1]


@BOTH
@pytest.mark.parametrize("turns", [0, 5, 10, 20])
async def test_an_order_is_chosen_before_its_dialog_is_painted(
    size: tuple[int, int], turns: int
) -> None:
    async with dashboard(ListClient(STORY), size) as hand:
        await listing(hand)
        at_once(hand, "o")
        for _ in range(turns):
            await asyncio.sleep(0)
        at_once(hand, "j j enter")
        screen = hand.app.screen_stack[1]
        assert isinstance(screen, RequestsScreen)
        await hand.until(lambda: screen.is_current and screen._order == ("TTFT", True))


@pytest.mark.parametrize("turns", [1, 2, 3, 5])
async def test_a_reason_stands_as_it_was_typed_however_its_letters_come(turns: int) -> None:
    rng, typed = random.Random(turns), "until openai is back"
    async with dashboard(World(), WIDE) as hand:
        await opened(hand, "c", "[ Stop")
        for char in typed:
            at_once(hand, "space" if char == " " else char)
            for _ in range(rng.randrange(turns + 1)):
                await asyncio.sleep(0)
        await hand.until(lambda: len(hand.app.screen.query_one("#reason", Input).value) > 19)
        assert hand.app.screen.query_one("#reason", Input).value == typed


@BOTH
@pytest.mark.parametrize("world", [overview, test_request.engine, test_usage_screen.client])
async def test_a_prompt_typed_right_after_its_key_stands_whole_in_the_form(
    size: tuple[int, int], world: Client
) -> None:
    async with dashboard(world(), size) as hand:
        at_once(hand, "s w h y space c x / q space p ? backspace !")
        await hand.until(lambda: any(hand.app.screen.query(Prompt)))
        assert isinstance(hand.app.screen, SubmitScreen)
        prompt = hand.app.screen.query_one("#prompt", Prompt)
        await hand.until(lambda: prompt.text.endswith("!"))
        assert prompt.text == "why cx/q p!"
        assert hand.app.screen_stack[-1] is prompt.screen


@BOTH
async def test_letters_typed_on_a_button_of_the_form_stay_out_of_the_prompt(
    size: tuple[int, int],
) -> None:
    async with dashboard(overview(), size) as hand:
        await hand.press("s")
        hand.app.screen.query_one("#keep").focus()
        await hand.press("x", "y")
        assert hand.app.screen.query_one("#prompt", Prompt).text == ""


@BOTH
async def test_what_is_typed_right_after_the_help_s_key_narrows_it(size: tuple[int, int]) -> None:
    async with dashboard(overview(), size) as hand:
        at_once(hand, "? q u i t")
        await hand.sees("search: quit_")
        at_once(hand, "escape ? ? ?")
        await hand.until(lambda: isinstance(hand.app.screen, HelpScreen))
        assert [type(screen) for screen in hand.app.screen_stack] == [Overview, HelpScreen]


@BOTH
async def test_what_is_typed_right_after_the_palette_s_key_is_looked_for(
    size: tuple[int, int],
) -> None:
    async with dashboard(overview(), size) as hand:
        at_once(hand, ": q x c p")
        await hand.until(lambda: any(hand.app.screen.query(Input)))
        assert isinstance(hand.app.screen, Palette)
        await hand.until(lambda: hand.app.screen.query_one(Input).value == "qxcp")
        assert not hand.client.sent("completion:cancel")


@BOTH
async def test_a_filter_typed_at_once_is_kept(size: tuple[int, int]) -> None:
    async with dashboard(ListClient(STORY), size) as hand:
        await listing(hand)
        screen = hand.app.screen
        assert isinstance(screen, RequestsScreen)
        at_once(hand, "/ a c x backspace m e enter")
        await hand.until(lambda: screen.filter_on() == "acme" and not screen.filtering)


@BOTH
@pytest.mark.parametrize(
    ("opening", "closing"), [("/", "escape"), (":", "escape"), (":", "enter"), ("?", "escape")]
)
async def test_what_is_on_its_way_out_is_opened_again(
    size: tuple[int, int], opening: str, closing: str
) -> None:
    async with dashboard(overview(), size) as hand:
        overview_screen = hand.app.screen
        before = overview_screen.focused
        for turns in range(25):
            await hand.press(opening)
            at_once(hand, closing)
            for _ in range(turns):
                await asyncio.sleep(0)
            at_once(hand, opening)
            await hand.pilot.pause()
            while len(hand.app.screen_stack) > 1 or overview_screen.query(FilterBar):
                await hand.press("escape")
            assert overview_screen.focused is before
