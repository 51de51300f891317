"""The second line of the request screen, and why the request is where it is."""

from __future__ import annotations

from typing import Any

from ksi_tui.engine.views import Live, Phase
from ksi_tui.screens.report.record import (
    FINAL,
    UNCONFIRMED_S,
    Report,
    between,
    calls_of,
    closing_s,
    moment,
    phase_of,
    running_call,
    unconfirmed,
    waiting_behind,
)
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line

_WORD_LIMIT = 400
_MOST_TAGS = 4
UNCONFIRMED = "unconfirmed after 5 s: upstream may still bill"
_NARROW, _LINES = 100, 3
WIDE = 120
"""From so many cells on a line has room for everything."""


def summary(report: Report, live: Live | None, at: float | None, width: int) -> Line:
    """Return line 2: the state, whose request it is, and what is left of its deadline."""
    wide = width >= WIDE
    parts = [_session(report), *_people(report, wide=wide)]
    tags = report.get("metadata") or {}
    if tags and wide:
        shown = " ".join(f"{key}={value}" for key, value in list(tags.items())[:_MOST_TAGS])
        parts.append(f"meta {clean(shown, 60)}")
    parts += _model(report, live)
    gap = "   " if wide else " · "
    named = Span(f" {name_of(report.get('request_id'))}  ", Tone.STRONG) if wide else Span(" ")
    ending = line(Span(f"{_deadline(report, at)} ", Tone.DIM))
    left = line(named, state(report, live, at))
    for part in parts:  # what has no room is left out whole; the panes tell it too
        longer = line(*left.spans, f"{gap}{part}")
        if fit.width_of(longer) + fit.width_of(ending) >= width:
            break
        left = longer
    return fit.both_ends(left, ending, width)


def state(report: Report, live: Live | None, at: float | None) -> Span:
    """Return what the request is doing as glyph, words and tone."""
    phase = phase_of(report, live)
    glyph = formats.PHASES[phase]
    if phase is Phase.NO_TOKEN and live is not None and live.why:
        words = clean(live.why, 60)
    elif _may_still_bill(report, phase, at):
        words = f"cancelled, {UNCONFIRMED}"
    else:
        words = phase.value
    return Span(f"{glyph.text} {words}", glyph.tone)


def _may_still_bill(report: Report, phase: Phase, at: float | None) -> bool:
    """Whether it was stopped and its upstream has not been confirmed to be closed in time."""
    if phase is Phase.CANCELLING:
        return (closing_s(report, at) or 0.0) > UNCONFIRMED_S
    return phase is Phase.CANCELLED and any(unconfirmed(call) for call in calls_of(report))


def _session(report: Report) -> str:
    place = report.get("session_position") or {}
    of = f" ({place['at']} of {place['of']})" if place.get("at") and place.get("of") else ""
    return f"session {name_of(report.get('session_id'))}{of}"


def _people(report: Report, *, wide: bool) -> list[str]:
    agent, priority = report.get("agent_id"), clean(str(report.get("priority", "")), 20)
    named = [name_of(agent) if not wide else f"agent {name_of(agent)}"] if agent else []
    return [*named, *([f"priority {priority}"] if wide or priority != "normal" else [])]


def _model(report: Report, live: Live | None) -> list[str]:
    asked, model = report.get("requested_model"), live.model if live else report.get("model")
    if model and asked and model != asked:
        return [f"asked {name_of(asked)}, gets {name_of(model)}"]
    return [f"model {name_of(asked)}"] if asked else []


def _deadline(report: Report, at: float | None) -> str:
    if str(report.get("status")) in FINAL:
        took = between(report.get("queued_at"), report.get("finished_at"))
        return f"took {formats.age(took)}" if took is not None else ""
    ends = moment(report.get("deadline_at"))
    if ends is not None and at is not None:
        return f"deadline in {formats.countdown(ends - at)}"
    left = report.get("deadline_left_s")
    return f"deadline stands, {formats.countdown(left)} left" if left is not None else ""


# --- why ----------------------------------------------------------------------------------


def why(report: Report, live: Live | None, at: float | None, width: int) -> list[Line]:
    """Return the cause in words, and what happens if nobody acts.

    In a narrow pane of three lines the cause has what the rest leaves, so that both are seen.
    """
    first, after = reasons(report, live, at)
    first = clean(first, _WORD_LIMIT)
    lines, rest = fit.wrapped(first, width), fit.wrapped(clean(after, _WORD_LIMIT), width)
    room = max(1, _LINES - len(rest))
    if after and width < _NARROW and len(lines) > room:
        lines = [*lines[: room - 1], fit.end(" ".join(lines[room - 1 :]), width)]
    return [line(text) for text in (*lines, *(rest if after else ()))]


def reasons(report: Report, live: Live | None, at: float | None) -> tuple[str, str]:
    """Return why it is where it is, and what comes next; not cleaned, for `why` and the story."""
    phase = phase_of(report, live)
    if phase in (Phase.CANCELLED, Phase.CANCELLING):
        return _cancelled(report, at), "r lets it go again under the same id."
    if phase is Phase.FAILED:
        error = report.get("error") or {}
        return f"{error.get('kind')}: {error.get('message')}", (
            "r tries it again under the same id, n or e send it another way."
        )
    if phase is Phase.COMPLETED:
        return _completed(report), ""
    text = live.why if live and live.why else str(report.get("why") or "")
    if phase is Phase.NO_TOKEN:
        text = _silent(report, live, text)
    elif phase in (Phase.FIRST_TOKEN, Phase.CONNECTING) and (call := running_call(report)):
        text = f"{name_of(call.get('provider'))} was called and has not said a word yet: {text}"
    behind = waiting_behind(report)
    if behind:
        text = f"{text.rstrip('.')}. {behind} {'waits' if behind == 1 else 'wait'} behind it."
    after = (live.if_nobody_acts if live else report.get("if_nobody_acts")) or ""
    return text, f"If nobody acts: {after}" if after else ""


def _cancelled(report: Report, at: float | None) -> str:
    by = f" by {name_of(report['by'])}" if report.get("by") else ""
    reason = f": {report['reason']}" if report.get("reason") else ""
    phase = phase_of(report, None)
    if _may_still_bill(report, phase, at):
        tail = UNCONFIRMED
    elif phase is Phase.CANCELLING:
        tail = "its upstream is being closed"
    else:
        tail = "the text that had arrived is kept" if report.get("text") else "nothing had arrived"
    return f"cancelled{by}{reason}; {tail}"


def _completed(report: Report) -> str:
    asked, model = report.get("requested_model"), report.get("model")
    swap = f" as {model} in place of {asked}" if model and asked and model != asked else ""
    spent, of = report.get("attempts_spent"), report.get("max_attempts")
    tries = f", attempt {spent} of {of}" if spent and spent > 1 else ""
    ttft = report.get("ttft_ms")
    first = f", first token after {formats.latency(ttft)}" if ttft is not None else ""
    return f"completed by {name_of(report.get('provider'))}{swap}{tries}{first}"


def _silent(report: Report, live: Live | None, text: str) -> str:
    call: dict[str, Any] = dict(running_call(report) or {})
    since = moment(call.get("last_token_at"))
    tokens = live.tokens if live else call.get("tokens_so_far") or 0
    if since is None or not tokens:
        return text
    spoken_s = between(call.get("first_token_at"), call.get("last_token_at")) or 0.0
    usual = f" (usual gap {max(spoken_s / tokens, 0.01):.2f} s)" if tokens > 1 else ""
    return (
        f"{name_of(call.get('provider'))} silent since {formats.clock(since)}{usual}, "
        f"after {tokens:,} tokens"
    )
