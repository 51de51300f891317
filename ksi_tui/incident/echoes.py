"""Finds pieces of private texts in other texts: an upstream's error may repeat the prompt.

Texts are compared by runs of words, so that quotes, escapes and cuts around a piece don't
hide it. What stands in place of a piece is the caller's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

RUN: Final = 4
"""So many words in a row are a piece of a text; fewer are anybody's."""
LONG_WORD: Final = 20
"""A word of so many characters is one by itself."""
_SHORTEST: Final = 8
"""A whole text of fewer characters is looked for nowhere."""
MOST_RUNS: Final = 1_000_000
"""Runs that are kept at most, for all texts together."""
_WORD: Final = re.compile(r"\\[nrt\"']|((?:(?!\\[nrt\"'])\S)+)")
_AROUND: Final = "\"'`.,;:!?()[]{}<>\\"

Hide = Callable[[str], str]
Word = tuple[str, int, int]


class Echoes:
    """The runs of words that may stand nowhere else."""

    def __init__(self) -> None:
        self._runs: set[int] = set()

    def take(self, text: str) -> bool:
        """Look for this text from now on; returns False where there are too many already."""
        if len(self._runs) > MOST_RUNS:
            return False
        self._runs.update(_runs(text))
        return True

    def spare(self, texts: Iterable[str]) -> None:
        """Look no more for runs of these texts."""
        for text in texts:
            self._runs.difference_update(_runs(text))

    def join(self, other: Echoes) -> None:
        """Look for what another one looks for, too."""
        self._runs |= other._runs

    def hidden(self, text: str, hide: Hide) -> str:
        """Return a text with every piece of a private one replaced by what `hide` makes of it."""
        if not self._runs or len(text) < _SHORTEST:
            return text
        words = list(_words(text))
        private = self._private(words)
        parts, end, index = [], 0, 0
        while index < len(words):
            last = index
            while last < len(words) and private[last]:
                last += 1
            if last > index:
                start, stop = words[index][1], words[last - 1][2]
                parts += [text[end:start], hide(text[start:stop])]
                end = stop
            index = max(last, index + 1)
        return "".join([*parts, text[end:]]) if parts else text

    def _private(self, words: list[Word]) -> list[bool]:
        found = [False] * len(words)
        for size in range(1, RUN + 1):
            for at in range(len(words) - size + 1):
                if _key(words[at : at + size]) in self._runs:
                    found[at : at + size] = [True] * size
        return found


def _words(text: str) -> Iterator[Word]:
    for match in _WORD.finditer(text):
        word = (match[1] or "").strip(_AROUND)  # an escape is none
        if word:
            start = match.start() + match[0].index(word)
            yield word.casefold(), start, start + len(word)


def _key(words: list[Word]) -> int:
    return hash(tuple(word for word, _, _ in words))


def _runs(text: str) -> Iterator[int]:
    words = list(_words(text))
    if len(words) < RUN:
        if len(text.strip()) >= _SHORTEST and words:
            yield _key(words)
    else:
        for at in range(len(words) - RUN + 1):
            yield _key(words[at : at + RUN])
    for word in words:
        if len(word[0]) >= LONG_WORD:
            yield _key([word])
