"""What a screen, a dialog or a bar does in the background ends before its widgets go.

Textual takes a node's children away first and cancels the node's workers last: a reply that
comes in between would be shown in widgets that are gone, which ends the dashboard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.messages import Prune

if TYPE_CHECKING:
    from textual.widget import Widget

    _Node = Widget
else:
    _Node = object


class Working(_Node):
    """A node whose workers show things in its children; named before Textual's own class."""

    async def on_prune(self, event: Prune) -> None:  # noqa: ARG002
        """Cancel the workers; Textual's own handler comes after this and takes the node away."""
        self.workers.cancel_node(self)
