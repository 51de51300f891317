"""The texts of a request: what was sent, what came back, and the raw record.

A text is shown or hidden as a whole; where it is hidden nothing of it may be in a line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ksi_tui.engine.views import Live, Phase
from ksi_tui.screens.report.record import Report
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.clean import clean, clean_block
from ksi_tui.widgets.spans import Line, Span, Tone, line

TEXT_LIMIT = 200_000
NEVER = 'hidden: ui.text is "never"'
FOR_NOW = "hidden, t shows it"
_ROLE = 6
"""The longest of the usual roles of what one sends."""
_SECRET = frozenset(
    {"prompt", "messages", "text", "partial_text", "content", "result", "history", "response"}
)
"""Keys of a record whose values are what people wrote or were answered."""


def prompt(
    report: Report, sent: Mapping[str, Any] | None, width: int, hidden: str | None
) -> list[Line]:
    """Return what was sent: the request's own messages, then the turns that went along."""
    if hidden:
        return [line(Span(hidden, Tone.DIM))]
    own: Sequence[Mapping[str, Any]] = (
        (sent or {}).get("messages")
        or report.get("messages")
        or ({"role": "user", "content": report.get("prompt") or ""},)
    )
    lines = _messages(own, width, Tone.PLAIN)
    turns = (sent or {}).get("history") or ()
    if turns:
        went = "went" if (sent or {}).get("begun") else "would go"
        word = "turn" if len(turns) == 2 else "turns"
        head = f"-- {len(turns) // 2} earlier {word} {went} along, before these --"
        lines += [Line(), line(Span(head, Tone.DIM)), *_messages(turns, width, Tone.DIM)]
    return lines


def _messages(messages: Iterable[Mapping[str, Any]], width: int, tone: Tone) -> list[Line]:
    lines: list[Line] = []
    told = [(clean(str(each.get("role", "")), 10), words(each)) for each in messages]
    room = max([_ROLE, *(len(role) for role, _ in told)])
    for role, text in told:
        wrapped = fit.wrapped(clean_block(text, TEXT_LIMIT), max(10, width - room - 3))
        for index, part in enumerate(wrapped):
            head = Span(f"{'' if index else role:<{room}} {' ' if index else '>'} ", Tone.DIM)
            lines.append(line(head, Span(part, tone)))
    return lines


def words(message: Mapping[str, Any]) -> str:
    """Return a message's content as text; tool calls and parts that are no text as JSON."""
    content = message.get("content")
    text = content if isinstance(content, str) else ""
    if content is not None and not isinstance(content, str):
        text = json.dumps(content, ensure_ascii=False)
    calls = message.get("tool_calls")
    return f"{text}\n{json.dumps(calls, ensure_ascii=False)}".strip() if calls else text


def prompt_note(sent: Mapping[str, Any] | None) -> str:
    """Return how long the prompt is."""
    if sent is None:
        return ""
    turns, tokens = int(sent.get("turns") or 0), int(sent.get("estimated_tokens") or 0)
    along = f" with {turns} earlier {'turn' if turns == 1 else 'turns'}" if turns else ""
    return f"~{tokens:,} tok{along}"


def answer_text(report: Report, live: Live | None) -> str:
    """Return the answer so far, raw; the live text while it streams."""
    if live is not None and live.text:
        return live.text
    return str(report.get("text") or "")


def answer_lines(text: str, width: int) -> list[Line]:
    """Return the answer's own lines."""
    return [line(part) for part in fit.wrapped(clean_block(text, TEXT_LIMIT), width)]


def answer_state(report: Report, live: Live | None, text: str) -> list[Line]:
    """Return what stands under the answer: that it is silent, empty or broken off."""
    status = str(report.get("status", ""))
    if live is not None and live.phase is Phase.NO_TOKEN:
        said = Span(f"-- {clean(live.why, 80)} --", Tone.BAD)
    elif status == "failed" and text:
        said = Span("-- broken off: it failed --", Tone.BAD)
    elif status == "cancelled" and text:
        said = Span("-- stopped here --", Tone.WARN)
    elif not text:
        return [line(Span(_empty(status), Tone.DIM))]
    else:
        return []
    return [Line(), line(said)]


def _empty(status: str) -> str:
    if status == "completed":
        return "no text: see the raw record, v"
    return "no text arrived" if status in ("failed", "cancelled") else "nothing yet"


def answer_title(report: Report, live: Live | None, text: str, *, done: bool) -> str:
    """Return the head of the answer's pane."""
    tokens = f"{live.tokens:,} tokens, " if live and live.tokens else ""
    if not tokens and (usage := report.get("usage")) and usage.get("output"):
        tokens = (
            f"{formats.exact(usage['output'], estimated=bool(usage.get('estimated')))} tokens, "
        )
    return f"{'Answer' if done else 'Answer so far'}  {tokens}{len(text):,} characters"


# --- raw ----------------------------------------------------------------------------------


def raw(report: Report, sent: Mapping[str, Any] | None, hidden: str | None) -> str:
    """Return the whole record as indented JSON, its texts replaced where they are hidden."""
    whole = {**report, "sent": sent} if sent is not None else dict(report)
    shown = _without_texts(whole, hidden) if hidden else whole
    return json.dumps(shown, ensure_ascii=False, indent=2, default=str)


def raw_lines(text: str, width: int) -> list[Line]:
    """Return JSON as lines, long ones wrapped."""
    return [line(part) for part in fit.wrapped(clean_block(text, TEXT_LIMIT), width)]


def _without_texts(value: Any, hidden: str) -> Any:
    if isinstance(value, Mapping):
        return {
            key: hidden if key in _SECRET and _holds(item) else _without_texts(item, hidden)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_without_texts(item, hidden) for item in value]
    return value


def _holds(value: Any) -> bool:
    """Whether a value under a text's key is one; `history` is also a setting's name."""
    return bool(value) and value not in ("session", "none")
