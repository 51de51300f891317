"""The work that the gateway, its peer and their floor are measured by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.servers import modes

WORDS: Final = 100
"""Words of a streamed answer; each comes as a chunk of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """`calls` of one kind, `at_once` at a time."""

    name: str
    calls: int
    at_once: int
    stream: bool = False

    @property
    def words(self) -> int:
        """How many words each answer has."""
        return WORDS if self.stream else 14


def expected(count: int) -> list[str]:
    """Return the words that the upstream answers with."""
    return list(modes._text(count))
