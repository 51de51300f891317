"""How far the numbers of generated ids are given away, beyond the requests that bear them.

Each accepted request tells the number after its own. What is here is for ids that leave before
their requests come: nobody else may get them, in no later life of the engine either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SET_NUMBER: Final = "UPDATE counters SET value = ? WHERE name = 'next_number'"


@dataclass(frozen=True, slots=True, kw_only=True)
class NumbersGiven:
    """The next life begins with this number, unless a request accepted later has a higher one.

    Refused when the disk cannot take it, as `Accepted` is: who asked for an id waits for it.
    """

    next_number: int
