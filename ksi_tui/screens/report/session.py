"""One session in words: its state, requests as rows, lock, transcript, tokens and cost.

Pure, over the replies of `completion:session_status` and `completion:token_usage`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ksi_tui.engine.views import Live, Phase
from ksi_tui.screens.report.record import Report, moment
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.clean import clean, clean_block
from ksi_tui.widgets.rows import WHY_LIMIT, name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line
from ksi_tui.widgets.table import Column, Row

UNFINISHED = ("queued", "processing", "retrying")
_TURN_LIMIT = 20_000
_UNSURE_PHASES = {
    "queued": Phase.QUEUED,
    "processing": Phase.CONNECTING,
    "retrying": Phase.RETRYING,
}

REQUESTS = (
    Column(name="REQUEST", width=12, narrow=9, elide_middle=True),
    Column(name="STATE", width=13),
    Column(name="QUEUED", width=8, drop=9),
    Column(name="TOOK", width=6, right=True),
    Column(name="TRY", width=5, right=True, drop=5),
    Column(name="AGENT", width=8, drop=4, elide_middle=True),
    Column(name="MODEL", width=22, drop=3, elide_middle=True),
    Column(name="PROVIDER", width=10, drop=6, elide_middle=True),
    Column(name="TOK", width=6, right=True, drop=7),
    Column(name="COST", width=9, right=True, drop=2),
    Column(name="WHY", width=0),
)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else -1.0


_KEYS: Mapping[str, Callable[[Report], Any]] = {
    "QUEUED": lambda each: str(each.get("queued_at") or ""),
    "STATE": lambda each: str(each.get("phase") or each.get("status") or ""),
    "TOOK": lambda each: _took(each, None) or 0.0,
    "TRY": lambda each: _number(each.get("attempts")),
    "MODEL": lambda each: str(each.get("model") or each.get("asked_model") or ""),
    "PROVIDER": lambda each: str(each.get("provider") or ""),
    "TOK": lambda each: _number(each.get("tokens")),
    "COST": lambda each: _number(each.get("cost")),
}
ORDERS = tuple(_KEYS)
"""The columns that the rows can be ordered by."""


def ordered(completions: Sequence[Report], column: str, *, descending: bool) -> list[Report]:
    """Return a session's requests ordered by a column; of equals the newest first."""
    newest_first = list(reversed(completions))
    return sorted(newest_first, key=_KEYS[column], reverse=descending)


def row(each: Report, live: Live | None, at: float | None) -> Row:
    """Return the row of one request; the live view is that of the session's running one."""
    mine = live if live is not None and live.request_id == each.get("request_id") else None
    phase = mine.phase if mine else _phase(each)
    queued = moment(each.get("queued_at"))
    asked, model = name_of(each.get("asked_model")), name_of(each.get("model"))
    swapped = model not in (asked, formats.NOTHING)
    tokens = mine.tokens if mine and mine.tokens else each.get("tokens")
    why = str((mine.why if mine else "") or each.get("why") or "")
    kind = f"{each['error_kind']}: " if each.get("error_kind") and phase is Phase.FAILED else ""
    return Row(
        key=str(each.get("request_id")),
        cells=(
            Span(name_of(each.get("request_id"))),
            formats.phase(phase),
            Span(formats.clock(queued) if queued is not None else formats.NOTHING),
            Span(formats.age(_took(each, at))),
            Span(f"{each.get('attempts') or 0}/{each.get('max_attempts') or '?'}"),
            Span(name_of(each.get("agent_id"))),
            Span(f"→ {model}" if swapped else asked, Tone.WARN if swapped else Tone.PLAIN),
            Span(name_of((mine.provider if mine else None) or each.get("provider"))),
            Span(_tokens(tokens, each, guessed=mine is not None)),
            Span(_cost(each)),
            Span(clean(f"{kind}{why}", WHY_LIMIT) or formats.NOTHING),
        ),
    )


def _phase(each: Report) -> Phase:
    try:
        return Phase(str(each.get("phase")))
    except ValueError:
        status = str(each.get("status"))
        return _UNSURE_PHASES.get(status) or Phase(status)


def _took(each: Report, at: float | None) -> float | None:
    """Return the seconds from its acceptance to its end, or until now."""
    queued, ended = moment(each.get("queued_at")), moment(each.get("completed_at"))
    until = ended if ended is not None else at
    return None if queued is None or until is None else max(0.0, until - queued)


def _tokens(tokens: Any, each: Report, *, guessed: bool) -> str:
    if not tokens:
        return formats.NOTHING
    return f"{'~' if guessed or each.get('estimated') else ''}{formats.count(tokens)}"


def _cost(each: Report) -> str:
    if each.get("cost") is None:
        return "unpr." if each.get("tokens") else formats.NOTHING
    return f"{'~' if each.get('estimated') else ''}{formats.money(each['cost'])}"


def hidden(each: Report, shown: frozenset[str]) -> str:
    """Return what the hidden columns of a row hold."""
    parts = []
    if "MODEL" not in shown:
        asked, model = name_of(each.get("asked_model")), each.get("model")
        swapped = model and model != each.get("asked_model")
        parts.append(f"asked {asked}, gets {name_of(model)}" if swapped else asked)
    if "AGENT" not in shown and each.get("agent_id"):
        parts.append(f"agent {name_of(each['agent_id'])}")
    if "PROVIDER" not in shown and each.get("provider"):
        parts.append(f"at {name_of(each['provider'])}")
    if "TRY" not in shown:
        parts.append(f"attempt {each.get('attempts') or 0} of {each.get('max_attempts') or '?'}")
    if "COST" not in shown and each.get("cost") is not None:
        parts.append(_cost(each))
    return f"{name_of(each.get('request_id'))}: {' · '.join(parts)}" if parts else ""


# --- the session --------------------------------------------------------------------------


def summary(reply: Report, at: float | None, width: int) -> Line:
    """Return line 2: what the session does, its lock, its pause."""
    session, completions = reply.get("session") or {}, reply.get("completions") or ()
    open_ones = sum(each.get("status") in UNFINISHED for each in completions)
    running = session.get("active_request")
    if running:
        state = Span(f"► {name_of(running)} runs", Tone.OK)
    elif session.get("paused"):
        state = Span("= paused", Tone.WARN)
    elif open_ones:
        state = Span("○ waits", Tone.WARN)
    else:
        state = Span("· quiet", Tone.DIM)
    parts = [f"{open_ones} unfinished", f"{session.get('request_count', 0):,} requests in all"]
    if session.get("conversation_locked"):
        parts.append(f"lock {name_of(session.get('lock_holder'))}, {lock_left(session, at)} left")
    if pause := session.get("paused"):
        parts.append(paused(pause))
    gap = "   " if width >= 120 else " · "
    return line(" ", state, gap + gap.join(parts))


def lock_left(session: Report, at: float | None) -> str:
    """Return what is left of the lock."""
    ends = moment(session.get("lock_expiry"))
    return formats.NOTHING if ends is None or at is None else formats.countdown(ends - at)


def paused(pause: Report) -> str:
    """Return by whom it is paused, and why."""
    by = f" by {name_of(pause.get('by'))}" if pause.get("by") else ""
    reason = f': "{clean(str(pause["reason"]), 120)}"' if pause.get("reason") else ""
    return f"paused{by}{reason}"


def people(reply: Report, at: float | None, width: int) -> list[Line]:
    """Return lock, pause, agents and times."""
    session = reply.get("session") or {}
    lines = _lock(session, at)
    if pause := session.get("paused"):
        since = moment(pause.get("since"))
        age = f", for {formats.age(at - since)}" if since is not None and at is not None else ""
        lines.append(line(Span("= ", Tone.WARN), f"{paused(pause)}{age}"))
    agents = ", ".join(name_of(each) for each in session.get("agents") or ()) or "none named"
    facts = [
        ("agents", agents),
        ("created", _when(session.get("created_at"), at)),
        ("last used", _when(session.get("last_activity"), at)),
        ("requests", f"{session.get('request_count', 0):,}"),
        ("turns", f"{session.get('turn_count', 0):,} go along with a prompt"),
    ]
    for name, text in facts:
        parts = fit.wrap(text, max(10, width - 11))
        lines += [
            line(Span(f"{'' if index else name:<11}", Tone.DIM), part)
            for index, part in enumerate(parts)
        ]
    return lines


def _lock(session: Report, at: float | None) -> list[Line]:
    if not session.get("conversation_locked"):
        return [line(Span("no lock: ", Tone.DIM), "any agent's request may run")]
    granted = moment(session.get("lock_granted"))
    since = f" since {formats.clock(granted)}" if granted is not None else ""
    extended = session.get("lock_extended") or 0
    more = f", extended {extended}x" if extended else ""
    return [
        line(Span("○ ", Tone.WARN), f"locked by {name_of(session.get('lock_holder'))}{since}"),
        line(f"  {lock_left(session, at)} left{more}; F takes it from them"),
    ]


def _when(text: Any, at: float | None) -> str:
    when = moment(text)
    if when is None:
        return formats.NOTHING
    return formats.clock(when) + (f", {formats.age(at - when)} ago" if at is not None else "")


def transcript(reply: Report | None, width: int, concealed: str | None) -> list[Line]:
    """Return the turns that the next prompt would be sent with, oldest first."""
    history = (reply or {}).get("history")
    if history is None:
        return [line(Span("reading…", Tone.DIM))]
    turns: Sequence[Report] = history.get("turns") or ()
    if not turns:
        return [line(Span("nothing yet: the next prompt goes alone", Tone.DIM))]
    if concealed:
        return [line(Span(concealed, Tone.DIM))]
    left_out = 2 * int(history.get("pairs") or 0) - len(turns)
    lines = [line(Span(f"{left_out} older ones go along too", Tone.DIM))] if left_out > 0 else []
    for turn in turns:
        lines += _turn(turn, width)
    return lines


def _turn(turn: Report, width: int) -> list[Line]:
    text, chars = str(turn.get("text") or ""), int(turn.get("chars") or 0)
    cut = f" […{chars - len(text):,} more]" if chars > len(text) else ""
    role = clean(str(turn.get("role") or ""), 9)
    tone = Tone.PLAIN if role == "user" else Tone.DIM
    wrapped = fit.wrapped(clean_block(text + cut, _TURN_LIMIT), max(10, width - 12))
    return [
        line(Span(f"{'' if index else role:<10}{' ' if index else '>'} ", Tone.KEY), Span(p, tone))
        for index, p in enumerate(wrapped)
    ]


def transcript_note(reply: Report | None) -> str:
    """Return how much goes along with the next prompt."""
    history = (reply or {}).get("history") or {}
    pairs, tokens = int(history.get("pairs") or 0), int(history.get("estimated_tokens") or 0)
    word = "turn" if pairs == 1 else "turns"
    return f"{pairs} {word}, ~{tokens:,} tok go along with the next prompt" if pairs else ""


def spent(reply: Report | None) -> list[Line]:
    """Return the session's tokens in buckets and its cost."""
    if reply is None:
        return [line(Span("reading…", Tone.DIM))]
    used = reply.get("usage")
    if used is None:
        return [line(Span("not known", Tone.DIM))]
    if not used.get("total_tokens"):
        return [line(Span("nothing yet", Tone.DIM))]
    rows = [
        (name.replace("_", " "), f"{int(used.get(f'{name}_tokens') or 0):,}")
        for name in ("input", "cache_read", "cache_write", "output", "reasoning", "total")
    ]
    rows.append(("answers", f"{int(used.get('request_count') or 0):,}"))
    rows.append(("cost", formats.cost(used.get("cost"), int(used.get("unpriced") or 0))))
    lines = [line(Span(f"{name:<13}", Tone.DIM), f"{text:>16}") for name, text in rows]
    if used.get("estimated"):
        lines.append(line(Span(f"{used['estimated']} calls estimated", Tone.DIM)))
    return lines
