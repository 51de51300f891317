"""The foot of a chart: marks at round times, and their names under it.

Pure: numbers in, text out. Times are UTC, as everywhere on the screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

_NO_DATA = "·"
_LEAST_GAP = 12
"""Cells between two marks, at least: a name has room between them."""
_DISTANCES_S = tuple(
    [60 * minutes for minutes in (1, 5, 10, 15, 30)]
    + [3600 * hours for hours in (1, 2, 3, 6, 12, 24, 48, 96)]
)
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Times:
    """When the newest point begins (epoch seconds), and how long a point lasts."""

    last: float
    step_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """How points stand in `room` cells: `each` wide, at the right end; which have no data."""

    room: int
    each: int
    gaps: tuple[bool, ...]

    @property
    def first(self) -> int:
        """The cell in which the oldest point begins."""
        return self.room - self.each * len(self.gaps)


def marks(room: int, ticks: int) -> str:
    """Return an axis of `room` cells with `ticks` marks at equal distances, counted from now."""
    at = {room - 1 - round(room * tick / ticks) for tick in range(1, ticks)} if ticks else set()
    return "".join("┬" if index in at else "─" for index in range(room))


def foot(columns: Columns, times: Times | None) -> tuple[str, str]:
    """Return the axis, dotted where there is no data, and the names of its marks."""
    cells = [_NO_DATA] * columns.first
    for gap in columns.gaps:
        cells += [_NO_DATA if gap else "─"] * columns.each
    named = _named(columns, times) if times is not None else {}
    names = [" "] * columns.room
    for cell, name in named.items():
        cells[cell] = "┬"
        start = min(cell, columns.room - len(name))
        if start >= 0:
            names[start : start + len(name)] = name
    return "".join(cells), "".join(names)


def _named(columns: Columns, times: Times) -> dict[int, str]:
    """Return the cells at which a round time begins, with its name."""
    count = len(columns.gaps)
    cell_s = times.step_s / columns.each
    fitting = (each for each in _DISTANCES_S if each >= cell_s * _LEAST_GAP)
    distance_s = next(fitting, _DISTANCES_S[-1])
    start = times.last - (count - 1) * times.step_s
    found: dict[int, str] = {}
    at = -(-start // distance_s) * distance_s
    while at < times.last + times.step_s:
        cell = columns.first + int((at - start) / cell_s)
        if 0 <= cell < columns.room:
            found[cell] = _name(at, distance_s)
        at += distance_s
    return found


def _name(at: float, distance_s: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    if distance_s >= _DAY_S or (at % _DAY_S == 0 and distance_s >= _DAY_S / 4):
        return f"{moment.day} {moment:%b}"
    return f"{moment:%H:%M}"
