"""A filter's values: terms, all of which must hold, and their one normal form.

How they are read from a text is `grammar`'s, what they mean for a request is `match`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from ksi_tui.engine.filter.fields import FIELDS, FieldKind

SPECIAL: Final = re.compile(r'[\s",*]')
"""What ends or changes a bare value, so that as itself it stands in quotes."""
_READ_AS_TERM: Final = re.compile(r"^-|[:=<>]")
KEY: Final = re.compile(r'[^\s":=<>,*]+')
_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}

UNITS: Final = {
    FieldKind.DURATION: {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0},
    FieldKind.COUNT: {"k": 1e3, "M": 1e6},
    FieldKind.MONEY: {"k": 1e3, "M": 1e6},
}
"""What a unit multiplies by. A number without one is seconds, pieces or dollars."""


def folded(text: str) -> str:
    """Return text without the difference of A–Z and a–z, the only one that is ignored.

    So SQLite's LIKE does it too, and what is in memory and what is on disk are judged alike.
    """
    return text.lower() if text.isascii() else text.translate(_LOWER)


def quoted(text: str) -> str:
    """Return text in quotes, as `grammar` reads it back."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A text to look for: one part is a substring, several are what stands between the `*`."""

    parts: tuple[str, ...]
    folded: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folded", tuple(map(folded, self.parts)))

    def text(self, *, word: bool) -> str:
        """Return the normal form; `word`: where a field's name would be read as one."""
        return "*".join(_bare(part, word=word) for part in self.parts)


def _bare(part: str, *, word: bool) -> str:
    if SPECIAL.search(part) or (word and _READ_AS_TERM.search(part)):
        return quoted(part)
    return part


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTerm:
    """One text that any of `patterns` must fit; `field` "" stands for a bare word.

    `key` is the metadata's key where the field is `meta`. `exact`: patterns without a `*`
    are the whole text and no part of it.
    """

    field: str
    patterns: tuple[Pattern, ...]
    key: str = ""
    exact: bool = False
    negated: bool = False

    def __str__(self) -> str:
        name = self.field
        if name == "meta":
            name += "." + (self.key if KEY.fullmatch(self.key) else quoted(self.key))
        operator = "" if not name else "=" if self.exact else ":"
        values = ",".join(pattern.text(word=not name) for pattern in self.patterns)
        return f"{'-' if self.negated else ''}{name}{operator}{values}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A number's comparison; `operator` is one of > >= < <= =. `value`: s, pieces or dollars."""

    field: str
    operator: str
    value: float
    negated: bool = False

    def __str__(self) -> str:
        return f"{'-' if self.negated else ''}{self.field}{self.operator}{self._number()}"

    def _number(self) -> str:
        kind = FIELDS[self.field].kind
        exact = Decimal(repr(self.value))
        for unit, factor in reversed(UNITS[kind].items()):
            if factor > 1 and self.value >= factor and exact % int(factor) == 0:
                return f"{exact // int(factor):f}{unit}"
        plain = f"{exact:f}"
        plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
        return plain + ("s" if kind is FieldKind.DURATION else "")


Term = TextTerm | Comparison


@dataclass(frozen=True, slots=True)
class Filter:
    """Terms that must all hold. `str` is the normal form, which reads back as the same filter."""

    terms: tuple[Term, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether everything matches."""
        return not self.terms

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))
