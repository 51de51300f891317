"""Writes down what happens under every fault, and reads it again: `docs/faults.md`.

Its cells come from what was seen; only the matrix says what should be in them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.faults.matrix import (
    ANSWERS,
    ANSWERS_OF_NO_USE,
    CLOCK_S,
    CLOCKS,
    CONNECTIONS,
    MAX_ATTEMPTS,
    MAX_COOLDOWN_S,
    STATUSES,
    Case,
    Fault,
)
from tests.faults.stage import GOOD, Seen

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"
COLUMNS = (
    "fault",
    "call",
    "state",
    "kind",
    "attempts",
    "circuit",
    "cooldown",
    "with a second provider",
    "time",
)
CHAPTERS = {
    "Statuses": STATUSES,
    "Connections": CONNECTIONS,
    "Silence": CLOCKS,
    "Answers that are none": ANSWERS_OF_NO_USE,
    "Answers": ANSWERS,
}
_HEAD = f"""\
# What happens under every fault

Written by `make faults`, from what was seen when each fault was played to a whole engine
through a real provider worker, against a server on loopback that misbehaves on purpose. A test
holds every column but the last to the contract's table of errors.

Each row is a request whose only provider has the fault: how it ends, as what kind of error, after
how many attempts (of at most {MAX_ATTEMPTS}), what the calls did to the provider's circuit, and
whether the model cools down there. The next column tells what the same request does where a second
provider, which is well, serves the model too: that one answers in the same attempt, or the first
one's error ends the request, which nobody else could do better. The last column is the time of the
calls and backoffs of the request with one provider, in units of the clock that ended its calls, or
in seconds. The clocks were {CLOCK_S:g} s, `max_cooldown_s` was {MAX_COOLDOWN_S:g}, the first
backoff 0.02 s.
"""
_AT_ONCE_S = 1.0

Cells = tuple[str, ...]


def expected(fault: Fault, *, streamed: bool) -> Cells:
    """Return the cells that a row must have, but for the time."""
    ends = fault.ends[streamed]
    rule = ends.rule
    answered = ends.kind is None
    return (
        fault.name,
        "stream" if streamed else "whole",
        "completed" if answered else "failed",
        "–" if ends.kind is None else str(ends.kind),
        str(ends.attempts),
        str(rule.circuit),
        "yes" if ends.cools else "–",
        "not asked" if answered or not rule.fails_over else "answers",
    )


def observed(fault: Fault, seen: Mapping[Case, Seen], *, streamed: bool) -> Cells:
    """Return the cells that a row has after what was seen, with the time."""
    alone, two = (seen[Case(fault, streamed, followed)] for followed in (False, True))
    error = alone.status["error"]
    second = any(call["provider"] == GOOD for call in two.calls)
    return (
        fault.name,
        "stream" if streamed else "whole",
        alone.status["status"],
        error["kind"] if error else "–",
        str(alone.status["attempts_spent"]),
        str(alone.circuit),
        "yes" if alone.cooling_s else "–",
        "answers" if second and two.status["provider"] == GOOD else "not asked",
        _time(fault, alone, streamed=streamed),
    )


def _time(fault: Fault, seen: Seen, *, streamed: bool) -> str:
    ends = fault.ends[streamed]
    if ends.clock:
        unit_s = ends.timeout_s or CLOCK_S
        return f"{math.floor(seen.took_s / unit_s + 0.1)} × {ends.clock} clock"
    return "at once" if seen.took_s < _AT_ONCE_S else f"{seen.took_s:.0f} s"


def written(seen: Mapping[Case, Seen]) -> str:
    """Return the document."""
    lines = [_HEAD]
    for chapter, faults in CHAPTERS.items():
        lines += [f"## {chapter}", "", _line(COLUMNS), _line(("---",) * len(COLUMNS))]
        lines += [
            _line(observed(fault, seen, streamed=streamed))
            for fault in faults
            for streamed in fault.ends
        ]
        lines.append("")
    return "\n".join(lines)


def _line(cells: Cells) -> str:
    return f"| {' | '.join(cells)} |"


def rows(text: str) -> Iterator[Cells]:
    """Yield the rows of a document's tables, without their times."""
    for line in text.splitlines():
        if line.startswith("| "):
            cells = tuple(line[2:-2].split(" | "))
            if cells != COLUMNS and set(cells) != {"---"}:
                yield cells[:-1]
