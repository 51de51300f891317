"""Renders every screen in every state at both sizes to shots/*.svg: `python -m tests.ui.shots`.

Not a test: pictures for a look, next to the target pictures.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from tests.ui.harness import SMALL, WIDE, Hand, dashboard
from tests.ui.scripted import ScriptedClient, busy, first_start
from tests.ui.test_deeds import engine as deeds_engine
from tests.ui.test_request import engine as request_engine

Play = Callable[[Hand], Awaitable[None]]


def keys(*pressed: str) -> Play:
    """A play that presses keys, and waits after each until the screen is quiet."""

    async def play(hand: Hand) -> None:
        for key in pressed:
            await hand.press(key)
            await hand.pilot.pause(0.1)

    return play


async def _cancelled(hand: Hand) -> None:
    await keys("c", "tab")(hand)
    hand.clock.advance(1)
    await keys("enter")(hand)
    await hand.sees("Receipt")
    hand.client.publish("completion:upstream_closed", request_id="r-1042", after_ms=38.0)
    await hand.sees("confirmed")


async def _prompt(hand: Hand) -> None:
    await keys("s")(hand)
    await hand.type("Why did invoice 2231 double between May and June?")
    await hand.pilot.pause(0.1)


SCENES: Mapping[str, tuple[Callable[[], ScriptedClient], Play, Mapping[str, Any]]] = {
    "overview": (lambda: ScriptedClient(busy()), keys(), {}),
    "overview-light": (lambda: ScriptedClient(busy()), keys(), {"theme": "ksi-light"}),
    "overview-ascii": (lambda: ScriptedClient(busy()), keys(), {"ascii": True}),
    "first-start": (lambda: ScriptedClient(first_start()), keys(), {}),
    "queues": (lambda: ScriptedClient(busy()), keys("1"), {}),
    "providers": (lambda: ScriptedClient(busy()), keys("3", "z"), {}),
    "locks": (lambda: ScriptedClient(busy()), keys("4"), {}),
    "tokens": (lambda: ScriptedClient(busy()), keys("5", "z"), {}),
    "request": (request_engine, keys("enter"), {}),
    "request-answer": (request_engine, keys("enter", "2"), {}),
    "cancel": (deeds_engine, keys("c"), {}),
    "receipt": (deeds_engine, _cancelled, {}),
    "force-lock": (deeds_engine, keys("4", "F"), {}),
    "submit": (lambda: ScriptedClient(first_start()), _prompt, {}),
    "quit": (deeds_engine, keys("q"), {}),
    "help": (deeds_engine, keys("question_mark"), {}),
    "palette": (deeds_engine, keys("colon"), {}),
    "add-provider": (lambda: ScriptedClient(first_start()), keys("K"), {}),
}


async def render(folder: Path) -> int:
    """Render all scenes and return how many pictures were written."""
    written = 0
    for name, (client, play, ui) in SCENES.items():
        for size in (SMALL, WIDE):
            async with dashboard(client(), size, **ui) as hand:
                await play(hand)
                await hand.pilot.pause()
                picture = hand.app.export_screenshot(title=f"{name} {size[0]}x{size[1]}")
                path = folder / f"{name}-{size[0]}x{size[1]}.svg"
                path.write_text(picture, encoding="utf-8")
                written += 1
    return written


def main() -> None:
    """Render into the folder given, by default `shots`."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "shots")
    folder.mkdir(exist_ok=True)
    print(f"{asyncio.run(render(folder))} pictures in {folder}")


if __name__ == "__main__":
    main()
