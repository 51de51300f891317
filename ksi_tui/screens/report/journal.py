"""Entries of `system:journal` in words: what rarely happens, and what people did.

Pure, and cleaned here as everywhere in this family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ksi_tui.screens.host import refusal
from ksi_tui.screens.report.record import Report, moment
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line

_WORD_LIMIT = 400
_ACTION = "action:"
_HEAD = 28
_CIRCUIT_TONES = {"open": Tone.BAD, "half_open": Tone.WARN, "closed": Tone.OK}
_CIRCUIT_GLYPHS = {"open": "■", "half_open": "▲", "closed": "●"}
Told = tuple[str, str, str, Tone]
"""Glyph, what, the rest in words, tone."""


def happenings(reply: Mapping[str, Any] | None, width: int) -> list[Line]:
    """Return a journal's page as lines, the newest first, or why there is none."""
    if reply is None:
        return [line(Span("reading…", Tone.DIM))]
    refused = refusal(reply)
    if refused is not None:
        return [line(Span(f"not known: {refused}", Tone.DIM))]
    entries: Sequence[Report] = reply.get("entries") or ()
    if not entries:
        return [line(Span("nothing has happened here that is kept", Tone.DIM))]
    lines = [each for entry in entries for each in _entry(entry, width)]
    if reply.get("more"):
        lines.append(line(Span("older ones are in the log: l", Tone.DIM)))
    return lines


def _entry(entry: Report, width: int) -> list[Line]:
    glyph, what, text, tone = told(entry)
    when = moment(entry.get("at"))
    clock = formats.clock(when) if when is not None else "        "
    head = [Span(f"{clock}  ", Tone.DIM), Span(f"{glyph} {fit.pad(clean(what, 15), 15)} ", tone)]
    room = max(20, width - _HEAD)
    parts = fit.wrap(clean(text, _WORD_LIMIT), room)
    rest = [line(" " * _HEAD, part) for part in parts[1:]]
    return [line(*head, parts[0]), *rest]


def told(entry: Report) -> Told:
    """Return what one entry tells; the texts are not cleaned."""
    name, data = str(entry.get("name", "")), entry.get("data") or {}
    if name.startswith(_ACTION):
        said = f"{_on(data)}{_by(data)}{_named(data)}"
        return "!", name.removeprefix(_ACTION), said, Tone.WARN
    told_by = _TELLERS.get(name)
    if told_by is not None:
        return told_by(data)
    rest = ", ".join(f"{key} {value}" for key, value in data.items() if value is not None)
    return "·", name.rpartition(":")[2], rest, Tone.PLAIN


def _by(data: Mapping[str, Any]) -> str:
    by = f"by {name_of(str(data['by']))}" if data.get("by") else ""
    reason = f': "{data["reason"]}"' if data.get("reason") else ""
    detail = f" ({data['detail']})" if data.get("detail") else ""
    return f"{by}{reason}{detail}"


def _named(data: Mapping[str, Any]) -> str:
    """Name the requests of a deed on several, as far as the journal does."""
    named = data.get("requests")
    if not isinstance(named, list) or data.get("count") == 1:
        return ""
    more = int(data.get("count") or 0) - len(named)
    return f": {', '.join(map(name_of, named))}{f' and {more:,} more' if more > 0 else ''}"


def _on(data: Mapping[str, Any]) -> str:
    target = data.get("target")
    return f"{target} " if target else ""


def _circuit(data: Mapping[str, Any]) -> Told:
    to = str(data.get("to", ""))
    tone = _CIRCUIT_TONES.get(to, Tone.PLAIN)
    was = f"was {str(data.get('from', '')).replace('_', '-')}"
    reason = f": {data['reason']}" if data.get("reason") else ""
    return _CIRCUIT_GLYPHS.get(to, "·"), to.replace("_", "-"), f"{was}{reason}", tone


def _paused(data: Mapping[str, Any]) -> Told:
    return "=", "paused", f"{_scope(data)}{_by(data)}", Tone.WARN


def _resumed(data: Mapping[str, Any]) -> Told:
    return "·", "resumed", f"{_scope(data)}{_by(data)}", Tone.OK


def _scope(data: Mapping[str, Any]) -> str:
    name = data.get("id")
    return f"{data.get('scope', '')}{f' {name}' if name else ''} "


def _unlocked(data: Mapping[str, Any]) -> Told:
    return "!", "unlocked", f"lock of {data.get('agent_id')} {data.get('reason', '')}", Tone.WARN


def _failed(data: Mapping[str, Any]) -> Told:
    kind = data.get("kind") or "error"
    message = data.get("error") or data.get("message") or ""
    return "!", "failed", f"{data.get('request_id')}: {kind}: {message}", Tone.BAD


def _cancelled(data: Mapping[str, Any]) -> Told:
    return "×", "cancelled", f"{data.get('request_id')} {_by(data)}", Tone.WARN


def _lost(data: Mapping[str, Any]) -> Told:
    said = f"worker {data.get('worker')}: {data.get('reason', '')}"
    return "!", "worker lost", said, Tone.BAD


def _high(data: Mapping[str, Any]) -> Told:
    tokens = data.get("total_tokens")
    shown = f"{tokens:,}" if isinstance(tokens, int) else str(tokens)
    return "!", "many tokens", f"{data.get('request_id')}: {shown}", Tone.WARN


_TELLERS: Mapping[str, Callable[[Mapping[str, Any]], Told]] = {
    "provider:circuit": _circuit,
    "queue:paused": _paused,
    "queue:resumed": _resumed,
    "conversation:unlocked": _unlocked,
    "completion:error": _failed,
    "completion:cancelled": _cancelled,
    "worker:lost": _lost,
    "tokens:high_usage": _high,
}
