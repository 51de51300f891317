"""A request's timeline in plain language, for a ticket: what happened, to whom, what comes next.

Pure. It names no glyph, no key and no text of prompt or answer, so that it may leave the
house; every name and error is cleaned.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ksi_tui.engine.views import Live, Phase
from ksi_tui.screens.report.record import FINAL, Report, between, moment, phase_of
from ksi_tui.screens.report.summary import reasons
from ksi_tui.screens.report.timeline import failure, skipped
from ksi_tui.widgets import formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import name_of

_WORD_LIMIT = 400
_ACTED = {
    "cancel": "stopped it",
    "retry": "let it go again",
    "send elsewhere": "sent it to another provider",
}
_TOLD_BY_CALLS = frozenset(
    {"queued", "attempt", "first token", "call failed", "call stopped", "backoff", *FINAL}
)
Told = tuple[float, int, str]


def story(report: Report, live: Live | None, at: float | None) -> str:
    """Return the timeline as sentences, a line each, oldest first; times are UTC."""
    if not report:
        return ""
    told: list[Told] = []

    def tell(when: Any, text: str) -> None:
        told.append((moment(when) or 0.0, len(told), text))

    model = name_of(report.get("requested_model"))
    tell(report.get("queued_at"), f"It was accepted, asking for {model}.")
    for attempt in report.get("attempts") or ():
        _tell_attempt(report, attempt, tell)
    for entry in report.get("timeline") or ():
        if str(entry.get("what", "")) not in _TOLD_BY_CALLS:
            tell(entry.get("at"), _deed(entry))
    if str(report.get("status")) in FINAL:
        tell(report.get("finished_at"), _ended(report))
    lines = [f"{_clock(when)}  {text}" for when, _, text in sorted(told)]
    return "\n".join([_head(report), *lines, *_now(report, live, at)])


def _head(report: Report) -> str:
    queued = moment(report.get("queued_at"))
    day = datetime.fromtimestamp(queued, UTC).strftime("%Y-%m-%d, ") if queued else ""
    agent = f" (agent {name_of(report['agent_id'])})" if report.get("agent_id") else ""
    session = name_of(report.get("session_id"))
    return (
        f"Request {name_of(report.get('request_id'))} of session {session}{agent}, "
        f"{day}times in UTC"
    )


def _clock(when: float) -> str:
    return formats.clock(when) if when else "--:--:--"


def _tell_attempt(report: Report, attempt: Report, tell: Any) -> None:
    calls: Sequence[Report] = attempt.get("calls") or ()
    passed = [
        f"{name_of(v.get('provider'))} ({clean(skipped(v, attempt), _WORD_LIMIT)})"
        for v in attempt.get("verdicts") or ()
        if v.get("kind") not in ("taken", "not_reached")
    ]
    number, of = attempt.get("attempt"), report.get("max_attempts")
    over = f" Not called: {', '.join(passed)}." if passed else ""
    first = name_of(calls[0].get("provider")) if calls else "nobody"
    tell(attempt.get("started_at"), f"Attempt {number} of {of} began with {first}.{over}")
    for call in calls:
        _tell_call(call, tell)
    pause = between(attempt.get("finished_at"), attempt.get("retry_at"))
    if pause is not None:
        tell(attempt["finished_at"], f"It waited {formats.age(pause)} before the next attempt.")


def _tell_call(call: Report, tell: Any) -> None:
    name, model, asked = name_of(call.get("provider")), call.get("model"), call.get("asked_model")
    if call.get("first_token_at"):
        swap = f", as {name_of(model)} in place of {name_of(asked)}" if model != asked else ""
        tell(call["first_token_at"], f"{name} began to answer{swap}.")
    outcome = str(call.get("outcome", ""))
    if call.get("error"):
        tell(call.get("finished_at"), f"{name} failed: {clean(failure(call), _WORD_LIMIT)}.")
    elif outcome in ("cancelled", "sent_elsewhere", "interrupted"):
        closed = call.get("upstream_closed_ms")
        sure = f"; its connection was closed after {closed:.0f} ms" if closed is not None else ""
        how = {"sent_elsewhere": "was stopped to go on elsewhere"}.get(outcome, f"was {outcome}")
        tell(call.get("finished_at"), f"The call of {name} {how}{sure}.")


def _deed(entry: Report) -> str:
    what = str(entry.get("what", ""))
    if "by" not in entry:
        return f"{clean(what, 60).capitalize()}: {clean(str(entry.get('text', '')), _WORD_LIMIT)}."
    who = name_of(entry["by"]) if entry.get("by") else "Somebody"
    reason = f" ({clean(str(entry['reason']), _WORD_LIMIT)})" if entry.get("reason") else ""
    return f"{who} {_ACTED.get(what, f'did: {clean(what, 60)}')}{reason}."


def _ended(report: Report) -> str:
    status = str(report["status"])
    if status == "completed":
        took = between(report.get("queued_at"), report.get("finished_at"))
        return f"It was completed, {formats.age(took)} after it was accepted."
    if status == "cancelled":
        kept = _kept(report)
        return f"It was stopped{kept}. The session accepts new messages."
    error = report.get("error") or {}
    said = clean(f"{error.get('kind')}: {error.get('message') or ''}", _WORD_LIMIT)
    return f"It failed: {said}. Nothing is lost; it can be tried again."


def _kept(report: Report) -> str:
    text = str(report.get("text") or "")
    return f"; {len(text):,} characters of the answer were kept" if text else ""


def _now(report: Report, live: Live | None, at: float | None) -> list[str]:
    phase = phase_of(report, live)
    if str(report.get("status")) in FINAL and phase is not Phase.CANCELLING:
        return []
    cause, after = reasons(report, live, at)
    now = f"Now ({_clock(at or 0.0)}): {clean(cause, _WORD_LIMIT).rstrip('.')}."
    return [now, f"{clean(after, _WORD_LIMIT).rstrip('.')}."] if after else [now]
