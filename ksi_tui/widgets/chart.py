"""Charts of one or several series, over an axis that begins at 0 and is labelled.

Own code: a stock sparkline scales from the series' lowest value, so a steady rate looks
like a storm, and plotting libraries cost 15 to 20 % of a core at 2 Hz where this costs 4.
Several series are drawn with a letter each, so that they are told apart without colour.
Pure: numbers in, lines out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len

from ksi_tui.widgets import axis, fit, formats
from ksi_tui.widgets.spans import Line, Span, Tone, line

_BLOCKS = " ▁▂▃▄▅▆▇█"
_LABEL = 6
_LONGEST_NAME, _SHORTEST_NAME = 18, 8
_NOTHING = 1e-300
"""What is not above this is drawn as nothing: less could not be divided into rows."""
_LABELLED = 4
"""How many rows of a plot carry a number, at most."""
LETTERS = "abcdefghijklmnpqrstuvwxyz"
"""What the cells of a series are drawn with; `o` is for the others."""
OTHERS = "o"
SEVERAL = "*"
"""Stands where points of several series fall together."""
_TONES = (Tone.BUSY, Tone.OK, Tone.WARN, Tone.BAD, Tone.KEY, Tone.PLAIN)


def axis_top(values: Sequence[float], steps: int) -> float:
    """Return the axis's upper end: the least 1, 1.2, 1.5, 2, 2.4, 3, 4, 5, 6 or 8 times a power
    of ten that no value exceeds, and at least `steps`.
    """
    highest = max((value for value in values if value > 0), default=0.0)
    top = float(max(1, steps))
    return top if highest <= top else _least_of((1, 1.2, 1.5, 2, 2.4, 3, 4, 5, 6, 8), highest)


def axis_step(least: float) -> float:
    """Return the least 1, 2, 2.5 or 5 times a power of ten that is not below; 1 for nothing."""
    return _least_of((1, 2, 2.5, 5), least) if least > _NOTHING else 1.0


def _least_of(factors: Sequence[float], least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next((power * factor for factor in factors if power * factor >= least), power * 10)


def chart(values: Sequence[float], *, width: int, height: int, ticks: int = 3) -> list[Line]:
    """Return `height` lines of `width` cells: bars, newest at the right, over an axis from 0.

    Each value is one cell wide; older ones than fit are left out. The last line is the
    axis, with `ticks` marks at equal distances counted from now.
    """
    rows = max(1, height - 1)
    room = max(1, width - _LABEL)
    shown = list(values[-room:])
    every = -(-rows // _LABELLED)
    top = axis_top(shown, rows)
    if every > 1:  # not every row can be a round number, so those that are carry one
        top = axis_step(max(shown, default=0.0) * every / rows) * rows / every
    steps = [formats.count(top * up / rows) if up % every == 0 else "" for up in range(rows, 0, -1)]
    lines = [
        line(
            Span(f"{steps[row]:>{_LABEL - 1}}{'┤' if steps[row] else '│'}", Tone.DIM),
            Span(_bars(shown, top, rows, rows - 1 - row).rjust(room), Tone.BUSY),
        )
        for row in range(rows)
    ]
    return [*lines, line(Span(f"{0:>{_LABEL - 1}}└{axis.marks(room, ticks)}", Tone.DIM))]


def _bars(values: Sequence[float], top: float, rows: int, level: int) -> str:
    """Return the part of every bar that stands in row `level`, 0 being the lowest."""
    return "".join(_block(value, top, rows, level) for value in values)


def _block(value: float, top: float, rows: int, level: int) -> str:
    eighths = round(max(0.0, value) / top * rows * 8)
    if value > 0 and not eighths:
        eighths = 1
    return _BLOCKS[max(0, min(8, eighths - level * 8))]


# --- several series -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plotted:
    """One series: its clean name and its values, oldest first; None is a gap."""

    name: str
    values: tuple[float | None, ...]
    letter: str = LETTERS[0]
    tone: Tone = Tone.BUSY


def lettered(named: Iterable[tuple[str, tuple[float | None, ...]]]) -> tuple[Plotted, ...]:
    """Return series with a letter and a tone each, in their order."""
    return tuple(
        Plotted(name, values, LETTERS[index % len(LETTERS)], _TONES[index % len(_TONES)])
        for index, (name, values) in enumerate(named)
    )


def legend(series: Sequence[Plotted], width: int) -> Line:
    """Return which letter is which series, as many as fit; the rest is counted."""
    spans: list[Span] = []
    room = min(_LONGEST_NAME, max(_SHORTEST_NAME, width // max(1, len(series)) - 4))
    for index, one in enumerate(series):
        more = f"  and {len(series) - index} more"
        text = f" {fit.middle(one.name, room)}"
        piece = [Span("  " if spans else ""), Span(one.letter, one.tone), Span(text, Tone.DIM)]
        last = index == len(series) - 1
        used = fit.width_of(Line((*spans, *piece))) + (0 if last else len(more))
        if used > width:
            return fit.clip(Line((*spans, Span(more.lstrip() if not spans else more))), width)
        spans += piece
    return Line(tuple(span for span in spans if span.text))


def plot(
    series: Sequence[Plotted],
    *,
    width: int,
    height: int,
    label: Callable[[float], str] = formats.count,
    times: axis.Times | None = None,
    stacked: bool = True,
) -> list[Line]:
    """Return `height` lines of `width` cells, the newest at the right. Few points are widened.

    One series stands as bars of eighths. Several are stacked, each in its letter, or, where
    adding them up says nothing (`stacked` False), drawn as points. Where no series has a value
    the axis is dotted. Under the axis stand `times`, where given.
    """
    rows = max(1, height - 1 - (times is not None))
    every = -(-rows // _LABELLED)
    step = axis_step(_highest(series, stacked=stacked) * every / rows)
    top = step * rows / every
    steps = [label(step * (up // every)) if up % every == 0 else "" for up in range(rows, 0, -1)]
    indent = max(_LABEL - 1, *(cell_len(step) for step in steps))
    room = max(1, width - indent - 1)
    count = min(room, max((len(one.values) for one in series), default=0))
    points = [tuple(_value(one, back) for one in series) for back in range(count, 0, -1)]
    unknown: tuple[float | None, ...] = (None,) * len(series)
    cells = [points[cell * count // room] if points else unknown for cell in range(room)]
    lines = [
        line(
            Span(f"{steps[row]:>{indent}}{'┤' if steps[row] else '│'}", Tone.DIM),
            *_row(series, cells, top, (rows, rows - 1 - row), stacked=stacked),
        )
        for row in range(rows)
    ]
    gaps = [all(value is None for value in cell) for cell in cells]
    foot, names = axis.foot(gaps, count, times)
    lines.append(line(Span(f"{'0':>{indent}}└{foot}", Tone.DIM)))
    if times is not None:
        lines.append(line(Span(" " * (indent + 1) + names, Tone.DIM)))
    return lines


def _value(one: Plotted, back: int) -> float | None:
    return one.values[-back] if back <= len(one.values) else None


def _highest(series: Sequence[Plotted], *, stacked: bool) -> float:
    if not stacked:
        known = [value for one in series for value in one.values if value is not None]
        return max(known, default=0.0)
    count = max((len(one.values) for one in series), default=0)
    return max(
        (sum(_value(one, back) or 0.0 for one in series) for back in range(1, count + 1)),
        default=0.0,
    )


def _row(
    series: Sequence[Plotted],
    points: Sequence[tuple[float | None, ...]],
    top: float,
    at: tuple[int, int],
    *,
    stacked: bool,
) -> list[Span]:
    """Return row `at` (how many there are, and which one), a cell for each point."""
    rows, level = at
    if len(series) == 1:
        cells = [Span(_block(point[0] or 0.0, top, rows, level), Tone.BUSY) for point in points]
    elif stacked:
        cells = [_stacked(series, point, top, rows, level) for point in points]
    else:
        cells = [_points(series, point, top, rows, level) for point in points]
    return [
        Span("".join(cell.text for cell in group), tone)
        for tone, group in groupby(cells, key=lambda cell: cell.tone)
    ]


def _stacked(
    series: Sequence[Plotted],
    point: tuple[float | None, ...],
    top: float,
    rows: int,
    level: int,
) -> Span:
    """Return the letter of the series that fills the middle of a cell."""
    middle = (level + 0.5) / rows * top
    reached = 0.0
    for one, value in zip(series, point, strict=True):
        reached += value or 0.0
        if reached > middle:
            return Span(one.letter, one.tone)
    if level == 0 and reached > 0:
        largest = max(range(len(point)), key=lambda index: point[index] or 0.0)
        return Span(series[largest].letter, series[largest].tone)
    return Span(" ")


def _points(
    series: Sequence[Plotted],
    point: tuple[float | None, ...],
    top: float,
    rows: int,
    level: int,
) -> Span:
    here = [
        one
        for one, value in zip(series, point, strict=True)
        if value is not None and min(rows - 1, int(value / top * rows)) == level
    ]
    if len(here) > 1:
        return Span(SEVERAL, Tone.STRONG)
    return Span(here[0].letter, here[0].tone) if here else Span(" ")
