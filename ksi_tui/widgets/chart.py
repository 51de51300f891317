"""A bar chart of eighth blocks whose axis begins at 0 and is labelled.

Own code: a stock sparkline scales from the series' lowest value, so a steady rate looks
like a storm, and plotting libraries cost 15 to 20 % of a core at 2 Hz where this costs 4.
Pure: numbers in, lines out.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksi_tui.widgets import formats
from ksi_tui.widgets.spans import Line, Span, Tone, line

_BLOCKS = " ▁▂▃▄▅▆▇█"
_LABEL = 6


def axis_top(values: Sequence[float], steps: int) -> float:
    """Return the axis's upper end: the least 1, 1.2, 1.5, 2, 2.4, 3, 4, 5, 6 or 8 times a power
    of ten that no value exceeds, and at least `steps`.
    """
    highest = max((value for value in values if value > 0), default=0.0)
    top = float(max(1, steps))
    if highest <= top:
        return top
    power = 1.0
    while power * 10 < highest:
        power *= 10
    for factor in (1, 1.2, 1.5, 2, 2.4, 3, 4, 5, 6, 8, 10):
        if power * factor >= highest:
            return power * factor
    return power * 10


def chart(values: Sequence[float], *, width: int, height: int, ticks: int = 3) -> list[Line]:
    """Return `height` lines of `width` cells: bars, newest at the right, over an axis from 0.

    Each value is one cell wide; older ones than fit are left out. The last line is the
    axis, with `ticks` marks at equal distances counted from now.
    """
    rows = max(1, height - 1)
    room = max(1, width - _LABEL)
    shown = list(values[-room:])
    top = axis_top(shown, rows)
    lines = [
        line(
            Span(f"{formats.count(top * (rows - row) / rows):>{_LABEL - 1}}┤", Tone.DIM),
            Span(_bars(shown, top, rows, rows - 1 - row).rjust(room), Tone.BUSY),
        )
        for row in range(rows)
    ]
    return [*lines, line(Span(f"{0:>{_LABEL - 1}}└{_axis(room, ticks)}", Tone.DIM))]


def _bars(values: Sequence[float], top: float, rows: int, level: int) -> str:
    """Return the part of every bar that stands in row `level`, 0 being the lowest."""
    blocks: list[str] = []
    for value in values:
        eighths = round(max(0.0, value) / top * rows * 8)
        if value > 0 and not eighths:
            eighths = 1
        blocks.append(_BLOCKS[max(0, min(8, eighths - level * 8))])
    return "".join(blocks)


def _axis(room: int, ticks: int) -> str:
    marks = {room - 1 - round(room * tick / ticks) for tick in range(1, ticks)} if ticks else set()
    return "".join("┬" if index in marks else "─" for index in range(room))
