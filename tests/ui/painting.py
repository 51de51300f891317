"""Paints the screen where a user could look at it: when the app has come to rest, or a test looks.

Textual paints at every change, a quarter of what a test of the dashboard takes, and without a
terminal throws the picture away. What has changed until then is painted here all the same, once,
so that nothing which cannot be painted goes unnoticed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from textual.app import App, ScreenStackError
from textual.pilot import Pilot
from textual.screen import Screen

Pause = Callable[..., Awaitable[None]]

_refresh = Screen._compositor_refresh


def refresh_later(screen: Screen[Any]) -> None:
    """Take the place of `Screen._compositor_refresh`: what is to be painted is kept."""
    if screen.app.is_headless and screen is screen.app.screen:
        screen._dirty_widgets.clear()
        screen.app._update_mouse_over(screen)
    else:
        _refresh(screen)


def paint(app: App[Any]) -> None:
    """Paint what has changed since the last time."""
    try:
        screen = app.screen
    except ScreenStackError:  # the app has ended
        return
    if screen._compositor._dirty_regions:
        _refresh(screen)


def painting_at_rest(pause: Pause) -> Pause:
    """Wrap `Pilot.pause`: where it has waited for rest and not for time, the screen is painted."""

    async def painted(pilot: Pilot[Any], delay: float | None = None) -> None:
        await pause(pilot, delay)
        if delay is None:
            paint(pilot.app)

    return painted
