"""What stands on the screen, and what is being put up or taken away at this moment.

Textual takes a node's children away first and cancels the node's workers last: a reply or a key
that comes in between would meet widgets that are gone, which ends the dashboard.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from textual.events import Event, Mount
from textual.messages import Prune

if TYPE_CHECKING:
    from textual.screen import Screen
    from textual.widget import Widget

    _Node = Widget
else:
    _Node = object


Work = Callable[[], Awaitable[None]]
"""What a node does in the background. Called when it begins: one that never does leaves nothing."""


class Working(_Node):
    """A node whose workers show things in its children; named before Textual's own class."""

    @property
    def stands(self) -> bool:
        """Whether its widgets are there: neither being put up nor taken away."""
        return self.is_mounted and self.is_running and self.is_attached

    def start(
        self, work: Work, *, name: str, group: str = "default", exclusive: bool = False
    ) -> None:
        """Do something in the background; `exclusive`: in place of what the group does."""
        self.run_worker(work, name=name, group=group, exclusive=exclusive)

    async def on_event(self, event: Event) -> None:
        """Put nothing up where all was left before its widgets came: it is told to all the same."""
        if self.children or not isinstance(event, Mount):
            await super().on_event(event)

    async def on_prune(self, event: Prune) -> None:  # noqa: ARG002
        """Cancel the workers; Textual's own handler comes after this and takes the node away."""
        self.workers.cancel_node(self)


def on_top(screen: Screen[Any]) -> bool:
    """Return whether a screen is the one that keys go to: what is covered or was left is not."""
    return screen.app.screen_stack[-1:] == [screen]
