"""What the palette offers, from the registry of actions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from textual.app import App, SystemCommand
from textual.screen import Screen

from ksi_tui.actions import Group, Where, actions_of
from ksi_tui.screens.base import KsiScreen

_NOT_OFFERED = ("palette", "back")


def palette_commands(app: App[Any], screen: Screen[Any]) -> Iterator[SystemCommand]:
    """Yield the actions that work on a screen, its own before the common ones; no moving about."""
    places: list[tuple[Where, Any]] = [(Where.ANY, app)]
    if isinstance(screen, KsiScreen) and screen.WHERE is not Where.ANY:
        places.insert(0, (screen.WHERE, screen))
    for where, owner in places:
        for action in actions_of(where):
            if isinstance(screen, KsiScreen) and screen.forbidden(action.id):
                continue
            if action.group is not Group.MOVE and action.id not in _NOT_OFFERED:
                run = partial(app.run_action, action.method, owner)
                yield SystemCommand(action.label.capitalize(), action.tooltip, run)
