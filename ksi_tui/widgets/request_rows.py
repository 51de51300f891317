"""The columns of lists of requests, and a row of `completion:requests` as clean cells.

This is the view-model's edge for what the engine answers about many requests: every text of
it passes `clean` here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ksi_tui.engine.filter.match import label
from ksi_tui.engine.views import Phase
from ksi_tui.widgets import formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import WHY_LIMIT, name_of
from ksi_tui.widgets.spans import Span, Tone
from ksi_tui.widgets.table import Column, Row

META_LIMIT = 80
_MOST_META = 4

REQUESTS = (
    Column(name="REQUEST", width=8, narrow=7, elide_middle=True),
    Column(name="SESSION", width=14, narrow=11, elide_middle=True),
    Column(name="AGENT", width=6, drop=4, elide_middle=True),
    Column(name="MODEL", width=19, drop=3, elide_middle=True),
    Column(name="PROVIDER", width=10, drop=7),
    Column(name="STATUS", width=13),
    Column(name="AGE", width=6, right=True),
    Column(name="LATENCY", width=7, right=True, drop=6),
    Column(name="TTFT", width=5, right=True, drop=1),
    Column(name="TOK", width=5, right=True, drop=2),
    Column(name="COST", width=8, right=True, drop=5),
    Column(name="WHY/ERROR", width=0, narrow=24),
)
FAILED = (
    Column(name="ERROR", width=18, narrow=17),
    Column(name="REQUEST", width=8, narrow=7, elide_middle=True),
    Column(name="SESSION", width=14, narrow=11, elide_middle=True),
    Column(name="AGENT", width=6, drop=3, elide_middle=True),
    Column(name="MODEL", width=19, drop=2, elide_middle=True),
    Column(name="PROVIDER", width=10, drop=4),
    Column(name="ENDED", width=6, right=True),
    Column(name="TRIES", width=5, right=True, drop=6),
    Column(name="COST", width=8, right=True, drop=1),
    Column(name="MESSAGE", width=0, narrow=24),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """By what the engine orders rows when they are to stand by a column.

    `largest_first`: how the column stands when it is chosen for the first time. `inverted`:
    the engine's value falls where the column's rises. `smallest` and `largest` say in words which
    rows come first.
    """

    sort: str
    largest_first: bool = False
    inverted: bool = False
    smallest: str = "a to z"
    largest: str = "z to a"


WORST = "WORST"
ORDERS: Mapping[str, Order] = {
    WORST: Order(
        sort="worst",
        largest_first=True,
        smallest="best",
        largest="what waits longest, then failed",
    ),
    "SESSION": Order(sort="session"),
    "AGENT": Order(sort="agent"),
    "MODEL": Order(sort="model"),
    "PROVIDER": Order(sort="provider"),
    "STATUS": Order(sort="status"),
    "AGE": Order(sort="queued", inverted=True, smallest="newest", largest="oldest"),
    "ENDED": Order(sort="finished", inverted=True, smallest="newest", largest="oldest"),
    "LATENCY": Order(sort="latency", largest_first=True, smallest="fastest", largest="slowest"),
    "TTFT": Order(sort="ttft", largest_first=True, smallest="fastest", largest="slowest"),
    "TOK": Order(sort="tokens", largest_first=True, smallest="fewest", largest="most"),
    "COST": Order(sort="cost", largest_first=True, smallest="cheapest", largest="dearest"),
    "TRIES": Order(sort="attempts", largest_first=True, smallest="fewest", largest="most"),
}
"""The columns that rows can be ordered by; the others have no order. WORST is none of them."""


def phase_of(found: Mapping[str, Any]) -> Phase:
    """Return what a request of an answer is doing."""
    for word in (found.get("phase"), found.get("status")):
        if word in _PHASES:
            return Phase(word)
    return Phase.QUEUED


_PHASES = frozenset(map(str, Phase))


def unfinished(found: Mapping[str, Any]) -> bool:
    """Return whether a request of an answer has no final state."""
    return found.get("status") not in ("completed", "failed", "cancelled")


def goes_again(found: Mapping[str, Any]) -> bool:
    """Return whether a request of an answer can be tried again, or at once where it backs off."""
    return found.get("status") in ("failed", "cancelled", "retrying")


def request_row(found: Mapping[str, Any]) -> Row:
    """Return the row of a request among all."""
    return Row(
        key=str(found["request_id"]),
        cells=(
            Span(name_of(found["request_id"])),
            Span(name_of(found["session_id"])),
            Span(name_of(found.get("agent_id"))),
            model_cell(found),
            Span(name_of(found.get("provider"))),
            formats.phase(phase_of(found)),
            Span(formats.age(found.get("age_s"))),
            Span(formats.latency(found.get("latency_ms"))),
            Span(formats.latency(found.get("ttft_ms"))),
            Span(formats.count(found["tokens"]) if found.get("tokens") else formats.NOTHING),
            cost_cell(found),
            why_cell(found),
        ),
    )


def failed_row(found: Mapping[str, Any], at: float | None) -> Row:
    """Return the row of a failed request; `at` is the moment it is seen, in epoch seconds."""
    error = found.get("error") or {}
    ended = moment(found.get("finished_at"))
    tries = f"{found.get('attempts', 0)}/{found.get('max_attempts', 0)}"
    return Row(
        key=str(found["request_id"]),
        cells=(
            Span(f"! {name_of(error.get('kind'))}", Tone.BAD),
            Span(name_of(found["request_id"])),
            Span(name_of(found["session_id"])),
            Span(name_of(found.get("agent_id"))),
            model_cell(found),
            Span(name_of(found.get("provider"))),
            Span(formats.age(at - ended if at and ended else None)),
            Span(tries),
            cost_cell(found),
            Span(clean(str(error.get("message") or ""), WHY_LIMIT) or formats.NOTHING),
        ),
    )


def moment(told: str | float | None) -> float | None:
    """Return a moment of an answer in epoch seconds; None where there is none."""
    if isinstance(told, str):
        try:
            return datetime.fromisoformat(told).timestamp()
        except ValueError:
            return None
    return told


def model_cell(found: Mapping[str, Any]) -> Span:
    """Return the model that answers, marked when another one was asked for."""
    asked, model = found.get("asked_model"), found.get("model")
    if model and asked and model != asked:
        return Span(f"→ {name_of(model)}", Tone.WARN)
    return Span(name_of(model or asked))


def cost_cell(found: Mapping[str, Any]) -> Span:
    """Return what all calls of a request cost; what has no price is never 0."""
    cost = found.get("cost")
    if cost is None:
        return Span("unpr." if found.get("unpriced") else formats.NOTHING, Tone.DIM)
    bound = "≥" if found.get("unpriced") else "~" if found.get("estimated") else ""
    return Span(bound + formats.money(cost))


def why_cell(found: Mapping[str, Any]) -> Span:
    """Return why a request waits, what it failed of, or who stopped it."""
    text, tone = why_text(found)
    return Span(text, tone) if text else Span(formats.NOTHING, Tone.DIM)


def why_text(found: Mapping[str, Any]) -> tuple[str, Tone]:
    """Return in words why a request is where it is, and its tone; empty: nothing to say."""
    error, status = found.get("error") or {}, found.get("status")
    if status == "failed":
        message = clean(str(error.get("message") or ""), WHY_LIMIT)
        kind = name_of(error.get("kind"))
        return (f"{kind}: {message}" if message else kind), Tone.BAD
    if status == "cancelled":
        by, reason = found.get("by"), clean(str(found.get("reason") or ""), WHY_LIMIT)
        who = f"by {name_of(by)}" if by else ""
        return ": ".join(part for part in (who, reason) if part), Tone.DIM
    return clean(str(found.get("why") or ""), WHY_LIMIT), Tone.PLAIN


def hidden(found: Mapping[str, Any], shown: frozenset[str]) -> str:
    """Return the line that says what the hidden columns of a row hold, and its metadata."""
    tokens, cost = found.get("tokens"), cost_cell(found).text
    asked, model = found.get("asked_model"), found.get("model")
    swapped = bool(model and asked and model != asked)
    named = f"asked {name_of(asked)}, gets {name_of(model)}" if swapped else name_of(model or asked)
    candidates = (
        ("MODEL", named),
        ("AGENT", f"agent {name_of(found['agent_id'])}" if found.get("agent_id") else ""),
        ("PROVIDER", f"at {name_of(found['provider'])}" if found.get("provider") else ""),
        ("LATENCY", _timed("took", found.get("latency_ms"))),
        ("TTFT", _timed("first after", found.get("ttft_ms"))),
        ("TOK", f"{formats.count(tokens)} tokens" if tokens else ""),
        ("COST", cost if cost != formats.NOTHING else ""),
        ("TRIES", _tries(found)),
    )
    parts = _meta(found.get("metadata") or {})
    parts += [text for name, text in candidates if text and name not in shown]
    return f"{name_of(found['request_id'])}: {' · '.join(parts)}" if parts else ""


def _timed(word: str, milliseconds: float | None) -> str:
    return f"{word} {formats.latency(milliseconds)}" if milliseconds is not None else ""


def _tries(found: Mapping[str, Any]) -> str:
    begun = found.get("attempts") or 0
    return f"attempt {begun} of {found.get('max_attempts')}" if begun > 1 else ""


def _meta(metadata: Mapping[str, Any]) -> list[str]:
    pairs = list(metadata.items())
    shown = [
        f"{clean(str(key), META_LIMIT)}={clean(label(value), META_LIMIT)}"
        for key, value in pairs[:_MOST_META]
    ]
    return [*shown, f"+{len(pairs) - _MOST_META} more"] if len(pairs) > _MOST_META else shown
