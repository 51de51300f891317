"""How deep data from outside may be nested: what is kept of it has to fit into replies again.

Encoding JSON recurses, and a reply holds what was kept some levels further down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

MOST_DEEP: Final = 100
"""Levels of lists and objects."""


def too_deep(value: Any, most: int = MOST_DEEP) -> bool:
    """Return whether a value is nested in more than `most` levels."""
    level = [value]
    for _ in range(most):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return False
    return True


def _inner(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()
