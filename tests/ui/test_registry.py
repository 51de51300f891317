"""The registry of actions: everything a key does is listed, and everything listed works."""

from __future__ import annotations

from ksi_tui.actions import ACTIONS, Where, actions_of, bindings, shown_key, wrong_keymap
from ksi_tui.app import KsiApp
from ksi_tui.screens.add_provider import EXAMPLE
from ksi_tui.screens.overview import Overview
from ksi_tui.screens.request import RequestScreen
from tests.ui.harness import SMALL, WIDE, dashboard
from tests.ui.scripted import ScriptedClient, busy, first_start


def test_ids_and_keys_are_unique_where_they_apply() -> None:
    assert len({action.id for action in ACTIONS}) == len(ACTIONS)
    for where in (Where.OVERVIEW, Where.REQUEST):
        keys = [
            key
            for place in (where, Where.PANE, Where.ANY)
            for action in actions_of(place)
            for key in action.key.split(",")
        ]
        assert len(set(keys)) == len(keys)


def test_every_listed_action_has_a_method_where_it_applies() -> None:
    owners = {Where.OVERVIEW: Overview, Where.REQUEST: RequestScreen, Where.ANY: KsiApp}
    for where, owner in owners.items():
        for action in actions_of(where):
            method = f"action_{action.method.partition('(')[0]}"
            assert callable(getattr(owner, method)), (where, action.id)
    for action in actions_of(Where.PANE):
        assert callable(getattr(Overview, f"action_{action.method.partition('(')[0]}"))


def test_every_binding_has_id_and_tooltip() -> None:
    for where in Where:
        for binding in bindings(where):
            assert not isinstance(binding, tuple)
            assert binding.id
            assert binding.tooltip


async def test_help_lists_every_action_with_its_key() -> None:
    async with dashboard(ScriptedClient(busy()), (140, 120)) as hand:
        await hand.press("question_mark", "tab")
        await hand.sees("Every key of every screen")
        for action in ACTIONS:
            assert any(
                line.split("│")[-2].strip().startswith(shown_key(action, {}) or ":")
                for line in hand.screen.splitlines()[1:-2]
                if action.tooltip[:40] in line
            ), action.id
        await hand.press("escape")
        await hand.sees("2 Active")


async def test_a_keymap_moves_an_action_and_the_footer_says_so() -> None:
    async with dashboard(ScriptedClient(first_start()), WIDE, keymap={"submit": "x"}) as hand:
        await hand.sees("x submit")
        await hand.press("x")
        await hand.sees("Submit a prompt")


async def test_a_wrong_keymap_and_theme_are_named() -> None:
    assert wrong_keymap({"nope": "x"})[0].startswith(
        "ui.keymap: no action 'nope'; there are act_all"
    )
    async with dashboard(ScriptedClient(busy()), WIDE, theme="pink", keymap={"nope": "x"}) as hand:
        await hand.sees("ui.keymap: no action 'nope'")
        assert hand.app.theme == "ksi-dark"


async def test_the_palette_finds_an_action_and_does_it() -> None:
    async with dashboard(ScriptedClient(busy()), WIDE) as hand:
        await hand.press("colon")
        await hand.until(
            lambda: hand.app.screen.id == "--command-palette" or "Palette" in str(hand.app.screen)
        )
        await hand.type("zoom")
        await hand.sees("Give the whole screen to one pane")
        await hand.press("enter")
        await hand.sees("[2 Active 31]")


async def test_the_text_on_providers_shows_a_config_that_is_valid() -> None:
    import tomllib

    from ksi_tui.config import validated

    config = validated(tomllib.loads("\n".join(EXAMPLE)), "the example")
    assert config.providers[0].api_key_env == "OPENAI_API_KEY"
    async with dashboard(ScriptedClient(first_start()), SMALL) as hand:
        await hand.press("K")
        await hand.sees("OPENAI_API_KEY", "[[providers]]", 'model = "openai/{model}"')
        await hand.press("escape")
        await hand.sees_no("[[providers]]")
