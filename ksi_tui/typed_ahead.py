"""Keys that were quicker than the screen they are meant for.

Textual hands a key to what has the keys when it comes, be the next screen put up already or not.
What a key means is the screens'.
"""

from __future__ import annotations

import asyncio
from typing import Any

from textual.app import App
from textual.dom import DOMNode, NoScreen

PUT_UP_WITHIN_S = 2.0
"""How long a key waits for a screen; one that takes longer gets none."""
_LOOK_S = 0.002


class HandedTo:
    """A screen with a field that keeps every letter while it has the keys.

    A letter that comes past it all the same was sent to what had the keys before.
    """

    @property
    def typed_in(self) -> bool:
        """Whether the field has the keys."""
        raise NotImplementedError

    def take_typed(self, letter: str) -> None:
        """Put a letter where the field's cursor is."""
        raise NotImplementedError


async def can_take(app: App[Any], node: DOMNode) -> bool:
    """Wait until the screen of a node is put up; False where it is not, or was left meanwhile."""
    try:
        screen = node.screen
    except NoScreen:
        return False
    end = asyncio.get_running_loop().time() + PUT_UP_WITHIN_S
    while screen in app.screen_stack:
        if screen.is_mounted:
            # One that was left while it was put up has no widgets, and is told it is mounted.
            return screen.is_running and bool(screen.children)
        if asyncio.get_running_loop().time() > end:
            return False
        await asyncio.sleep(_LOOK_S)
    return False


async def handed_on(app: App[Any], letter: str) -> bool:
    """Hand a letter that came past every field to the one on top; False where none is typed in."""
    screen = app.screen
    if not isinstance(screen, HandedTo) or not await can_take(app, screen) or not screen.typed_in:
        return False
    screen.take_typed(letter)
    return True
