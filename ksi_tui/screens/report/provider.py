"""One provider in words: circuit, health, limits, what it is called for, charts.

Pure, over the snapshot's view of it and the replies of `completion:provider_status` and
`completion:series`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ksi_tui.engine.views import ActiveView, ProviderView
from ksi_tui.screens.report.record import Report, moment
from ksi_tui.screens.report.session import paused
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.chart import Plotted, plot
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import WHY_LIMIT, name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line
from ksi_tui.widgets.table import Column, Row

_WORD_LIMIT = 400
_LABEL = 13
_MOST_COOLING = 6
_LEAST_CHART = 5
WINDOWS = (0.25, 1.0, 6.0, 24.0, 168.0)
"""Hours that the charts can show."""
_WINDOW_NAMES = {0.25: "15m", 1.0: "1h", 6.0: "6h", 24.0: "24h", 168.0: "7d"}

FLIGHT = (
    Column(name="REQUEST", width=12, narrow=9, elide_middle=True),
    Column(name="SESSION", width=18, narrow=12, elide_middle=True),
    Column(name="AGENT", width=8, drop=4, elide_middle=True),
    Column(name="MODEL (→ not the one asked)", width=27, drop=5, elide_middle=True),
    Column(name="PHASE", width=13),
    Column(name="AGE", width=6, right=True),
    Column(name="TTFT", width=5, right=True, drop=2),
    Column(name="TOK", width=5, right=True, drop=3),
    Column(name="TOK/S", width=5, right=True, drop=6),
    Column(name="WHY", width=0),
)


def flight_row(view: ActiveView) -> Row:
    """Return the row of a request that the provider is called for."""
    model = name_of(view.model)
    swapped = view.substituted
    return Row(
        key=view.request_id,
        cells=(
            Span(name_of(view.request_id)),
            Span(name_of(view.session_id)),
            Span(name_of(view.agent_id)),
            Span(f"→ {model}" if swapped else model, Tone.WARN if swapped else Tone.PLAIN),
            formats.phase(view.phase),
            Span(formats.age(view.age_s)),
            Span(formats.age(view.ttft_s)),
            Span(formats.count(view.tokens) if view.tokens else formats.NOTHING),
            Span(formats.rate(view.tokens_per_s)),
            Span(clean(view.why, WHY_LIMIT) or formats.NOTHING),
        ),
    )


# --- the head -----------------------------------------------------------------------------


def summary(view: ProviderView, reply: Report, at: float | None, width: int) -> Line:
    """Return line 2: the circuit, who forced or paused it, what is in flight, what it costs."""
    state = formats.circuit(view.circuit)
    parts = [formats.age(view.since_s)] if view.since_s is not None else []
    if forced_now := forced(reply.get("circuit_breaker") or {}, at):
        parts.append(forced_now)
    if pause := reply.get("paused"):
        parts.append(paused(pause))
    if not forced_now and not reply.get("paused") and view.now:
        parts.append(clean(view.now, 120))
    parts.append(f"ok {formats.percent(view.ok_rate)} in 5 min")
    parts.append(f"in flight {flight(view)}")
    dollars = formats.per_hour(view.cost_per_h, unpriced=view.unpriced)
    parts.append(dollars if dollars in ("unpr.", formats.NOTHING) else f"${dollars}/h")
    gap = "   " if width >= 120 else " · "
    return line(" ", state, (" " if view.since_s is not None else gap) + gap.join(parts))


def flight(view: ProviderView) -> str:
    """Return the calls in flight, of how many there may be."""
    return (
        f"{view.in_flight}/{view.max_concurrency}" if view.max_concurrency else f"{view.in_flight}"
    )


def forced(circuit: Report, at: float | None) -> str:
    """Return who forced the circuit, why and until when; empty when nobody has."""
    if not circuit.get("forced"):
        return ""
    by = f" by {name_of(circuit.get('forced_by'))}" if circuit.get("forced_by") else ""
    until = moment(circuit.get("forced_until"))
    left = ""
    if until is not None:
        rest = f", {formats.countdown(until - at)} left" if at is not None else ""
        left = f" until {formats.clock(until)}{rest}"
    reason = f': "{clean(str(circuit["reason"]), 120)}"' if circuit.get("reason") else ""
    state = clean(str(circuit["forced"]).replace("_", "-"), 20)
    return f"forced {state}{by}{left or ', until somebody ends it'}{reason}"


# --- circuit ------------------------------------------------------------------------------


def circuit(view: ProviderView, reply: Report, at: float | None, width: int) -> list[Line]:
    """Return the circuit as it is now: state, since when, why, by whom, the next probe."""
    breaker = reply.get("circuit_breaker") or {}
    state = formats.circuit(view.circuit)
    since = ""
    if view.since_s is not None and at is not None:
        since = f" since {formats.clock(at - view.since_s)}, {formats.age(view.since_s)}"
    lines = [line(state, since)]
    rows = [
        ("forced", forced(breaker, at)),
        ("because", "" if breaker.get("forced") else str(breaker.get("reason") or "")),
        ("next probe", _probe(breaker, at)),
        ("failures", _failures(breaker)),
        ("last success", _ago(breaker.get("last_success"), at)),
        ("paused", paused(reply["paused"]) if reply.get("paused") else ""),
        *_cooling(reply, at),
    ]
    for name, text in rows:
        lines += _fact(name, text, width) if text else []
    return lines


def _probe(breaker: Report, at: float | None) -> str:
    until = moment(breaker.get("open_until"))
    if breaker.get("state") == "half_open":
        return "is on its way: one call decides"
    if breaker.get("forced") or not breaker.get("is_open"):
        return ""
    if until is None or at is None or until <= at:
        return "the next call is it"
    return f"in {formats.countdown(until - at)}; b lets one through now"


def _failures(breaker: Report) -> str:
    count = int(breaker.get("recent_failures") or 0)
    return f"{count} in a row" if count else ""


def _cooling(reply: Report, at: float | None) -> list[tuple[str, str]]:
    found = [(moment(until), model) for model, until in (reply.get("cooldowns") or {}).items()]
    dated = sorted((until, model) for until, model in found if until is not None)
    rows = [
        (
            "" if index else "cooling",
            f"{name_of(model)}: {formats.countdown(until - at) if at else ''} left (429)",
        )
        for index, (until, model) in enumerate(dated[:_MOST_COOLING])
    ]
    more = len(dated) - _MOST_COOLING
    return [*rows, ("", f"and {more} more models")] if more > 0 else rows


def _ago(text: Any, at: float | None) -> str:
    when = moment(text)
    if when is None:
        return ""
    return formats.clock(when) + (f", {formats.age(at - when)} ago" if at is not None else "")


def _fact(name: str, text: str, width: int, tone: Tone = Tone.PLAIN) -> list[Line]:
    parts = fit.wrap(clean(text, _WORD_LIMIT), max(10, width - _LABEL))
    return [
        line(Span(f"{'' if index else name:<{_LABEL}}", Tone.DIM), Span(part, tone))
        for index, part in enumerate(parts)
    ]


# --- health -------------------------------------------------------------------------------


def health(reply: Report, at: float | None, width: int) -> list[Line]:
    """Return percentiles, counts, failures by kind and the last error."""
    stats = reply.get("stats") or {}
    lines = [line(Span(f"{'':<{_LABEL}}{'P50':>8}{'P95':>8}{'P99':>8}", Tone.DIM))]
    for name, key in (("latency", "latency_ms"), ("first token", "ttft_ms")):
        found = stats.get(key) or {}
        cells = "".join(f"{formats.latency(found.get(p)):>8}" for p in ("p50", "p95", "p99"))
        lines.append(line(Span(f"{name:<{_LABEL}}", Tone.DIM), cells))
    calls = f"{int(stats.get('total_calls') or 0):,}"
    ok, failed = int(stats.get("successful_calls") or 0), int(stats.get("failed_calls") or 0)
    share = formats.percent(stats.get("success_rate"))
    lines += _fact("calls", f"{calls}: {ok:,} answered ({share}), {failed:,} failed", width)
    lines += _fact("speed", f"{formats.rate(stats.get('tokens_per_s'))} tok/s now", width)
    lines += _fact("last call", _ago(stats.get("last_call"), at) or "none yet", width)
    lines += _kinds(stats.get("failures_by_kind") or {}, width)
    if error := stats.get("last_error"):
        said = f"{_ago(error.get('at'), at)}: {error.get('kind')}: {error.get('message')}"
        lines += _fact("last error", said, width, Tone.BAD)
    return lines


def _kinds(kinds: Mapping[str, Any], width: int) -> list[Line]:
    """Return failures by kind as bars, the most frequent first."""
    counts = sorted(((int(n), str(kind)) for kind, n in kinds.items() if n), reverse=True)
    if not counts:
        return _fact("failures", "none", width)
    room = max(4, width - _LABEL - 26)
    lines = []
    for index, (count, kind) in enumerate(counts):
        bar = "█" * max(1, round(count / counts[0][0] * room))
        lines.append(
            line(
                Span(f"{'' if index else 'failures':<{_LABEL}}", Tone.DIM),
                f"{fit.pad(clean(kind, 18), 18)}{formats.count(count):>6} ",
                Span(bar, Tone.BAD),
            )
        )
    return lines


# --- limits -------------------------------------------------------------------------------


def limits(view: ProviderView, reply: Report, width: int) -> list[Line]:
    """Return how much it may be called at once and a minute, and what it serves."""
    config, used = reply.get("config") or {}, reply.get("limits") or {}
    dollars = formats.per_hour(view.cost_per_h, unpriced=view.unpriced)
    rows = [
        ("at once", f"{flight(view)}{'' if view.max_concurrency else ', no limit of its own'}"),
        ("calls/min", _used(used, "rpm")),
        ("tokens/min", _used(used, "tpm")),
        ("cost/h", dollars if dollars in ("unpr.", formats.NOTHING) else f"${dollars}"),
        ("serves", ", ".join(str(each) for each in config.get("models") or ())),
        ("as", str(config.get("model") or "")),
        ("at", str(config.get("api_base") or "")),
        ("key", f"in {config['api_key_env']}" if config.get("api_key_env") else ""),
        ("priority", str(config.get("priority") or "")),
        ("kind", f"{config.get('kind', view.kind)}{_abilities(config)}"),
        ("clocks", _clocks(config)),
    ]
    return [each for name, text in rows if text for each in _fact(name, text, width)]


def _used(used: Report, what: str) -> str:
    limit = used.get(what)
    if not limit:
        return "no limit"
    now = int(used.get(f"{what}_used") or 0)
    return f"{now:,} of {limit:,} ({formats.percent(now / limit)})"


def _abilities(config: Report) -> str:
    lacks = "" if config.get("supports_streaming", True) else ", cannot stream"
    return f"{lacks}{', MCP' if config.get('supports_mcp') else ''}"


def _clocks(config: Report) -> str:
    names = (("first token", "first_token"), ("idle", "idle"), ("reply", "reply"))
    own = [
        f"{name} {config[f'{key}_timeout_s']:g} s"
        for name, key in names
        if config.get(f"{key}_timeout_s")
    ]
    return ", ".join(own) or "the engine's"


# --- charts -------------------------------------------------------------------------------


def series_of(reply: Report | None, provider: str) -> Report | None:
    """Return this provider's part of a reply of `completion:series`, None when it has none."""
    found: Sequence[Report] = (reply or {}).get("series") or ()
    return next((each for each in found if each.get("name") == provider), None)


def charts(reply: Report | None, provider: str, width: int, height: int) -> list[Line]:
    """Return calls, errors and latency over time, side by side where there is room."""
    if reply is None:
        return [line(Span("reading…", Tone.DIM))]
    if "code" in reply:
        return [line(Span(f"not known: {clean(str(reply.get('error')), 200)}", Tone.DIM))]
    found = series_of(reply, provider)
    if found is None:
        return [line(Span("no call in this time", Tone.DIM))]
    each_minute = [("calls/min", "requests", 60.0), ("errors/min", "errors", 60.0)]
    named = [*each_minute, ("latency s", "latency_ms", 0.001)]
    across = len(named) if width >= 84 else 1
    wide = (width - 2 * (across - 1)) // across
    tall = max(_LEAST_CHART, height if across > 1 else height // len(named))
    drawn = [_chart(name, found.get(key) or (), by, wide, tall) for name, key, by in named]
    if across == 1:
        return [each for block in drawn for each in block]
    return [_side_by_side([block[y] for block in drawn], wide) for y in range(tall)]


def _chart(name: str, values: Sequence[Any], by: float, width: int, height: int) -> list[Line]:
    """Return a chart under its name; what is unknown is a gap, never 0."""
    known = tuple(None if value is None else float(value) * by for value in values)
    now = next((value for value in reversed(known) if value is not None), None)
    newest = f"{now:.3g}" if now is not None else formats.NOTHING
    head = line(Span(f"{name}  now {newest}", Tone.DIM))
    return [head, *plot([Plotted(name, known)], width=width, height=height - 1, label=_label)]


def _label(value: float) -> str:
    return f"{value:.3g}"


def _side_by_side(parts: Sequence[Line], width: int) -> Line:
    spans: list[Span] = []
    for index, part in enumerate(parts):
        gap = "  " if index else ""
        spans += [Span(gap), *part.spans, Span(" " * max(0, width - fit.width_of(part)))]
    return Line(tuple(span for span in spans if span.text))


def window_note(hours: float) -> str:
    """Return the windows with the chosen one in brackets: `15m [1h] 6h 24h 7d`."""
    names = [f"[{_WINDOW_NAMES[h]}]" if h == hours else _WINDOW_NAMES[h] for h in WINDOWS]
    return " ".join(names)


def in_words(
    name: str, view: ProviderView | None, reply: Report, at: float | None, history: Sequence[Line]
) -> str:
    """Return the provider's state and circuit history as plain lines, for a ticket."""
    head = [f"Provider {name_of(name)}" + (f", {formats.clock(at)} UTC" if at else "")]
    if view is not None:
        head += [each.text for each in circuit(view, reply, at, 100)]
    return "\n".join([*head, *(each.text.rstrip() for each in history)])
