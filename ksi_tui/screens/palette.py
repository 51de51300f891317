"""What the palette offers, from the registry of actions, and the saved filters."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from textual.app import App, SystemCommand
from textual.markup import escape
from textual.screen import Screen

from ksi_tui.actions import Group, Where, actions_of
from ksi_tui.screens import later
from ksi_tui.screens.base import KsiScreen
from ksi_tui.screens.finding import WORST_FIRST
from ksi_tui.screens.navigating import NavigatingScreen
from ksi_tui.widgets.clean import clean

_NOT_OFFERED = ("palette", "back")
_TEXT_LIMIT = 200


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
    if isinstance(screen, NavigatingScreen):
        yield from _saved_filters(screen)


def _saved_filters(screen: NavigatingScreen) -> Iterator[SystemCommand]:
    for name, text in screen.host.filters.saved.items():
        yield SystemCommand(
            f"Filter @{name}", escape(clean(text, _TEXT_LIMIT)), partial(_recall, screen, name)
        )


def _recall(screen: NavigatingScreen, name: str) -> None:
    screen.go(later.requests_screen(f"@{name}", WORST_FIRST))
