"""The registry of actions: everything a key does is listed, and everything listed works."""

from __future__ import annotations

from ksi_tui.actions import (
    ACTIONS,
    BY_ID,
    Where,
    actions_of,
    bindings,
    shown_key,
    wrong_keymap,
)
from ksi_tui.app import KsiApp
from ksi_tui.screens.add_provider import EXAMPLE
from ksi_tui.screens.base import KsiScreen
from ksi_tui.screens.compare import CompareScreen
from ksi_tui.screens.events import EventsScreen
from ksi_tui.screens.overview import Overview
from ksi_tui.screens.provider import ProviderScreen
from ksi_tui.screens.request import RequestScreen
from ksi_tui.screens.requests import FailedScreen, RequestsScreen
from ksi_tui.screens.session import SessionScreen
from ksi_tui.screens.usage import UsageScreen
from ksi_tui.screens.why import WhyScreen
from tests.ui.harness import SMALL, WIDE, Hand, dashboard
from tests.ui.scripted import ScriptedClient, busy, first_start

OWNERS: dict[Where, type[KsiScreen]] = {
    Where.OVERVIEW: Overview,
    Where.REQUESTS: RequestsScreen,
    Where.FAILED: FailedScreen,
    Where.REQUEST: RequestScreen,
    Where.WHY: WhyScreen,
    Where.SESSION: SessionScreen,
    Where.PROVIDER: ProviderScreen,
    Where.USAGE: UsageScreen,
    Where.EVENTS: EventsScreen,
    Where.COMPARE: CompareScreen,
}


def test_ids_and_keys_are_unique_where_they_apply() -> None:
    assert len({action.id for action in ACTIONS}) == len(ACTIONS)
    for where in OWNERS:
        keys = [
            key
            for place in (where, Where.PANE, Where.ANY)
            for action in actions_of(place)
            for key in action.key.split(",")
        ]
        assert len(set(keys)) == len(keys)


def test_every_listed_action_has_a_method_where_it_applies() -> None:
    assert set(OWNERS) | {Where.ANY, Where.PANE} == set(Where)
    for where, owner in (*OWNERS.items(), (Where.ANY, KsiApp)):
        panes = () if where is Where.ANY else actions_of(Where.PANE)
        for action in (*actions_of(where), *panes):
            method = f"action_{action.method.partition('(')[0]}"
            assert callable(getattr(owner, method)), (where, action.id)


def test_every_binding_has_id_and_tooltip() -> None:
    for where in Where:
        for binding in bindings(where):
            assert not isinstance(binding, tuple)
            assert binding.id
            assert binding.tooltip


async def test_help_lists_the_screen_s_actions_and_every_screen_s_each_with_its_key() -> None:
    async with dashboard(ScriptedClient(busy()), (140, 100)) as hand:
        await hand.press("question_mark")
        await hand.sees("Every key of: overview")
        here = {*actions_of(Where.OVERVIEW), *actions_of(Where.PANE), *actions_of(Where.ANY)}
        assert listed_in_help(hand) == {(shown_key(a, {}) or ":", a.label) for a in here}
        await hand.press("tab")
        await hand.sees("Every key of every screen")
        assert listed_in_help(hand) == {(shown_key(a, {}) or ":", a.label) for a in ACTIONS}
        await hand.press("escape")
        await hand.sees("2 Active")


def listed_in_help(hand: Hand) -> set[tuple[str, str]]:
    """The keys of help with what they are called; a label that is too long by its beginning."""
    found = set()
    for row in hand.screen.partition("Signs")[0].splitlines()[1:-2]:
        key, label = row[2:16].strip(), row[14:26].strip()
        if row.startswith("│   ") and key and label:
            long = [a.label for a in ACTIONS if a.label.startswith(label.removesuffix("…"))]
            found |= {(key.split()[0], name) for name in long if label.endswith("…")}
            found |= set() if label.endswith("…") else {(key.split()[0], label)}
    return found


async def test_a_keymap_moves_an_action_and_the_footer_says_so() -> None:
    async with dashboard(ScriptedClient(first_start()), WIDE, keymap={"submit": "x"}) as hand:
        await hand.sees("x submit")
        assert "x failed" not in hand.screen  # its key is another's now
        await hand.press("x")
        await hand.sees("Submit a prompt")


def test_a_key_that_was_given_away_is_shown_nowhere() -> None:
    assert shown_key(BY_ID["failed"], {"submit": "x"}) == ""
    assert shown_key(BY_ID["quit"], {"submit": "q"}) == ""
    assert shown_key(BY_ID["down"], {"submit": "j"}) == "down"
    assert shown_key(BY_ID["raw"], {"split": "f8", "difference": "v"}) == "v"  # never together
    assert shown_key(BY_ID["failed"], {"submit": "x", "failed": "f8"}) == "f8"


async def test_a_wrong_keymap_and_theme_are_named() -> None:
    (said,) = wrong_keymap({"nope": "x"})
    assert said.startswith("ui.keymap: no action 'nope'; there are act_all, ")
    assert wrong_keymap({"submit": "f8", "cancel": "f8,f9", "difference": "f9", "raw": "f9"}) == [
        "ui.keymap: f8 is both submit and cancel",
        "ui.keymap: f9 is both cancel and difference",
        "ui.keymap: f9 is both cancel and raw",
    ]
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
        await hand.sees(BY_ID["zoom"].tooltip)
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
