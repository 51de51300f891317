"""Whose fault a fault is: of what is on the screen, or of a screen that was left meanwhile."""

from __future__ import annotations

from typing import Any

from textual._context import active_message_pump
from textual.app import App
from textual.screen import Screen
from textual.widget import Widget
from textual.worker import active_worker


def of_a_screen_left(app: App[Any]) -> bool:
    """Return whether what runs now belongs to a screen that is no longer on the stack.

    A worker runs with the app as its place, so there its own node is asked for.
    """
    place = active_message_pump.get(None)
    if place is app and (worker := active_worker.get(None)) is not None:
        place = worker.node
    if not isinstance(place, Widget):
        return False
    screen = next((up for up in place.ancestors_with_self if isinstance(up, Screen)), None)
    return screen not in app.screen_stack
