"""Runs the dashboard over a scripted client, waits on conditions, and reads the screen as text."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any
from unittest import mock

from textual.pilot import Pilot

from ksi_tui.app import KsiApp
from ksi_tui.config import UiSettings
from ksi_tui.screens import base, deeds, why_frees
from tests.ui.painting import paint
from tests.ui.scripted import ScriptedClient

SMALL, WIDE = (80, 24), (140, 45)
BOUND_S = 60.0
"""How long any wait of a test may take before it is a failure."""


class Hand:
    """A user at the keys: presses, waits for what should follow, and looks."""

    def __init__(self, pilot: Pilot[int], client: ScriptedClient, clock: Clock) -> None:
        self.pilot = pilot
        self.client = client
        self.clock = clock

    @property
    def app(self) -> KsiApp:
        """The app under test."""
        app = self.pilot.app
        assert isinstance(app, KsiApp)
        return app

    @property
    def screen(self) -> str:
        """What the terminal would show, one line a row, without colours."""
        paint(self.app)
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    async def press(self, *keys: str) -> None:
        """Press keys one after the other, each when the one before has had its effect."""
        for key in keys:
            await self.pilot.press(key)
            await self.pilot.pause()

    async def type(self, text: str) -> None:
        """Press the keys of a text."""
        await self.press(*("space" if char == " " else char for char in text))

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Wait until a condition holds; fail with the screen when it never does."""
        give_up = time.monotonic() + BOUND_S
        while not condition():
            if time.monotonic() > give_up:
                raise AssertionError(f"never: {what or condition}\n{self.screen}")
            await self.pilot.pause(0.005)

    async def sees(self, *texts: str) -> None:
        """Wait until every text stands on the screen."""
        await self.until(lambda: all(text in self.screen for text in texts), f"sees {texts}")

    async def sees_no(self, *texts: str) -> None:
        """Wait until none of the texts stands on the screen."""
        await self.until(lambda: not any(t in self.screen for t in texts), f"sees no {texts}")


@contextmanager
def unhurried() -> Iterator[None]:
    """For an app with the real clock: what stands for some seconds does so as long as waits take.

    Else a machine that is busy for so long never shows it, or takes a second key for a first.
    """
    with ExitStack() as patches:
        for held in (base, deeds, why_frees):
            name = "AGAIN_S" if held is why_frees else "SAY_S"
            patches.enter_context(mock.patch.object(held, name, BOUND_S))
        yield


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@asynccontextmanager
async def dashboard(
    client: ScriptedClient,
    size: tuple[int, int] = WIDE,
    *,
    ready: bool = True,
    app_options: Mapping[str, Any] | None = None,
    **ui: Any,
) -> AsyncIterator[Hand]:
    """The dashboard over a scripted client, read once if that is to be `ready` by itself."""
    clock = Clock()
    settings = UiSettings.model_validate({"operator": "op1", "refresh_hz": 30} | ui)
    options: dict[str, Any] = {"name": "ksi-tui prod-eu", "clock": clock, **(app_options or {})}
    app = KsiApp(client.connect, ui=settings, **options)
    async with app.run_test(size=size) as pilot:
        hand = Hand(pilot, client, clock)
        await hand.until(lambda: client.queries or not ready, "reads a snapshot")
        await pilot.pause()
        try:
            yield hand
        finally:
            await app.close_engine()
