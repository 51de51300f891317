"""The foot of a chart: marks at round times, and their names under it.

Pure: numbers in, text out. Times are UTC, as everywhere on the screen.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def marks(room: int, ticks: int) -> str:
    """Return an axis of `room` cells with `ticks` marks at equal distances, counted from now."""
    at = {room - 1 - round(room * tick / ticks) for tick in range(1, ticks)} if ticks else set()
    return "".join("┬" if index in at else "─" for index in range(room))


def foot(gaps: Sequence[bool], count: int, times: Times | None) -> tuple[str, str]:
    """Return the axis, dotted where there is no data, and the names of its marks.

    `gaps` says of each cell whether it has no data; `count` points stand in all of them.
    """
    room = len(gaps)
    cells = [_NO_DATA if gap else "─" for gap in gaps]
    names = [" "] * room
    taken = 0
    for cell, name in _named(room, count, times).items() if times is not None else ():
        cells[cell] = "┬"
        start = min(cell, room - len(name))
        if start >= taken:
            names[start : start + len(name)] = name
            taken = start + len(name) + 1
    return "".join(cells), "".join(names)


def _named(room: int, count: int, times: Times) -> dict[int, str]:
    """Return the cells at which a round time begins, with its name, from left to right."""
    if not count:
        return {}
    span_s = count * times.step_s
    start = times.last + times.step_s - span_s
    fitting = (each for each in _DISTANCES_S if each >= span_s / room * _LEAST_GAP)
    distance_s = next(fitting, _DISTANCES_S[-1])
    found: dict[int, str] = {}
    at = -(-start // distance_s) * distance_s
    while at < start + span_s:
        found[int((at - start) / span_s * room)] = _name(at, distance_s)
        at += distance_s
    return found


def _name(at: float, distance_s: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    if distance_s >= _DAY_S or (at % _DAY_S == 0 and distance_s >= _DAY_S / 4):
        return f"{moment.day} {moment:%b}"
    return f"{moment:%H:%M}"
