"""Rows of the event log: what the engine has told, as clean values, cells and one line.

This is the view-model's edge for events and journal entries: every text of them passes
`clean` here, and texts of answers are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from ksi_tui.engine.gaps import gap
from ksi_tui.widgets import formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Span, Tone
from ksi_tui.widgets.table import Column, Row

TEXT_CHARS: Final = 300
NAME_CHARS: Final = 80
_IDS: Final = ("request_id", "session_id", "provider")
_SELF_TOLD: Final = ("status", "error", "reason", "detail")
"""Values that need no name before them; they come first."""
_LEFT_OUT: Final = frozenset({"partial_text", "text", "content"})
_PLAIN: Final = (int, float, bool)

EVENTS: Final = (
    Column(name="TIME", width=10),
    Column(name="EVENT", width=26, narrow=22),
    Column(name="REQUEST", width=8, elide_middle=True),
    Column(name="SESSION", width=14, drop=2, elide_middle=True),
    Column(name="PROVIDER", width=10, drop=1, elide_middle=True),
    Column(name="WHAT", width=0, narrow=16),
)
_LOOKS: Final[Mapping[str, Span]] = {
    "completion:queued": Span("·", Tone.DIM),
    "completion:progress": Span("►", Tone.BUSY),
    "completion:retrying": Span("~", Tone.WARN),
    "completion:result": Span("√", Tone.OK),
    "completion:error": Span("!", Tone.BAD),
    "completion:cancelled": Span("×", Tone.WARN),
    "conversation:locked": Span("○", Tone.PLAIN),
    "provider:circuit": Span("■", Tone.BAD),
    "queue:paused": Span("=", Tone.WARN),
    "tokens:high_usage": Span("▲", Tone.WARN),
    "injection:blocked": Span("!", Tone.WARN),
    "worker:lost": Span("!", Tone.BAD),
    "engine:lost": Span("▲", Tone.WARN),
}
_CIRCUITS: Final = {"closed": Span("●", Tone.OK), "half_open": Span("▲", Tone.WARN)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One event or journal entry. `key` is unique in its log.

    Ids, `name` and `data` (short values only) are as the engine has them; `text` is clean.
    It is put together only when somebody looks: most entries pass by unseen.
    """

    key: str
    at: float
    name: str
    request_id: str | None
    session_id: str | None
    provider: str | None
    data: Mapping[str, Any]

    @property
    def text(self) -> str:
        """What is told beside the ids, in words."""
        if (teller := _TELLERS.get(self.name)) is not None:
            return clean(teller(self.data), TEXT_CHARS)
        told = [(each, value) for each, value in self.data.items() if each not in _IDS]
        told.sort(key=lambda item: item[0] not in _SELF_TOLD)
        words = (f"{value}" if each in _SELF_TOLD else f"{each} {value}" for each, value in told)
        return clean(", ".join(words), TEXT_CHARS)


def _clock(at: Any) -> str:
    """Return a time of an event, ISO 8601, as a time of day."""
    try:
        return formats.clock(datetime.fromisoformat(str(at)).timestamp())
    except ValueError:
        return formats.NOTHING


def _deed(what: str, data: Mapping[str, Any]) -> str:
    """Return what was done, by whom, until when, and why."""
    by = f" by {data['by']}" if data.get("by") else ""
    ends = f" until {_clock(data['until'])}" if data.get("until") else ""
    why = f": {data['reason']}" if data.get("reason") else ""
    return f"{what}{by}{ends}{why}"


def _of_circuit(data: Mapping[str, Any]) -> str:
    state = str(data.get("to", "")).replace("_", "-")
    if data.get("forced"):
        return _deed(f"forced {state}", data)
    return _deed(f"{state}, was {str(data.get('from', '')).replace('_', '-')}", data)


def _of_scope(data: Mapping[str, Any]) -> str:
    return str(data.get("id") or data.get("scope") or "")


_TELLERS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "provider:circuit": _of_circuit,
    "engine:lost": gap,
    "queue:paused": lambda data: _deed(f"{_of_scope(data)} paused", data),
    "queue:resumed": lambda data: _deed(f"{_of_scope(data)} resumed", data),
}
"""Events that rarely happen and are read the most are told in a sentence."""


def entry_of(key: str, at: float, name: str, data: Mapping[str, Any]) -> Entry:
    """Return an event from outside as an entry."""
    short: dict[str, Any] = {}
    for each, value in data.items():
        if isinstance(value, str):
            if value and each not in _LEFT_OUT:
                short[each] = value if len(value) <= TEXT_CHARS else value[:TEXT_CHARS]
        elif isinstance(value, _PLAIN):
            short[each] = value
        elif each == "requests" and isinstance(value, list):
            short[each] = ", ".join(map(str, value))[:TEXT_CHARS]
    if "result" in data:
        short |= _of_result(data["result"])
    session_id, provider = short.get("session_id"), short.get("provider")
    if "scope" in short:
        session_id = short.get("id") if short["scope"] == "session" else session_id
        provider = short.get("id") if short["scope"] == "provider" else provider
    return Entry(key, at, name, short.get("request_id"), session_id, provider, short)


def _of_result(result: Any) -> dict[str, Any]:
    """Return what a completion's end tells beside its answer."""
    if not isinstance(result, Mapping):
        return {}
    told = result.get("ksi") or {}
    usage = (result.get("response") or {}).get("usage") or {}
    found = {
        "provider": told.get("provider"),
        "model": told.get("model"),
        "took": formats.latency(told.get("duration_ms")),
        "tokens": usage.get("total_tokens"),
    }
    return {each: value for each, value in found.items() if value is not None}


def row_of(entry: Entry) -> Row:
    """Return an entry as a row."""
    look = look_of(entry)
    return Row(
        key=entry.key,
        cells=(
            Span(formats.clock(entry.at, tenths=True), Tone.DIM),
            Span(f"{look.text} {clean(entry.name, NAME_CHARS)}", look.tone),
            Span(name_of(entry.request_id)),
            Span(name_of(entry.session_id)),
            Span(name_of(entry.provider)),
            Span(entry.text or formats.NOTHING),
        ),
    )


def look_of(entry: Entry) -> Span:
    """Return the glyph and tone of an entry."""
    if entry.name == "provider:circuit":
        return _CIRCUITS.get(str(entry.data.get("to")), _LOOKS[entry.name])
    person = Span("•", Tone.KEY) if entry.name.startswith("action:") else Span("·", Tone.PLAIN)
    return _LOOKS.get(entry.name, person)


def hidden(entry: Entry, shown: frozenset[str]) -> str:
    """Return what of an entry has no column now."""
    parts = [f"{formats.clock(entry.at, tenths=True)} {clean(entry.name, NAME_CHARS)}"]
    if "SESSION" not in shown and entry.session_id:
        parts.append(f"session {name_of(entry.session_id)}")
    if "PROVIDER" not in shown and entry.provider:
        parts.append(f"at {name_of(entry.provider)}")
    return " · ".join([*parts, entry.text] if entry.text else parts)


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def as_json(entry: Entry) -> str:
    """Return an entry as one line of JSON in ASCII, for another program."""
    return json.dumps({"at": _stamp(entry.at), "name": entry.name, "data": dict(entry.data)})
