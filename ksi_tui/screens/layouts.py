"""Which arrangement fits a terminal's size; pure."""

from __future__ import annotations

from enum import StrEnum

LEAST = (60, 16)
"""Columns and lines below which nothing useful fits."""
_PANES = (120, 36)


class Layout(StrEnum):
    """How a screen is arranged."""

    PANES = "panes"
    TABS = "tabs"
    SMALL = "small"


def layout_for(width: int, height: int) -> Layout:
    """Return the arrangement for a terminal of so many columns and lines."""
    if width < LEAST[0] or height < LEAST[1]:
        return Layout.SMALL
    if width >= _PANES[0] and height >= _PANES[1]:
        return Layout.PANES
    return Layout.TABS
