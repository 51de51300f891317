"""Keys that were quicker than the screen they are meant for.

Textual hands a key to the screen on top, be it put up already or not. What a key means is the
screens'; a form's own keys ahead of its fields are `screens.finding`'s.
"""

from __future__ import annotations

import asyncio
from typing import Any

from textual.app import App
from textual.dom import DOMNode, NoScreen

PUT_UP_WITHIN_S = 2.0
"""How long a key waits for a screen; one that takes longer gets none."""
_LOOK_S = 0.002


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
