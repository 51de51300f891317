"""Any keys, quicker than screens are put up and taken away, end nothing and leave it at work."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual import events
from textual.geometry import Size

from tests.fuzz.values import EXAMPLES
from tests.ui.every_key import world
from tests.ui.harness import SMALL, WIDE, Hand

pytestmark = pytest.mark.timeout(0 if EXAMPLES else 120)

STEPS = 120
SEEDS = range(EXAMPLES // 20) if EXAMPLES else (3, 13)
"""Those two found a fault each."""
SIZES = (SMALL, WIDE, (60, 15), (30, 8), (200, 60))
NAMES = {"/": "slash", "!": "exclamation_mark", "?": "question_mark", ":": "colon", "@": "at"}
NAMES |= {"*": "asterisk", ".": "full_stop", " ": "space", "-": "minus", "\n": "enter"}
NAMES |= {"\t": "tab", "\x1b": "escape"}
PLAIN = "abcdefghijklmnoprstuvwxyz0123456789BFGNX!?/*@ "  # q is left out: it ends it
KEYS = (
    *(["enter"] * 8 + ["escape"] * 10),
    *("tab", "shift+tab", "up", "down", "left", "right", "home", "end", "backspace"),
    *("pageup", "pagedown", "ctrl+s", "ctrl+t", "ctrl+o", "ctrl+up", "ctrl+j", "ctrl+p"),
    *(NAMES.get(key, key) for key in PLAIN),
)
HABITS = (
    *("/session:s\n", "/meta.x:a\t\n", "/sta\t\n", "/a\x1b", "/@x\n\x1b", "i\n\x1b", "w\n", "o\n"),
    *("shello\n", "c\n", "p\n", "n\n", "F\n", "B\n", "d\n", "x\n", "y", "??", "\x1b\x1b\x1b"),
)


def strokes(rng: random.Random) -> Iterator[events.Key | events.Resize]:
    """What a hurried hand does in one go."""
    if rng.random() < 0.02:
        size = Size(*rng.choice(SIZES))
        yield events.Resize(size, size)
    elif rng.random() < 0.3:
        for char in rng.choice(HABITS):
            yield events.Key(NAMES.get(char, char), char if char.isprintable() else None)
    else:
        key = rng.choice(KEYS)
        typed = next((char for char, name in NAMES.items() if name == key), key)
        yield events.Key(key, typed if len(typed) == 1 and typed.isprintable() else None)


async def play(hand: Hand, rng: random.Random) -> None:
    """Send them as a terminal does: without waiting for what becomes of them."""
    driver = hand.app._driver
    assert driver is not None
    for _ in range(STEPS):
        for stroke in strokes(rng):
            if not hand.app.is_running:
                return
            driver.send_message(stroke)
            for _ in range(rng.choice((0, 0, 0, 1, 5, 40, 300))):
                await asyncio.sleep(0)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_hurried_hand_breaks_nothing(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    async with world(tmp_path, SMALL if seed % 2 else WIDE) as hand:
        await play(hand, rng)
        await hand.pilot.resize_terminal(*WIDE)
        while len(hand.app.screen_stack) > 1:
            hand.app.pop_screen()
            await hand.pilot.pause()
        await hand.press("escape", "escape")
        await hand.sees("2 Active", "3 Providers")
