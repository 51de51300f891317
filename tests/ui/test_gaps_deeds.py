"""What the screen says when a deed's end is not the usual one, and how long it says it."""

from __future__ import annotations

import dataclasses

import pytest
from textual.theme import Theme

from ksi_tui import theme
from ksi_tui.screens.base import SAY_S
from ksi_tui.widgets.spans import Tone
from ksi_tui.widgets.table import LiveTable
from ksi_tui.widgets.tones import tone_styles
from tests.ui.harness import WIDE, dashboard
from tests.ui.scripted import ScriptedClient, busy, first_start

NO_LOCK = "force lock needs a lock or a session under the cursor"


async def test_a_message_stands_until_the_next_key_or_for_a_while() -> None:
    async with dashboard(ScriptedClient(busy())) as hand:
        await hand.press("3", "F")
        await hand.sees(NO_LOCK)
        await hand.press("j")
        await hand.sees_no(NO_LOCK)
        await hand.press("F")
        await hand.sees(NO_LOCK)
        hand.clock.advance(SAY_S + 1)
        await hand.sees_no(NO_LOCK)


async def test_a_notice_of_the_engine_is_said() -> None:
    client = ScriptedClient(first_start())
    async with dashboard(client) as hand:
        client.now = dataclasses.replace(client.now, notices=("database: the disk is full",))
        await hand.sees("database: the disk is full")


async def test_a_key_that_was_still_on_its_way_decides_nothing_about_the_work() -> None:
    async with dashboard(ScriptedClient(busy())) as hand:
        await hand.press("q")
        await hand.sees("Leave with work in flight?")
        await hand.press("c")
        await hand.pilot.pause()
        await hand.sees("Leave with work in flight?")
        assert hand.client.sent("completion:cancel") == []
        hand.clock.advance(1)
        await hand.press("c")
        await hand.until(lambda: hand.client.sent("completion:cancel"), "cancels what runs")


@pytest.mark.parametrize("count", [1, 3])
async def test_the_providers_pane_is_as_high_as_they_are_many(count: int) -> None:
    now = busy()
    client = ScriptedClient(dataclasses.replace(now, providers=now.providers[:count]))
    async with dashboard(client, WIDE) as hand:
        table = hand.app.screen.query_one("#providers", LiveTable)
        await hand.until(lambda: table.size.height == count + 3, "as high as its rows")


@pytest.mark.parametrize("shown", theme.THEMES, ids=lambda each: each.name)
def test_every_state_has_the_colour_that_the_theme_gives_it(shown: Theme) -> None:
    variables = {"warning": shown.warning, "success": shown.success, "error": shown.error}
    styles = tone_styles({name: colour for name, colour in variables.items() if colour})
    for tone, name in ((Tone.WARN, "warning"), (Tone.OK, "success"), (Tone.BAD, "error")):
        colour = styles[tone].color
        assert colour is not None
        if shown.ansi:
            assert colour.number is not None, "one of the terminal's own"
        else:
            assert colour.get_truecolor().hex == variables[name]
