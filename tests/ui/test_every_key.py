"""Every key on footer and help does what it says on every screen where it stands: walk them all.

The engine is a real one with simulated providers. What a key is expected to do stands in
`key_effects`; an action of the registry without an expectation fails here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from ksi_tui.actions import BY_ID, Action, Where, shown_key
from ksi_tui.screens.help import HelpScreen
from ksi_tui.widgets.spans import Tone
from tests.ui.every_key import PLACES, Walk, walk
from tests.ui.harness import SMALL, WIDE
from tests.ui.key_effects import EFFECTS, ON, moves, opens, steps
from tests.ui.test_registry import listed_in_help


def test_the_table_covers_exactly_the_registry() -> None:
    assert set(EFFECTS) == set(BY_ID)
    assert [(where, name) for where, name in ON if where not in BY_ID[name].where] == []


@pytest.mark.parametrize("where", PLACES)
async def test_every_key_of_a_screen_does_what_it_says(tmp_path: Path, where: Where) -> None:
    faults = []
    async with walk(tmp_path, where, WIDE) as walking:
        for action in walking.actions:
            effect = ON.get((where, action.id), EFFECTS[action.id])
            for key in action.key.split(","):
                try:
                    await effect(walking, key)
                except AssertionError as fault:
                    faults.append(f"{action.id} ({key}): {fault} · said {walking.said!r}")
                await walking.home()
    assert not faults, "\n\n".join(faults)


_HINT = re.compile(r"(\S+) (\S.*)")


def hints_of(line: str) -> list[tuple[str, str]]:
    """The keys of a line of hints, with what they are said to do."""
    parts = [part.strip() for part in line.split("  ") if part.strip()]
    return [(m[1], m[2]) for m in map(_HINT.fullmatch, parts) if m]


@pytest.mark.parametrize("where", PLACES)
async def test_footer_and_help_show_what_is_walked_and_no_key_that_refuses(
    tmp_path: Path, where: Where
) -> None:
    async with walk(tmp_path, where, SMALL) as walking:
        hand, screen = walking.hand, walking.screen
        walked = {(shown_key(a, {}), a.label): a for a in walking.actions}
        for size in (SMALL, WIDE):
            await hand.pilot.resize_terminal(*size)
            await hand.until(lambda: hand.screen.splitlines()[-1].startswith(" "))
            screen.show_footer()
            await hand.sees("? help")
            shown = hints_of(hand.screen.splitlines()[-1])
            assert shown
            assert set(shown) <= set(walked), set(shown) - set(walked)
        await no_key_refuses(walking, [walked[hint] for hint in shown])
        await hand.pilot.resize_terminal(140, 100)
        await hand.press("question_mark")
        await hand.sees(f"Every key of: {where}")
        listed = listed_in_help(hand)
        assert listed == {(key or ":", label) for key, label in walked}


_SAYS_WHY = ("retry", Where.OVERVIEW)
_BACK_AGAIN = {"zoom": "z", "freeze": "f", "difference": "v", "next_pane": "shift+tab"}


def shows(walking: Walk, hint: tuple[str, str]) -> bool:
    """Return whether the footer, written anew, offers a key."""
    walking.screen.show_footer()
    return hint in hints_of(walking.hand.screen.splitlines()[-1])


async def no_key_refuses(walking: Walk, offered: Sequence[Action]) -> None:
    """Press what the footer offers as the cursor stands: nothing may say that it does not apply.

    But for retry on the overview, which stands there for every request: it says why it cannot.
    """
    for action in offered:
        if action.id in ("back", "act_all") or (action.id, walking.where) == _SAYS_WHY:
            continue
        if not shows(walking, (shown_key(action, {}), action.label)):
            continue  # the last key has changed what there is to do
        await walking.hand.press(action.key.split(",")[0])
        await walking.hand.pilot.pause()
        await walking.hand.until(lambda: not walking.reads, "what the key needs is read")
        said = walking.screen._said
        tones = [span.tone for span in said.spans] if said is not None else []
        assert Tone.WARN not in tones, (walking.where, action.id, walking.said)
        assert Tone.BAD not in tones, (walking.where, action.id, walking.said)
        if action.id in _BACK_AGAIN:
            await walking.hand.press(_BACK_AGAIN[action.id])
        if action.id == "filter" and walking.top is walking.screen:
            await walking.hand.sees("esc leave")
            await walking.hand.press("escape")
            await walking.hand.sees_no("esc leave")
        await walking.home()


@pytest.mark.parametrize("where", PLACES)
async def test_keys_work_after_the_terminal_was_too_small_for_a_moment(
    tmp_path: Path, where: Where
) -> None:
    async with walk(tmp_path, where, WIDE) as walking:
        hand = walking.hand
        for size in (SMALL, WIDE):
            await hand.pilot.resize_terminal(40, 10)
            await hand.sees("40x10")
            await hand.pilot.resize_terminal(*size)
            await hand.until(lambda: "? help" in hand.screen, "the screen is back")
            await hand.until(lambda: walking.screen.focused is not None, "a pane has the keys")
            focused = walking.screen.focused
            assert focused is not None
            assert focused.display
            assert focused.region.height
            if where in BY_ID["next_pane"].where:
                await steps(walking, "tab")
            else:
                await moves(forward=True)(walking, "down")
            await opens(HelpScreen, "Every key of: ")(walking, "question_mark")
            await walking.home()
