"""Renders every screen in every state at both sizes to shots/*.svg: `python -m tests.ui.shots`.

Not a test: pictures for a look, next to the target pictures.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from textual.screen import Screen

from ksi_tui.screens import later
from tests.ui.harness import SMALL, WIDE, Hand, dashboard
from tests.ui.scripted import ScriptedClient, busy, first_start
from tests.ui.test_deeds import engine as deeds_engine
from tests.ui.test_provider import engine as provider_engine
from tests.ui.test_request import REPORT, stopped_report
from tests.ui.test_request import engine as request_engine
from tests.ui.test_session import engine as session_engine

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


def opens(make: Callable[[str], Screen[Any]], name: str, *pressed: str) -> Play:
    """A play that opens a screen that only other screens lead to, and presses keys there."""

    async def play(hand: Hand) -> None:
        await hand.app.push_screen(make(name))
        await hand.pilot.pause(0.1)
        await keys(*pressed)(hand)

    return play


def _unknown_request() -> ScriptedClient:
    unknown = {"error": "no request 'r-1042'", "code": "not_found"}
    return ScriptedClient(busy(), {"completion:request_status": unknown})


def _silent() -> ScriptedClient:
    """An engine that answers no question: what is being read stays so."""

    async def never(name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    client = ScriptedClient(busy())
    client.emit = never  # type: ignore[method-assign]
    return client


def _ended(*, stopped: bool = False, **changes: Any) -> ScriptedClient:
    error = {"kind": "timeout", "message": "anthropic: no further token in 60 s"}
    report = stopped_report(**changes) if stopped else {**REPORT, "error": error, **changes}
    ended = {"finished_at": "2026-11-22T03:12:40+00:00", "text": "Invoice 2231 doubled"}
    client = request_engine({**ended, **report})
    client.lives.clear()
    return client


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
    "request-prompt": (request_engine, keys("enter", "3"), {}),
    "request-usage": (request_engine, keys("enter", "4"), {}),
    "request-raw": (request_engine, keys("enter", "5"), {}),
    "request-hidden": (request_engine, keys("enter", "t", "2"), {}),
    "request-zoomed": (request_engine, keys("enter", "2", "z"), {}),
    "request-copy": (request_engine, keys("enter", "y"), {}),
    "request-unknown": (_unknown_request, keys("enter"), {}),
    "request-failed": (partial(_ended, status="failed"), keys("enter"), {}),
    "request-completed": (partial(_ended, status="completed"), keys("enter"), {}),
    "request-cancelling": (partial(_ended, stopped=True, closing=True), keys("enter"), {}),
    "request-unconfirmed": (partial(_ended, stopped=True, closing=False), keys("enter"), {}),
    "session": (session_engine, opens(later.session_screen, "globex-7"), {}),
    "session-transcript": (session_engine, opens(later.session_screen, "globex-7", "2"), {}),
    "session-timeline": (session_engine, opens(later.session_screen, "globex-7", "3"), {}),
    "session-lock": (session_engine, opens(later.session_screen, "globex-7", "4"), {}),
    "session-cost": (session_engine, opens(later.session_screen, "globex-7", "5"), {}),
    "session-reading": (_silent, opens(later.session_screen, "globex-7"), {}),
    "provider": (provider_engine, opens(later.provider_screen, "openai"), {}),
    "provider-flight": (provider_engine, opens(later.provider_screen, "azure-eu", "2"), {}),
    "provider-health": (provider_engine, opens(later.provider_screen, "openai", "3"), {}),
    "provider-limits": (provider_engine, opens(later.provider_screen, "openai", "4"), {}),
    "provider-charts": (provider_engine, opens(later.provider_screen, "openai", "5"), {}),
    "provider-unknown": (_silent, opens(later.provider_screen, "nope"), {}),
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
