"""One request in words: what `completion:request_status` and the live view say, as lines.

Pure, and the view-model's edge of the request screen: every text of the reply is cleaned
here. Times of the reply are ISO 8601 UTC.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ksi_tui.engine.views import Live, Phase
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.clean import clean, clean_block
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line

Report = Mapping[str, Any]
TEXT_LIMIT = 200_000
_WORD_LIMIT = 300
_FINAL = {
    "completed": Phase.COMPLETED,
    "failed": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
}
_ACTIONS = ("cancel", "retry", "send elsewhere")
"""What somebody did to a request, under the names that the engine records."""
_WAITING = {"queued": Phase.QUEUED, "retrying": Phase.RETRYING, "processing": Phase.CONNECTING}
_HIDDEN = 'hidden: ui.text is "never"'


def moment(text: Any) -> float | None:
    """Return a reply's time as epoch seconds, None for none or a wrong one."""
    try:
        return datetime.fromisoformat(str(text)).timestamp() if text else None
    except ValueError:
        return None


def phase_of(report: Report, live: Live | None) -> Phase:
    """Return what the request is doing, the live view first."""
    status = str(report.get("status", ""))
    if status in _FINAL and (live is None or not live.phase.running):
        return _FINAL[status]
    return live.phase if live else _WAITING.get(status, Phase.QUEUED)


def summary(report: Report, live: Live | None, width: int) -> Line:
    """Return line 2: the state, and whose request it is."""
    phase = formats.phase(phase_of(report, live))
    parts = [f"session {name_of(report.get('session_id'))}"]
    if report.get("agent_id"):
        parts.append(f"agent {name_of(report['agent_id'])}")
    parts.append(f"priority {clean(str(report.get('priority', '')), 20)}")
    asked, model = report.get("requested_model"), live.model if live else report.get("model")
    parts.append(
        f"asked {name_of(asked)}, gets {name_of(model)}"
        if model and asked and model != asked
        else f"model {name_of(asked)}"
    )
    tags = report.get("metadata") or {}
    if tags and width >= 120:
        shown = " ".join(f"{key}={value}" for key, value in list(tags.items())[:4])
        parts.append(f"meta {clean(shown, 60)}")
    gap = "   " if width >= 120 else " · "
    return line(" ", phase, gap + gap.join(parts))


def why(report: Report, live: Live | None, width: int) -> list[Line]:
    """Return the cause in words, and what happens if nobody acts."""
    phase = phase_of(report, live)
    if phase in (Phase.FAILED, Phase.CANCELLED):
        error = report.get("error") or {}
        kind, said = error.get("kind"), error.get("message")
        by = f" by {name_of(report['by'])}" if report.get("by") else ""
        reason = f": {report['reason']}" if report.get("reason") else ""
        text = f"{phase.value}{by}{reason}" if phase is Phase.CANCELLED else f"{kind}: {said}"
        after = "r tries it again under the same id."
    elif phase is Phase.COMPLETED:
        text = f"completed by {name_of(report.get('provider'))}"
        after = ""
    else:
        text = live.why if live and live.why else str(report.get("why") or "")
        after = (live.if_nobody_acts if live else report.get("if_nobody_acts")) or ""
        after = f"If nobody acts: {after}" if after else ""
    lines = fit.wrapped(clean(str(text), _WORD_LIMIT), width)
    if after:
        lines += fit.wrapped(clean(after, _WORD_LIMIT), width)
    return [line(text) for text in lines]


# --- timeline -----------------------------------------------------------------------------


def timeline(report: Report) -> list[Line]:
    """Return what happened, oldest first: attempts with every verdict and call, and who acted."""
    queued = _at(report.get("queued_at"), "·", "queued", f"priority {report.get('priority', '')}")
    blocks = [(report.get("queued_at"), [queued])]
    maximum = report.get("max_attempts")
    for attempt in report.get("attempts") or ():
        number = attempt.get("attempt")
        lines = [_at(attempt.get("started_at"), "►", f"attempt {number}", f"of {maximum}")]
        lines += _walk(attempt)
        retry_at, ended = moment(attempt.get("retry_at")), moment(attempt.get("finished_at"))
        if retry_at is not None and ended is not None:
            pause = formats.age(retry_at - ended)
            lines.append(_at(attempt["finished_at"], "~", "backoff", pause, Tone.WARN))
        blocks.append((attempt.get("started_at"), lines))
    for entry in report.get("timeline") or ():
        what = str(entry.get("what", ""))
        if what in _ACTIONS:
            acted = _at(entry.get("at"), "!", what, str(entry.get("text", "")))
            blocks.append((entry.get("at"), [acted]))
    blocks.sort(key=lambda block: moment(block[0]) or 0.0)
    story = [each for _, lines in blocks for each in lines]
    status = str(report.get("status", ""))
    if status in _FINAL:
        glyph = formats.PHASES[_FINAL[status]]
        said = (report.get("error") or {}).get("message") or ""
        story.append(_at(report.get("finished_at"), glyph.text, status, str(said), glyph.tone))
    return story


def _at(at: Any, glyph: str, what: str, text: str, tone: Tone = Tone.PLAIN) -> Line:
    when = moment(at)
    clock = formats.clock(when, tenths=True) if when is not None else " " * 10
    return line(
        Span(f"{clock}  ", Tone.DIM),
        Span(f"{glyph} {fit.pad(clean(what, 14), 13)}", tone),
        clean(text, _WORD_LIMIT),
    )


def _walk(attempt: Report) -> list[Line]:
    """Return the candidates in the order in which they were looked at, their calls in place."""
    calls = list(attempt.get("calls") or ())
    lines: list[Line] = []
    for verdict in attempt.get("verdicts") or ():
        if verdict.get("kind") == "not_reached":
            lines.append(_candidate(verdict.get("provider"), "not reached", Tone.DIM))
            continue
        if verdict.get("kind") != "taken":
            detail = verdict.get("detail") or str(verdict.get("kind", "")).replace("_", " ")
            lines.append(_candidate(verdict.get("provider"), f"skipped: {detail}", Tone.DIM))
            continue
        own = next((c for c in calls if c.get("provider") == verdict.get("provider")), None)
        if own is None:
            lines.append(_candidate(verdict.get("provider"), "taken"))
        else:
            calls.remove(own)
            lines.append(_call(own))
    unplaced = [_call(call) for call in calls]
    return [*lines, *unplaced, *_tokens_seen(attempt.get("calls") or ())]


def _candidate(provider: Any, text: str, tone: Tone = Tone.PLAIN) -> Line:
    name = fit.pad(fit.middle(name_of(str(provider)), 12), 13)
    return line(" " * 14, name, Span(clean(text, _WORD_LIMIT), tone))


def _call(call: Report) -> Line:
    model, asked = call.get("model"), call.get("asked_model")
    took = formats.latency(call.get("duration_ms"))
    error, outcome = call.get("error"), str(call.get("outcome", ""))
    swap = f", as {model} (asked {asked})" if model and asked and model != asked else ""
    if error:
        said, tone = f"! {error.get('kind')}: {error.get('message')}", Tone.BAD
    elif outcome == "answered":
        said, tone = f"√ answered{swap}", Tone.OK
    elif outcome == "running":
        return _candidate(call.get("provider"), f"taken{swap}", Tone.BUSY)
    else:
        closed = call.get("upstream_closed_ms")
        after = f", upstream closed after {closed:.0f} ms" if closed is not None else ""
        said, tone = f"× {outcome.replace('_', ' ')}{after}", Tone.WARN
    return _candidate(call.get("provider"), f"{took:<7}{said}", tone)


def _tokens_seen(calls: Sequence[Report]) -> list[Line]:
    """Return when the last of an attempt's calls that said anything began to, and stopped."""
    lines: list[Line] = []
    for call in [call for call in calls if call.get("first_token_at")][-1:]:
        ttft = formats.latency(call.get("ttft_ms"))
        lines.append(_at(call["first_token_at"], "►", "first token", f"after {ttft}"))
        if call.get("last_token_at"):
            spoken = (call.get("usage") or {}).get("output") or call.get("tokens_so_far")
            text = f"{formats.exact(spoken)} tokens" if spoken else ""
            lines.append(_at(call["last_token_at"], "►", "last token", text))
    return lines


# --- usage, prompt, answer ----------------------------------------------------------------


def usage(report: Report, live: Live | None) -> list[Line]:
    """Return the tokens of every call in buckets, its cost, and what was asked for."""
    calls = [c for a in report.get("attempts") or () for c in a.get("calls") or ()][-2:]
    heads = "".join(f"{fit.end(name_of(str(c.get('provider'))), 12):>13}" for c in calls)
    lines = [line(Span(f"{'':<12}{heads or '   no call yet'}", Tone.DIM))]
    if calls:
        for bucket in ("input", "cache_read", "cache_write", "output", "reasoning"):
            cells = "".join(f"{_tokens(call, bucket, live):>13}" for call in calls)
            lines.append(line(f"{bucket.replace('_', ' '):<12}{cells}"))
        costs = "".join(f"{_cost(call):>13}" for call in calls)
        lines.append(line(f"{'cost':<12}{costs}"))
        kept = ["waste" if c.get("waste") else formats.NOTHING for c in calls]
        lines.append(line(f"{'':<12}{''.join(f'{text:>13}' for text in kept)}"))
    params = report.get("params") or {}
    shown = ", ".join(f"{key} {json.dumps(value)[:30]}" for key, value in params.items())
    lines.append(Line())
    lines.append(line(f"asked    {name_of(report.get('requested_model'))}"))
    if shown:
        lines.append(line(f"params   {clean(shown, _WORD_LIMIT)}"))
    lines.append(line(f"history  {clean(str(report.get('history') or formats.NOTHING), 20)}"))
    versions = {str(c["price_version"]) for c in calls if c.get("price_version")}
    lines.append(line(f"prices   {clean(', '.join(sorted(versions)) or formats.NOTHING, 60)}"))
    return lines


def _tokens(call: Report, bucket: str, live: Live | None) -> str:
    used = call.get("usage")
    if used is not None:
        return formats.exact(used.get(bucket), estimated=bool(used.get("estimated")))
    if bucket == "output" and call.get("outcome") == "running":
        so_far = live.tokens if live else call.get("tokens_so_far")
        return formats.exact(so_far, estimated=True)
    return formats.NOTHING


def _cost(call: Report) -> str:
    if call.get("usage") is None:
        return formats.NOTHING
    return formats.money(call.get("cost"))


def prompt(report: Report, width: int, shown: bool) -> list[Line]:
    """Return what was sent, one role after the other."""
    if not shown:
        return [line(Span(_HIDDEN, Tone.DIM))]
    messages: Sequence[Mapping[str, Any]] = report.get("messages") or (
        {"role": "user", "content": report.get("prompt") or ""},
    )
    lines: list[Line] = []
    for message in messages:
        role = clean(str(message.get("role", "")), 10)
        content = message.get("content")
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        wrapped = fit.wrapped(clean_block(text or "", TEXT_LIMIT), max(10, width - 9))
        lines += [
            line(
                Span(f"{role if not index else '':<7}{'>' if not index else ' '} ", Tone.DIM), part
            )
            for index, part in enumerate(wrapped)
        ]
    return lines


def answer_text(report: Report, live: Live | None) -> str:
    """Return the answer so far, raw; the live text while it streams."""
    if live is not None and live.text:
        return live.text
    return str(report.get("text") or "")


def answer(report: Report, live: Live | None, width: int, shown: bool) -> list[Line]:
    """Return the answer so far."""
    if not shown:
        return [line(Span(_HIDDEN, Tone.DIM))]
    text = answer_text(report, live)
    if not text:
        return [line(Span("nothing yet", Tone.DIM))]
    lines = [line(part) for part in fit.wrapped(clean_block(text, TEXT_LIMIT), width)]
    if live is not None and live.phase is Phase.NO_TOKEN:
        lines += [Line(), line(Span(f"-- {clean(live.why, 80)} --", Tone.BAD))]
    return lines
