"""How noisy the machine was: the same piece of work, again and again between the loads.

What it takes of the wall beyond its CPU is taken by others; how much its CPU differs is how much
the machine's own speed does.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Final

_TIMES: Final = 15
_SUMMED: Final = 200_000
_QUIET: Final = 1.15
"""How much longer than at their best nine of ten pieces may take on a quiet machine."""

Piece = Mapping[str, float]


def pieces() -> list[Piece]:
    """Do the piece a few times; returns the wall and CPU ms of each."""
    return [_piece() for _ in range(_TIMES)]


def _piece() -> Piece:
    wall, cpu = time.perf_counter(), time.process_time()
    sum(range(_SUMMED))
    return {
        "wall_ms": 1000 * (time.perf_counter() - wall),
        "cpu_ms": 1000 * (time.process_time() - cpu),
    }


def told(done: Sequence[Piece]) -> str:
    """Say in a line how much the same work differed over the run."""
    wall, cpu = (sorted(each[name] for each in done) for name in ("wall_ms", "cpu_ms"))
    late, slow = (_late(each) for each in (wall, cpu))
    verdict = "quiet" if late <= _QUIET else "NOISY: others used the machine, or its speed drifts"
    return (
        f"noise: {verdict}; a piece of work of {statistics.median(wall):.2f} ms, {len(wall)} times"
        f" between the loads: nine of ten within {late:.2f} of the fastest by the wall,"
        f" {slow:.2f} by its CPU; the slowest {wall[-1] / wall[0]:.1f}"
    )


def _late(ordered: Sequence[float]) -> float:
    return ordered[int(len(ordered) * 0.9)] / ordered[0]
