"""Reads a filter: `words`, `field:value`, `field>number`, `-` before a term, all must hold.

A value is a part of the text looked at. `*` anchors it (`acme*` begins with it, `*acme` ends
with it), a comma gives another that will do, quotes take blanks, commas and stars as they are,
and `field=value` asks for the whole text. Whatever is typed, nothing but FilterError comes of it.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from ksi_tui.engine.errors import FilterError
from ksi_tui.engine.filter.fields import FIELDS, Field, FieldKind
from ksi_tui.engine.filter.match import fits
from ksi_tui.engine.filter.terms import UNITS, Comparison, Filter, Pattern, Term, TextTerm

MAX_CHARS: Final = 1000
MAX_VALUES: Final = 100
"""So many values has a filter in all: databases bound the depth of what they are asked."""
MAX_NUMBER: Final = 1e12
_DECIMALS: Final = 9

_HEAD: Final = re.compile(
    r'([A-Za-z_]+)(?:\.("(?:[^"\\]|\\.)*"|[^\s":=<>,*]+))?(:|>=|<=|>|<|=)', re.DOTALL
)
_NUMBER: Final = re.compile(r"\$?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([A-Za-z]*)")
_NAMES: Final = ", ".join(
    "meta.KEY:"
    if field.kind is FieldKind.META
    else field.name + (">" if field.kind.compared else ":")
    for field in FIELDS.values()
)
_UNIT_NAMES: Final = {
    FieldKind.DURATION: "30s, 5m, 2h, 1d or 500ms",
    FieldKind.COUNT: "1000, 20k or 1.5M",
    FieldKind.MONEY: "0.01 or $2",
}


def parse(text: str) -> Filter:
    """Return what a person typed as a filter; raises FilterError, which says where and why."""
    if len(text) > MAX_CHARS:
        raise FilterError(MAX_CHARS, f"a filter has at most {MAX_CHARS} characters")
    if "\0" in text:
        raise FilterError(text.index("\0"), "a filter holds no NUL character")
    found = Filter(tuple(_Scanner(text).terms()))
    if len(str(found)) > MAX_CHARS:
        raise FilterError(0, f"written out, a filter has at most {MAX_CHARS} characters")
    return found


class _Scanner:
    """Goes over one text once, from the left."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._values = 0

    def terms(self) -> list[Term]:
        """Return all terms."""
        found: list[Term] = []
        while True:
            while self._peek().isspace():
                self._at += 1
            if self._over:
                return found
            found.append(self._term())

    @property
    def _over(self) -> bool:
        return self._at >= len(self._text)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _term(self) -> Term:
        negated = self._peek() == "-"
        self._at += negated
        if self._over or self._peek().isspace():
            raise FilterError(
                self._at - 1, "- leaves out what stands right after it: -status:failed"
            )
        head = _HEAD.match(self._text, self._at)
        if head is None:
            return TextTerm(field="", patterns=self._patterns("a word"), negated=negated)
        field = self._field(head)
        begin, operator = self._at, head[3]
        self._at = head.end()
        if field.kind.compared:
            if operator == ":":
                raise FilterError(begin, f"{field.name} is compared: {field.example}")
            return Comparison(
                field=field.name,
                operator=operator,
                value=self._number(field),
                negated=negated,
            )
        if operator not in (":", "="):
            raise FilterError(begin, f"{field.name} has no order: {field.example}")
        patterns = self._patterns(field.example)
        if field.kind is FieldKind.CHOICE:
            patterns = tuple(map(_spaced, patterns))
            _check_choices(field, patterns, begin, exact=operator == "=")
        return TextTerm(
            field=field.name,
            key=_key(head[2]),
            patterns=patterns,
            exact=operator == "=",
            negated=negated,
        )

    def _field(self, head: re.Match[str]) -> Field:
        field = FIELDS.get(head[1].lower())
        has_key = head[2] is not None
        if field is not None and has_key == (field.kind is FieldKind.META):
            return field
        if field is not None and not has_key:
            raise FilterError(head.start(), f"meta is asked by key: {field.example}")
        name = head[0][: -len(head[3])]
        raise FilterError(
            head.start(),
            f"no field {name!r}; fields: {_NAMES}; to look for it as text put it in quotes",
        )

    def _number(self, field: Field) -> float:
        begin = self._at
        self._count(begin)
        while not self._over and not self._peek().isspace():
            self._at += 1
        written = self._text[begin : self._at]
        units = UNITS[field.kind]
        found = _NUMBER.fullmatch(written)
        allowed = f"{field.name} is compared with a number: {_UNIT_NAMES[field.kind]}"
        if found is None:
            raise FilterError(begin, allowed)
        unit = found[2] if found[2] in units else found[2].lower()
        if unit and unit not in units:
            raise FilterError(begin + found.start(2), f"no unit {found[2]!r}; {allowed}")
        value = round(float(found[1]) * units.get(unit, 1.0), _DECIMALS)
        if value > MAX_NUMBER:
            raise FilterError(begin, f"the number is too large; {allowed}")
        return value

    def _patterns(self, example: str) -> tuple[Pattern, ...]:
        patterns = [self._pattern(example)]
        while self._peek() == ",":
            self._at += 1
            patterns.append(self._pattern(example))
        return tuple(patterns)

    def _pattern(self, example: str) -> Pattern:
        begin = self._at
        parts = [""]
        while not self._over:
            char = self._peek()
            if char == "," or char.isspace():
                break
            if char == '"':
                parts[-1] += self._quoted()
                continue
            self._at += 1
            if char != "*":
                parts[-1] += char
            elif len(parts) == 1 or parts[-1]:
                parts.append("")
        if parts == [""]:
            raise FilterError(begin, f"a value is missing here: {example}")
        self._count(begin)
        return Pattern(parts=tuple(parts))

    def _count(self, begin: int) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise FilterError(begin, f"a filter has at most {MAX_VALUES} values")

    def _quoted(self) -> str:
        begin = self._at
        inside: list[str] = []
        self._at += 1
        while not self._over:
            char = self._peek()
            self._at += 1
            if char == '"':
                return "".join(inside)
            if char == "\\" and self._peek() in ('"', "\\"):
                char = self._peek()
                self._at += 1
            inside.append(char)
        raise FilterError(begin, 'the quote is not closed: a second " is missing')


def _key(written: str | None) -> str:
    if written is None or not written.startswith('"'):
        return written or ""
    return re.sub(r'\\(["\\])', r"\1", written[1:-1])


def _spaced(pattern: Pattern) -> Pattern:
    """Return a pattern for words of the screen: `no_token` and `no-token` are `no token`."""
    return Pattern(parts=tuple(part.replace("_", " ").replace("-", " ") for part in pattern.parts))


def _check_choices(
    field: Field, patterns: tuple[Pattern, ...], position: int, *, exact: bool
) -> None:
    """Refuse a value that no request can have."""
    for pattern in patterns:
        if not any(fits(pattern, word, exact=exact) for word in field.choices):
            _no_choice(field, pattern, position)


def _no_choice(field: Field, pattern: Pattern, position: int) -> NoReturn:
    allowed = ", ".join(field.choices)
    raise FilterError(
        position, f"{field.name} is never {pattern.text(word=False)}; it is {allowed}"
    )
