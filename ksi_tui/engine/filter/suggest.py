"""Completes the filter that is being typed: names of fields, and their values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ksi_tui.engine.filter.fields import FIELDS, FieldKind
from ksi_tui.engine.filter.terms import KEY, SPECIAL, folded, quoted

_MOST: Final = 20
_VALUE: Final = re.compile(r'(-?)([A-Za-z_]+(?:\.(?:"[^"]*"|[^\s":=<>,*]+))?)([:=])(.*)', re.DOTALL)
_META: Final = "meta."


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is being typed: the term from `start` to `end` (indexes of the text).

    `field` says whose values would complete it, in the words of `completion:names` ("meta" for
    the keys of the metadata, "" for the names of the fields); `prefix` is what is there of it,
    `before` what of the term stands before that.
    """

    start: int
    end: int
    field: str
    prefix: str
    before: str


def wanted(text: str, cursor: int) -> Wanted:
    """Return what is being typed where the cursor stands (an index of the text)."""
    cursor = max(0, min(cursor, len(text)))
    start = _term_start(text, cursor)
    end = cursor
    while end < len(text) and not text[end].isspace():
        end += 1
    typed = text[start:cursor]
    found = _VALUE.fullmatch(typed)
    if found is None:
        sign = "-" if typed.startswith("-") else ""
        name = typed.removeprefix("-")
        if folded(name).startswith(_META):
            before = sign + name[: len(_META)]
            return Wanted(
                start=start, end=end, field="meta", prefix=name[len(_META) :], before=before
            )
        return Wanted(start=start, end=end, field="", prefix=name, before=sign)
    sign, name, operator, values = found.groups()
    value = values[_last_value(values) :]
    before = f"{sign}{name}{operator}{values[: len(values) - len(value)]}"
    field = name if folded(name).startswith(_META) else name.lower()
    return Wanted(start=start, end=end, field=field, prefix=value.replace('"', ""), before=before)


def suggest(text: str, cursor: int, names: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what the term under the cursor could become, whole terms, the likeliest first.

    `names` are the known values by field, as `completion:names` tells them: `{"session": […],
    "meta": [keys], "meta.customer": […]}`. Those that begin with what is typed come before those
    that have it somewhere. `wanted` says where the term stands.
    """
    asked = wanted(text, cursor)
    offered = [*_best(_offers(asked, names), asked.prefix)]
    terms = [asked.before + each for each in offered]
    return [term for term in terms if term != text[asked.start : cursor]][:_MOST]


def _offers(asked: Wanted, names: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Yield names with what stands for them in a filter."""
    if asked.field == "":
        for field in FIELDS.values():
            tail = "." if field.kind is FieldKind.META else ">" if field.kind.compared else ":"
            yield field.name, field.name + tail
    elif asked.field == "meta":
        for key in names.get("meta", ()):
            yield key, (key if KEY.fullmatch(key) else quoted(key)) + ":"
    else:
        field_known = FIELDS.get(asked.field)
        choices = field_known.choices if field_known is not None else ()
        for value in dict.fromkeys([*names.get(asked.field, ()), *choices]):
            yield value, quoted(value) if SPECIAL.search(value) else value


def _best(offers: Iterator[tuple[str, str]], prefix: str) -> Iterator[str]:
    prefix, inside = folded(prefix), []
    for name, written in offers:
        at = folded(name).find(prefix)
        if at == 0:
            yield written
        elif at > 0:
            inside.append(written)
    yield from inside


def _term_start(text: str, cursor: int) -> int:
    start, within = 0, False
    for index, char in enumerate(text[:cursor]):
        if char == '"' and not (within and text[index - 1] == "\\"):
            within = not within
        elif char.isspace() and not within:
            start = index + 1
    return start


def _last_value(values: str) -> int:
    start, within = 0, False
    for index, char in enumerate(values):
        if char == '"':
            within = not within
        elif char == "," and not within:
            start = index + 1
    return start
