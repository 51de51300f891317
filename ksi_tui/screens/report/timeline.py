"""What happened to a request, line by line: attempts, every candidate's verdict, calls, deeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ksi_tui.engine.views import Live, Phase
from ksi_tui.screens.report.record import (
    FINAL,
    UNCONFIRMED_S,
    Report,
    between,
    closing_s,
    moment,
    phase_of,
    silence,
    unconfirmed,
)
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line

_WORD_LIMIT = 400
_BY_ITSELF = frozenset(
    {
        "queued",
        "attempt",
        "first token",
        "call failed",
        "call stopped",
        "backoff",
        *FINAL,
    }
)
"""Entries of the engine's own timeline that attempts, calls and the end tell better."""
_SHORTER = {"send elsewhere": "elsewhere", "report failure": "reported"}
"""Deeds whose names are longer than their column."""
_INDENT = 27
_NAME = 13
_BAR, _SHORT_BAR = 30, 15
Block = tuple[float, int, list[Line]]


def timeline(report: Report, live: Live | None, at: float | None, width: int) -> list[Line]:
    """Return what happened, oldest first, in lines of at most `width` cells where they wrap."""
    if not report:
        return []
    blocks: list[Block] = []

    def add(when: Any, lines: list[Line]) -> None:
        blocks.append((moment(when) or 0.0, len(blocks), lines))

    add(report.get("queued_at"), _at(report.get("queued_at"), "·", "queued", _asked(report)))
    for attempt in report.get("attempts") or ():
        add(attempt.get("started_at"), _attempt(report, attempt, width))
        if attempt.get("retry_at"):
            add(attempt.get("finished_at"), _backoff(attempt, at))
    for entry in report.get("timeline") or ():
        if str(entry.get("what", "")) not in _BY_ITSELF:
            add(entry.get("at"), _deed(entry, width))
    story = [each for _, _, lines in sorted(blocks, key=lambda b: b[:2]) for each in lines]
    return [*story, *_now(report, live, at, width)]


def _asked(report: Report) -> str:
    by = f"by {name_of(report['agent_id'])}, " if report.get("agent_id") else ""
    born = ", from an injection" if report.get("injected") else ""
    return f"{by}priority {report.get('priority', '')}{born}"


def _deed(entry: Report, width: int) -> list[Line]:
    what = str(entry.get("what", ""))
    what = _SHORTER.get(what, what)
    if "by" not in entry:
        return _at(entry.get("at"), "·", what, str(entry.get("text", "")), width=width)
    by = f"by {name_of(entry['by'])}" if entry.get("by") else "by nobody named"
    reason = f": {entry['reason']}" if entry.get("reason") else ""
    detail = f" ({entry['detail']})" if entry.get("detail") else ""
    return _at(entry.get("at"), "!", what, f"{by}{reason}{detail}", Tone.WARN, width=width)


# --- one attempt --------------------------------------------------------------------------


def _attempt(report: Report, attempt: Report, width: int) -> list[Line]:
    """Return an attempt's candidates in the order they were looked at, calls in place."""
    free = "" if attempt.get("spent", True) else ", not counted"
    of = f"of {report.get('max_attempts')}{free}"
    lines = _at(attempt.get("started_at"), "►", f"attempt {attempt.get('attempt')}", of)
    calls = list(attempt.get("calls") or ())
    for verdict in attempt.get("verdicts") or ():
        name, kind = verdict.get("provider"), verdict.get("kind")
        own = next((c for c in calls if c.get("provider") == name), None)
        if kind == "taken" and own is not None:
            calls.remove(own)
            lines += _call(own, width, str(verdict.get("detail") or ""))
        elif kind == "taken":
            lines += _candidate(name, "taken", width=width)
        elif kind == "not_reached":
            lines += _candidate(name, "not reached", Tone.DIM, width=width)
        else:
            lines += _candidate(name, f"skipped: {skipped(verdict, attempt)}", Tone.DIM, width)
    for call in calls:
        lines += _call(call, width)
    if attempt is (report.get("attempts") or (None,))[-1]:
        lines += _others(report, attempt, width)
    return [*lines, *_tokens_seen(attempt.get("calls") or ())]


def _others(report: Report, attempt: Report, width: int) -> list[Line]:
    """Return who was no candidate at all, for the last attempt."""
    found = report.get("not_serving") or {}
    looked_at = {verdict.get("provider") for verdict in attempt.get("verdicts") or ()}
    said = f"skipped: does not serve {found.get('model')}"
    names = [name for name in found.get("providers") or () if name not in looked_at]
    return [line for name in names for line in _candidate(name, said, Tone.DIM, width)]


def skipped(verdict: Report, attempt: Report) -> str:
    """Return why a candidate was not called, with what was left of it then; not cleaned."""
    kind = str(verdict.get("kind", "")).replace("_", " ")
    text = str(verdict.get("detail") or kind).removeprefix(f"{verdict.get('provider')} ")
    left = between(attempt.get("started_at"), verdict.get("until"))
    if left is None or left <= 0 or "left" in text or "probe" in text:
        return text
    shown = formats.countdown(left)
    return f"{text}, probe in {shown}" if kind == "open" else f"{text}, {shown} left"


def _call(call: Report, width: int, effect: str = "") -> list[Line]:
    """Return how a call went; `effect`: what its failure did to its provider."""
    took = f"{formats.latency(call.get('duration_ms')):<7}"
    error, outcome = call.get("error"), str(call.get("outcome", ""))
    swap = substitution(call)
    if error:
        said, tone = f"{took}! {failure(call)}{f' ({effect})' if effect else ''}", Tone.BAD
    elif outcome == "answered":
        said, tone = f"{took}√ answered{swap}", Tone.OK
    elif outcome == "running":
        said, tone = f"taken{swap}", Tone.BUSY
    else:
        said, tone = f"{took}× {outcome.replace('_', ' ')}{_closed(call)}", Tone.WARN
    return _candidate(call.get("provider"), said, tone, width)


def substitution(call: Report) -> str:
    """Return `, as B (asked A)` where another model answers than the one asked for."""
    model, asked = call.get("model"), call.get("asked_model")
    return f", as {model} (asked {asked})" if model and asked and model != asked else ""


def failure(call: Report) -> str:
    """Return a call's error as `kind: message`, without the provider's name before it."""
    error = call.get("error") or {}
    message = str(error.get("message") or "").removeprefix(f"{call.get('provider')}: ")
    status = f" {error['status']}" if error.get("status") else ""
    return f"{error.get('kind')}{status}: {message}"


def _closed(call: Report) -> str:
    if call.get("closing"):
        return ", upstream not closed yet"
    if call.get("upstream_closed_ms") is not None:
        return f", upstream closed after {call['upstream_closed_ms']:.0f} ms"
    return ", unconfirmed: upstream may still bill" if unconfirmed(call) else ""


def _tokens_seen(calls: Sequence[Report]) -> list[Line]:
    """Return when the last of an attempt's calls that said anything began to, and stopped."""
    lines: list[Line] = []
    for call in [call for call in calls if call.get("first_token_at")][-1:]:
        ttft = formats.latency(call.get("ttft_ms"))
        lines += _at(call["first_token_at"], "►", "first token", f"after {ttft}")
        if call.get("last_token_at"):
            usage = call.get("usage") or {}
            spoken = usage.get("output") or call.get("tokens_so_far")
            text = f"{formats.exact(spoken)} tokens" if spoken else ""
            took = between(call["first_token_at"], call["last_token_at"])
            pace = f", {formats.rate(spoken / took)} tok/s" if spoken and took else ""
            lines += _at(call["last_token_at"], "►", "last token", text + pace)
    return lines


def _backoff(attempt: Report, at: float | None) -> list[Line]:
    pause, ends = between(attempt["finished_at"], attempt["retry_at"]), moment(attempt["retry_at"])
    left = f", {formats.countdown(ends - at)} left" if ends and at and ends > at else ""
    return _at(attempt["finished_at"], "~", "backoff", f"{formats.age(pause)}{left}", Tone.WARN)


# --- now ----------------------------------------------------------------------------------


def _now(report: Report, live: Live | None, at: float | None, width: int) -> list[Line]:
    """Return what goes on at this moment, or how it ended."""
    phase, status = phase_of(report, live), str(report.get("status", ""))
    moment_now = None if at is None else formats.clock(at, tenths=True)
    silent = silence(report, at)
    if phase in (Phase.NO_TOKEN, Phase.FIRST_TOKEN) and silent is not None:
        silent_s, limit_s, clock = silent
        what = "no token" if phase is Phase.NO_TOKEN else "no word yet"
        bar = limit_bar(silent_s / limit_s, _BAR if width >= 90 else _SHORT_BAR)
        text = f"{formats.age(silent_s):<6} {bar} {clean(clock, 12)} limit {limit_s:.0f} s"
        tone = Tone.BAD if phase is Phase.NO_TOKEN else Tone.BUSY
        return _line(moment_now, "►", what, text, tone, width)
    if phase is Phase.CANCELLING:
        open_s = closing_s(report, at) or 0.0
        late = open_s > UNCONFIRMED_S
        text = "unconfirmed: upstream may still bill" if late else "closing the upstream"
        said = f"{text}, {formats.age(open_s)}"
        return [
            *_ending(report, status, width),
            *_line(moment_now, "×", "cancelling", said, Tone.WARN, width),
        ]
    return _ending(report, status, width) if status in FINAL and not phase.running else []


def _ending(report: Report, status: str, width: int) -> list[Line]:
    glyph = formats.PHASES[FINAL[status]]
    if status == "cancelled":
        by = f"by {name_of(report['by'])}" if report.get("by") else ""
        said = f"{by}: {report['reason']}" if report.get("reason") else by
    elif status == "failed":
        error = report.get("error") or {}
        said = f"{error.get('kind')}: {error.get('message') or ''}"
    else:
        took = between(report.get("queued_at"), report.get("finished_at"))
        said = f"after {formats.age(took)}" if took is not None else ""
    return _at(report.get("finished_at"), glyph.text, status, said, glyph.tone, width=width)


def limit_bar(share: float, width: int) -> str:
    """Return `[=====>    ]`: how much of a limit is used up."""
    room = width
    done = max(0, min(room - 1, round(share * room) - 1))
    return f"[{'=' * done}>{' ' * (room - 1 - done)}]"


# --- lines --------------------------------------------------------------------------------


def _at(
    at: Any, glyph: str, what: str, text: str, tone: Tone = Tone.PLAIN, *, width: int = 0
) -> list[Line]:
    when = moment(at)
    clock = formats.clock(when, tenths=True) if when is not None else None
    return _line(clock, glyph, what, text, tone, width)


def _line(
    clock: str | None, glyph: str, what: str, text: str, tone: Tone, width: int
) -> list[Line]:
    head = [
        Span(f"{clock or '':<10}  ", Tone.DIM),
        Span(f"{glyph} {fit.pad(clean(what, 14), 13)}", tone),
    ]
    return _hanging(head, Span(clean(text, _WORD_LIMIT)), width)


def _candidate(provider: Any, text: str, tone: Tone = Tone.PLAIN, width: int = 0) -> list[Line]:
    name = fit.pad(fit.middle(name_of(str(provider)), _NAME - 1), _NAME)
    return _hanging([Span(" " * 14), Span(name)], Span(clean(text, _WORD_LIMIT), tone), width)


def _hanging(head: list[Span], said: Span, width: int) -> list[Line]:
    """Return a text after its head, its further lines under the first; width 0 never wraps."""
    room = width - _INDENT
    parts = fit.wrap(said.text, room) if room > 20 else (said.text,)
    rest = [line(" " * _INDENT, Span(part, said.tone)) for part in parts[1:]]
    return [line(*head, Span(parts[0], said.tone)), *rest]
