"""What a request used and cost, attempt by attempt, and what it was sent with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ksi_tui.engine.views import Live
from ksi_tui.screens.report.record import Report, calls_of
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line

_LABEL, _CELL = 12, 14
_WORD_LIMIT = 300
_BUCKETS = ("input", "cache_read", "cache_write", "output", "reasoning")
_TOLD_ELSEWHERE = ("tools", "temperature", "max_tokens", "extra_body")
_MAY_BE_BILLED = ("timeout", "network_error", "worker_lost", "daemon_restart")
"""Errors after which the provider may have gone on, and bill what nobody received."""


def usage(
    report: Report, live: Live | None, sent: Mapping[str, Any] | None, width: int
) -> list[Line]:
    """Return tokens in buckets and cost by attempt, then what was asked and sent."""
    if not report:
        return []
    attempts = [each for each in report.get("attempts") or () if each.get("calls")]
    room = max(1, (width - _LABEL) // _CELL)
    shown = attempts[-room:]
    return [*_table(shown, live), Line(), *_call_lines(report, sent)]


def _table(attempts: Sequence[Report], live: Live | None) -> list[Line]:
    if not attempts:
        return [line(Span("no provider was called yet", Tone.DIM))]
    numbers = [f"ATTEMPT {each.get('attempt')}" for each in attempts]
    heads = "".join(f"{number:>{_CELL}}" for number in numbers)
    lines = [line(Span(f"{'':<{_LABEL}}{heads}", Tone.DIM))]
    for bucket in _BUCKETS:
        cells = [_tokens(each.get("calls") or (), bucket, live) for each in attempts]
        lines.append(_row(bucket.replace("_", " "), cells))
    lines.append(_row("cost", [_cost(each.get("calls") or ()) for each in attempts]))
    wasted = [_wasted_s(each.get("calls") or ()) for each in attempts]
    return [*lines, _row("waste", [formats.age(each or None) for each in wasted])]


def _row(label: str, cells: Sequence[str]) -> Line:
    return line(f"{label:<{_LABEL}}" + "".join(f"{cell:>{_CELL}}" for cell in cells))


def _tokens(calls: Sequence[Report], bucket: str, live: Live | None) -> str:
    """Return a bucket of all calls of one attempt; the running one's text as it arrives."""
    found, estimated = None, False
    for call in calls:
        used = call.get("usage") or call.get("estimate") or {}
        number = used.get(bucket)
        guess = call.get("usage") is None or bool(used.get("estimated"))
        if bucket == "output" and call.get("outcome") == "running":
            number, guess = live.tokens if live else call.get("tokens_so_far"), True
        if number is not None:
            found, estimated = (found or 0) + int(number), estimated or (guess and number > 0)
    return formats.exact(found, estimated=estimated)


def _cost(calls: Sequence[Report]) -> str:
    """Return an attempt's cost: `~` estimated, `≤` where it may not be billed in full."""
    used = [call for call in calls if call.get("usage") or call.get("estimate")]
    if not used:
        return formats.NOTHING
    costs = [_dollars(call) for call in used]
    known = [each for each in costs if each is not None]
    if not known:
        return formats.money(None)
    sign = ""
    if any(_may_be_billed(call) for call in used):
        sign = "≤ "
    elif any(_guessed(call) for call in used):
        sign = "~ "
    return f"{'≥ ' if len(known) < len(costs) else sign}{formats.money(sum(known))}"


def _dollars(call: Report) -> float | None:
    guess = call.get("estimate") or {}
    cost = call.get("cost") if call.get("usage") else guess.get("cost")
    return None if cost is None else float(cost)


def _guessed(call: Report) -> bool:
    used = call.get("usage")
    return used is None or bool(used.get("estimated"))


def _may_be_billed(call: Report) -> bool:
    return (call.get("error") or {}).get("kind") in _MAY_BE_BILLED and _guessed(call)


def _wasted_s(calls: Sequence[Report]) -> float:
    return sum((call.get("duration_ms") or 0.0) / 1000 for call in calls if call.get("waste"))


def total_cost(report: Report) -> str:
    """Return the cost of all calls for a tab: `~$0.008`, empty when nothing was used."""
    shown = _cost(list(calls_of(report)))
    return "" if shown == formats.NOTHING else shown.replace(" ", "")


# --- the call -----------------------------------------------------------------------------


def _call_lines(report: Report, sent: Mapping[str, Any] | None) -> list[Line]:
    params = report.get("params") or {}
    calls = list(calls_of(report))
    versions = {str(each["price_version"]) for each in calls if each.get("price_version")}
    rows = [
        ("asked", _asked(report, params)),
        ("answers", _substitute(report)),
        ("params", _others(params)),
        ("history", history(report, sent)),
        ("tools", _tools(params, calls)),
        ("prices", ", ".join(sorted(versions)) or formats.NOTHING),
        ("worker", _worker(calls)),
    ]
    return [line(f"{name:<9}{clean(text, _WORD_LIMIT)}") for name, text in rows if text]


def _asked(report: Report, params: Mapping[str, Any]) -> str:
    parts = [name_of(report.get("requested_model"))]
    if params.get("temperature") is not None:
        parts.append(f"temp {params['temperature']}")
    if params.get("max_tokens") is not None:
        parts.append(f"max {_number(params['max_tokens'])}")
    return "  ".join(parts)


def _substitute(report: Report) -> str:
    """Return the model that answers in place of the one asked for; empty where none does."""
    model = report.get("model")
    return f"→ {name_of(model)}" if model and model != report.get("requested_model") else ""


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _others(params: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in params.items() if key not in _TOLD_ELSEWHERE}
    if params.get("extra_body"):
        rest["extra_body"] = "given"
    return ", ".join(f"{key} {json.dumps(value)[:30]}" for key, value in rest.items())


def history(report: Report, sent: Mapping[str, Any] | None) -> str:
    """Return how much of the session went along, in words."""
    if report.get("messages"):
        return "none: sent as given"
    if report.get("history") == "none":
        return "none, as asked"
    if sent is None:
        return "session"
    if not sent.get("known"):
        return "session; forgotten since"
    turns, tokens = int(sent.get("turns") or 0), int(sent.get("history_tokens") or 0)
    word = "turn" if turns == 1 else "turns"
    return f"session, {turns} {word}, ~{tokens:,} tok" if turns else "session, no turn yet"


def _tools(params: Mapping[str, Any], calls: Sequence[Report]) -> str:
    tools = params.get("tools") or ()
    if not tools:
        return ""
    named = [str((each.get("function") or {}).get("name") or "tool") for each in tools]
    schema = max((int(each.get("tool_schema_tokens") or 0) for each in calls), default=0)
    counted = f": {schema:,} tok schema" if schema else ""
    return fit.end(f"{len(named)} ({', '.join(named)}{counted})", 120)


def _worker(calls: Sequence[Report]) -> str:
    """Return the worker of the call that runs; a call that has ended does not tell."""
    worker = next((each["worker"] for each in reversed(calls) if each.get("worker")), None)
    if not worker:
        return ""
    up = f", up {formats.age(worker['up_s'])}" if worker.get("up_s") is not None else ""
    return f"w{worker.get('worker')}, pid {worker.get('pid')}{up}"
