"""What a scene needs of whoever plays it: keys in, text of the screen out.

Keys are named as Textual names them. Every wait is bounded and ends with the screen in the
error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

Scene = Callable[["User"], AsyncIterator[str]]
"""Plays a scene, and yields after each step the sentence of it that is now on the screen."""


class User(Protocol):
    """Somebody at the keys."""

    @property
    def wide(self) -> bool:
        """Whether the terminal has room for every pane."""
        ...

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        ...

    async def type(self, text: str) -> None:
        """Type a text."""
        ...

    async def sees(self, *texts: str) -> None:
        """Wait until all of the texts stand on the screen."""
        ...

    async def confirms(self) -> None:
        """Press the focused button, after the moment in which a press is not taken as meant."""
        ...

    async def copied(self, *texts: str) -> None:
        """Wait until what was copied last holds all of the texts."""
        ...

    async def restarts(self) -> None:
        """Leave with the work for the next time, and come back."""
        ...


async def gives_reason(user: User, reason: str) -> None:
    """In a dialog whose safe button is focused: type why, and confirm."""
    await user.type(reason)
    await user.press("tab", "tab")
    await user.confirms()
