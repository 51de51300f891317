"""Writes many rows with one run of a statement, where a crowd of requests writes many.

Every run gives the interpreter back and takes it again: a row at a time, the writer's thread and
the loop's hand it to and fro, and neither works while the other does. Text only; which statements
these are is decided here, what they say and what is in their rows is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Final

from ksi_tui.engine.store import statements, usage_statements

Row = tuple[object, ...]

_SIZES: Final = (256, 64, 16, 4)
"""How many rows go into one run; each size is a text of its own that SQLite keeps prepared."""
_INSERTED: Final = frozenset(
    {
        statements.ACCEPT,
        statements.ADD_PAYLOAD,
        statements.ADD_ATTEMPT,
        statements.ADD_CALL,
        statements.ADD_TURN,
        statements.TOUCH_SESSION,
        statements.ADD_TO_SESSION,
        usage_statements.ADD_SESSION_USAGE,
    }
)
_LOOKED_UP: Final = frozenset({statements.MOVE, statements.FINISH, statements.ADD_REPLY})
"""These find the request that each row begins with."""
_VALUES: Final = re.compile(r"VALUES (\([^()]*\))")
_NUMBERED: Final = re.compile(r"\?(\d+)")


def runs(statement: str, rows: Sequence[Row]) -> Iterator[tuple[str, Sequence[Row]]]:
    """Yield texts and the rows, in their order, that each takes in one run, a text's values flat.

    What no wide text takes is left to be run row by row: those come with `statement` itself.
    """
    wide = statement in _INSERTED or (statement in _LOOKED_UP and _differ(rows))
    done = 0
    for size in _SIZES if wide else ():
        while len(rows) - done >= size:
            yield wide_text(statement, size, len(rows[0])), rows[done : done + size]
            done += size
    if done < len(rows):
        yield statement, rows[done:]


def flat(rows: Sequence[Row]) -> list[object]:
    """Return the values of rows as one wide text takes them."""
    return list(chain.from_iterable(rows))


def _differ(rows: Sequence[Row]) -> bool:
    """Whether each is about another request: of two rows about one the last must win."""
    return len({row[0] for row in rows}) == len(rows)


@cache
def wide_text(statement: str, count: int, columns: int) -> str:
    """Return the text that does in one run what `statement` does in `count`."""
    if statement in _INSERTED:
        return _VALUES.sub(lambda found: "VALUES " + ", ".join([found[1]] * count), statement)
    row = f"({', '.join('?' * columns)})"
    values = f"(VALUES {', '.join([row] * count)}) AS v"
    text = _NUMBERED.sub(r"v.column\1", statement)
    if " FROM requests WHERE " in text:
        return text.replace(" FROM requests WHERE ", f" FROM {values} CROSS JOIN requests WHERE ")
    before, _, after = text.rpartition("WHERE ")
    return f"{before} FROM {values} WHERE {after}"
