"""Whose fault a fault is: of what is on the screen, or of what was left meanwhile.

A screen that is left while it is being put up gets no widgets, and still is told that it is up.
"""

from __future__ import annotations

from typing import Any

from textual._context import active_message_pump
from textual.app import App
from textual.screen import Screen
from textual.widget import Widget
from textual.worker import active_worker


def of_what_was_left(app: App[Any]) -> bool:
    """Return whether what runs now belongs to what is no longer shown, or is taken away.

    A worker runs with the app as its place, so there its own node is asked for.
    """
    place = active_message_pump.get(None)
    if place is app and (worker := active_worker.get(None)) is not None:
        place = worker.node
    if not isinstance(place, Widget):
        return False
    above = place.ancestors_with_self
    screen = next((up for up in above if isinstance(up, Screen)), None)
    return screen not in app.screen_stack or any(up._pruning or up._closing for up in above)
