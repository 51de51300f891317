"""Lines that are composed anew only when what they say has changed.

A screen shows its picture ten times a second; wrapping a long text takes longer than that
is worth while nothing of it has moved.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from ksi_tui.widgets.spans import Line


class Kept:
    """The last lines of each pane, with what they were composed of."""

    def __init__(self) -> None:
        self._lines: dict[str, tuple[Hashable, Sequence[Line]]] = {}

    def lines(
        self, pane: str, of: Hashable, compose: Callable[[], Sequence[Line]]
    ) -> Sequence[Line]:
        """Return the pane's lines; `of` is all that they depend on."""
        kept = self._lines.get(pane)
        if kept is None or kept[0] != of:
            kept = self._lines[pane] = (of, compose())
        return kept[1]
