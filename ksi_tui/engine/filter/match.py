"""Judges one request by a filter.

`-` gives the complement, with one exception: what is not known matches no comparison, and its
negation neither. A text that is not known (no agent, no `why`) matches no value, and does match
the negation: `-agent:*` are those without an agent.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ksi_tui.engine.filter.terms import Comparison, Filter, Pattern, Term, TextTerm, folded
from ksi_tui.engine.models import Priority, State
from ksi_tui.engine.views import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one request. None: not known. `_s` are seconds, `cost` dollars."""

    request_id: str
    session_id: str
    status: State
    agent_id: str | None = None
    asked_model: str | None = None
    model: str | None = None
    provider: str | None = None
    phase: Phase | None = None
    error_kind: str | None = None
    error_message: str | None = None
    why: str | None = None
    priority: Priority = Priority.NORMAL
    metadata: Mapping[str, Any] = field(default_factory=dict)
    age_s: float | None = None
    tokens: int | None = None
    cost: float | None = None
    attempts: int | None = None
    latency_s: float | None = None
    ttft_s: float | None = None


LABEL_CHARS: Final = 500
"""So much of a value of the metadata can be searched; it stands in an index."""

_NUMBERS: Final[Mapping[str, Callable[[Facts], float | None]]] = {
    "age": lambda facts: facts.age_s,
    "tokens": lambda facts: facts.tokens,
    "cost": lambda facts: facts.cost,
    "attempts": lambda facts: facts.attempts,
    "latency": lambda facts: facts.latency_s,
    "ttft": lambda facts: facts.ttft_s,
}
_TEXTS: Final[Mapping[str, Callable[[Facts], tuple[str | None, ...]]]] = {
    "": lambda facts: (
        facts.request_id,
        facts.session_id,
        facts.agent_id,
        facts.asked_model,
        facts.model,
        facts.provider,
        facts.error_kind,
        facts.error_message,
    ),
    "session": lambda facts: (facts.session_id,),
    "agent": lambda facts: (facts.agent_id,),
    "model": lambda facts: (facts.asked_model, facts.model),
    "provider": lambda facts: (facts.provider,),
    "status": lambda facts: (facts.status, facts.phase),
    "error": lambda facts: (facts.error_kind, facts.error_message),
    "why": lambda facts: (facts.why,),
    "priority": lambda facts: (facts.priority,),
    "id": lambda facts: (facts.request_id,),
}
_OPERATORS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
}


def matches(wanted: Filter, facts: Facts) -> bool:
    """Return whether all terms hold for a request."""
    return all(holds(term, facts) for term in wanted.terms)


def holds(term: Term, facts: Facts) -> bool:
    """Return whether one term holds for a request."""
    if isinstance(term, Comparison):
        found = _NUMBERS[term.field](facts)
        if found is None:
            return False
        return _OPERATORS[term.operator](found, term.value) is not term.negated
    return text_holds(term, _texts(term, facts))


def text_holds(term: TextTerm, texts: tuple[str | None, ...]) -> bool:
    """Return whether a term about texts holds where these are what it asks about."""
    found = any(
        text is not None and fits(pattern, text, exact=term.exact)
        for pattern in term.patterns
        for text in texts
    )
    return found is not term.negated


def checks(term: TextTerm) -> Callable[[str], bool]:
    """Return the question whether a term holds for one text, for many texts in a row."""
    if len(term.patterns) > 1 or len(term.patterns[0].parts) > 1 or term.exact:
        return lambda text: text_holds(term, (text,))
    (needle,), wanted = term.patterns[0].folded, not term.negated
    return lambda text: (needle in folded(text)) is wanted


def _texts(term: TextTerm, facts: Facts) -> tuple[str | None, ...]:
    if term.field != "meta":
        return _TEXTS[term.field](facts)
    if term.key not in facts.metadata:
        return (None,)
    return (label(facts.metadata[term.key]),)


def label(value: object) -> str:
    """Return the text by which a value of the metadata is found: JSON, but a text as itself.

    Of a long one only the beginning counts (`LABEL_CHARS`).
    """
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text[:LABEL_CHARS]


def labels(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the keys of metadata with the texts by which they are found."""
    for key, value in metadata.items():
        yield key, label(value)


def fits(pattern: Pattern, text: str, *, exact: bool = False) -> bool:
    """Return whether a text has a pattern in it; `exact`: whether it is it, where it has no `*`."""
    text = folded(text)
    first, *rest = pattern.folded
    if not rest:
        return text == first if exact else first in text
    last = rest.pop()
    end = len(text) - len(last)
    if end < len(first) or not text.startswith(first) or not text.endswith(last):
        return False
    at = len(first)
    for part in rest:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
