"""What of the event log is wanted: patterns of event names, and the one filter grammar.

`completion:*` and `*:error` are patterns, several of them are any of them; everything else is
a filter as on other screens, over what an event tells. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from ksi_tui.engine.errors import FilterError
from ksi_tui.engine.filter import FIELDS, Filter, TextTerm, parse
from ksi_tui.engine.filter.match import text_holds
from ksi_tui.widgets.event_rows import Entry
from ksi_tui.widgets.filter_bar import Book

_PATTERN: Final = re.compile(r"(?<!\S)(-?)(\*|([A-Za-z_*]+):([A-Za-z_*]+))(?!\S)")
_ABOUT_PROVIDERS: Final = ("circuit", "*")
"""What stands behind `provider:` in event names; any other word there is a provider's name."""


def _told(*names: str) -> Callable[[Entry], tuple[str | None, ...]]:
    def texts(entry: Entry) -> tuple[str | None, ...]:
        found = (entry.data.get(name) for name in names)
        return tuple(None if each is None else str(each) for each in found)

    return texts


_TEXTS: Final[Mapping[str, Callable[[Entry], tuple[str | None, ...]]]] = {
    "": lambda entry: (
        entry.name,
        entry.request_id,
        entry.session_id,
        entry.provider,
        entry.text,
    ),
    "session": lambda entry: (entry.session_id,),
    "provider": lambda entry: (entry.provider,),
    "id": lambda entry: (entry.request_id,),
    "agent": _told("agent_id"),
    "model": _told("model"),
    "error": _told("kind", "error"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which entries are shown."""

    wanted: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()
    rest: Filter = field(default_factory=lambda: Filter(()))

    @property
    def pattern(self) -> str:
        """One pattern that all wanted names fit, as the engine reads patterns."""
        if len(self.wanted) == 1 and all(
            part == "*" or "*" not in part for part in self.wanted[0].split(":")
        ):
            return self.wanted[0]
        return "*"

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return not (self.wanted or self.unwanted or self.rest.terms)

    def fits(self, entry: Entry) -> bool:
        """Return whether an entry is wanted."""
        if self.wanted and not any(fnmatchcase(entry.name, each) for each in self.wanted):
            return False
        if any(fnmatchcase(entry.name, each) for each in self.unwanted):
            return False
        return all(
            text_holds(term, _TEXTS[term.field](entry))
            for term in self.rest.terms
            if isinstance(term, TextTerm)
        )


def read(text: str) -> EventFilter:
    """Return what was typed as a filter of events; raises FilterError."""
    found = [match for match in _PATTERN.finditer(text) if _is_pattern(match)]
    rest = parse(_without_patterns(text))
    for term in rest.terms:
        if not isinstance(term, TextTerm) or term.field not in _TEXTS:
            there = " ".join(f"{name}:" for name in _TEXTS if name)
            message = f"an event has no {term.field}; there are words, completion:*, {there}"
            raise FilterError(max(0, text.find(term.field)), message)
    return EventFilter(
        wanted=tuple(match[2] for match in found if not match[1] and match[2] != "*"),
        unwanted=tuple(match[2] for match in found if match[1]),
        rest=rest,
    )


def _is_pattern(match: re.Match[str]) -> bool:
    head, tail = match[3], match[4]
    if head == "provider":
        return tail in _ABOUT_PROVIDERS
    return head not in FIELDS


def _without_patterns(text: str) -> str:
    """Return a text with blanks where patterns stand, so that positions stay."""
    return _PATTERN.sub(lambda match: " " * len(match[0]) if _is_pattern(match) else match[0], text)


class EventBook:
    """Saved filters and the history, for a bar in which patterns may be typed too."""

    def __init__(self, book: Book) -> None:
        self._book = book

    @property
    def saved(self) -> Mapping[str, str]:
        """All filters with a name."""
        return self._book.saved

    @property
    def history(self) -> Sequence[str]:
        """The filters that were kept, the last one last."""
        return self._book.history

    def used(self, text: str) -> str | None:
        """Note a filter that was kept, where other screens can read it too."""
        return None if _without_patterns(text) != text else self._book.used(text)

    def save(self, name: str, text: str) -> str | None:
        """Keep a filter under a name; returns what went wrong."""
        return self._book.save(name, text)

    def written_out(self, text: str) -> str:
        """Return what was typed without `@name`; raises FilterError."""
        patterns = [match[0] for match in _PATTERN.finditer(text) if _is_pattern(match)]
        rest = self._book.written_out(_without_patterns(text))
        whole = " ".join([*patterns, rest.strip()]).strip()
        read(whole)
        return whole
