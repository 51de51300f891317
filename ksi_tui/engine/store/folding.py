"""How the rollups grow coarser with age: minutes into hours and days, then the fine ones go.

Pure: it returns statements with their rows, which run in one transaction with nothing in
between. A fold *moves*: what it adds to the sums by minute, hour and day it takes from what
is not folded yet. So a fold may come at any moment, twice, or never, and be cut short by a
crash: every call is always in the one or in the other, and no watermark can be wrong. A
call that ends late (a clock set back, a disk that failed for an hour) is folded like any.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ksi_tui.engine.store import usage_statements
from ksi_tui.engine.store.usage import (
    DAY_S,
    HOUR_S,
    HOURS_KEPT_S,
    MINUTE_S,
    MINUTES_KEPT_S,
    SPANS_S,
)

DROPPED_AT_ONCE_S: Final = {MINUTE_S: 6 * HOUR_S, HOUR_S: 10 * DAY_S}
"""How much of the oldest fine rows one fold drops, by span. It keeps a transaction short, and
a clock that is wrong for a while from taking more than that a round."""


def fold_steps(at: float) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
    """Yield the statements of a fold at `at` (epoch seconds), with their rows, in order."""
    yield usage_statements.FOLD, [(span,) for span in SPANS_S]
    for fold in usage_statements.FOLD_FACETS:
        yield fold, [(span,) for span in SPANS_S]
    yield usage_statements.FORGET_UNFOLDED, [()]
    kept = (
        ("usage_minutes_from", MINUTE_S, MINUTES_KEPT_S, HOUR_S),
        ("usage_hours_from", HOUR_S, HOURS_KEPT_S, DAY_S),
    )
    for name, span, kept_s, step in kept:
        edge = int((at - kept_s) // step) * step
        yield usage_statements.RAISE_EDGE, [(name, span, edge, DROPPED_AT_ONCE_S[span], step)]
        yield usage_statements.DROP_SPANS, [(name, span)]
        yield (
            usage_statements.DROP_FACETS,
            [(name, span, facet) for facet in usage_statements.FACETS],
        )
