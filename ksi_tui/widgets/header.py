"""The first two lines of a screen and its tabs, as lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from ksi_tui.engine.states import CircuitLook, Level, Verdict
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.spans import Line, Span, Tone, line

if TYPE_CHECKING:
    from ksi_tui.engine.views import ProviderView, Snapshot, Totals

CAUSE_LIMIT = 400
_CRUMBS_LIMIT = 4000
READ_ONLY = "READ-ONLY"
"""What a header says while nothing may be changed from here."""
_STEP = " > "
_OTHERS_NAMED = 2
_WHOLE_STORY = 120
"""From this width on the cause is cut at its end, where the lesser causes are; else it is short."""
STARTING = Verdict(level=Level.STARTING, cause="starting the engine")
ATTACHING = Verdict(level=Level.STARTING, cause="attaching to the engine")


def shown_verdict(
    snapshot: Snapshot | None,
    fault: str | None,
    frozen_s: float | None,
    stale_s: float | None = None,
) -> Verdict:
    """Return the verdict to show: a failed start, starting, stale, a frozen picture, the engine's.

    `stale_s` is how old the snapshot is when it is older than it should be.
    """
    if snapshot is not None and stale_s is not None:
        level, then = snapshot.verdict.level, f"{stale_text(stale_s)}, then"
        cause, short = snapshot.verdict.cause, snapshot.verdict.short or snapshot.verdict.cause
        return Verdict(
            level=Level.STALE,
            cause=f"{then}: {level}  {cause}",
            short=f"{then}: {level}  {short}",
        )
    if fault is not None:
        return Verdict(level=Level.DOWN, cause=fault.splitlines()[0])
    if snapshot is None:
        return STARTING
    if frozen_s is not None:
        cause = f"picture frozen for {formats.age(frozen_s)}, f goes on"
        return Verdict(level=snapshot.verdict.level, cause=cause)
    return snapshot.verdict


def stale_text(seconds: float) -> str:
    """Return how old what is shown is, without tenths: `4s 12s 3m07s`."""
    return formats.age(seconds) if seconds >= 10 else f"{int(seconds)}s"


def verdict_line(name: str, verdict: Verdict, at: float | None, width: int) -> Line:
    """Return line 1: name, verdict in words with its one cause, and the time."""
    moment = f"{formats.clock(at)} UTC " if at is not None else ""
    room = width - len(moment) - 1
    named = line(Span(f" {clean(name, 60)}  ", Tone.STRONG), *_said(verdict.level, verdict.cause))
    tried = (named, line(" ", *_said(verdict.level, verdict.cause)))
    said = verdict.cause if width >= _WHOLE_STORY else verdict.short or verdict.cause
    least = line(" ", *_said(verdict.level, said))
    shown = next((each for each in tried if fit.width_of(each) <= room), least)
    return fit.both_ends(shown, line(moment), width)


def _said(level: Level, cause: str) -> list[Span]:
    gap = " " if level is Level.STALE else "  "  # STALE 12s
    return [formats.verdict(level), Span(f"{gap}{clean(cause, CAUSE_LIMIT)}")]


def crumbs_line(name: str, crumbs: str, at: float | None, width: int, note: str = "") -> Line:
    """Return line 1 of a screen that was opened from another: the way to it, and the time."""
    moment = f"{formats.clock(at)} UTC " if at is not None else ""
    ending = line(Span(f"{note}  " if note else "", Tone.WARN), moment)
    head = Span(f" {clean(name, 60)} ", Tone.STRONG) if width >= 100 else Span("")
    room = width - cell_len(head.text) - fit.width_of(ending) - 2
    way = _way(clean(crumbs, _CRUMBS_LIMIT), room)
    return fit.both_ends(line(head, f" {way}"), ending, width)


def _way(crumbs: str, room: int) -> str:
    """Return breadcrumbs that fit: where one is stays, what lies between goes first."""
    first, *between, last = parts if len(parts := crumbs.split(_STEP)) > 1 else (crumbs, "")
    while between and cell_len(crumbs) > room:
        between.pop(0)
        crumbs = _STEP.join([first, "…", *between, last])
    return crumbs


def numbers_line(
    totals: Totals | None,
    operator: str,
    width: int,
    *,
    note: str = "",
    paused: int = 0,
    others: Sequence[str] = (),
) -> Line:
    """Return line 2: the numbers, how much is paused, who is at the keys, and what those may.

    `note` says that they only look; without one they operate. `others` look at the same engine.
    """
    name = clean(operator, 20)
    noted = Span(f"{clean(note, 80)} " if note else "", Tone.WARN)
    who = line(noted, Span(f"{name} " if name else "", Tone.DIM))
    if totals is None:
        return fit.both_ends(line(""), line(Span("you: ", Tone.DIM), *who.spans), width)
    wide = _numbers(totals, paused, long=True)
    may = who if note else line(Span(f"{name} (operate) ", Tone.DIM))
    narrow = _numbers(totals, paused, long=False)
    named, counted = Span(_with(others)), Span(f"+{len(others)} " if others else "")
    other = "1 other" if len(others) == 1 else f"{len(others)} others"
    spoken = Span(f"{other} · " if others else "")
    tried = (
        (wide, line(named, *may.spans)),
        (wide, line(spoken, *may.spans)),
        (narrow, line(named, *who.spans)),
    )
    for numbers, ending in tried:
        if fit.width_of(numbers) + fit.width_of(ending) + 2 <= width:
            return fit.both_ends(numbers, ending, width)
    return fit.both_ends(narrow, line(counted, *who.spans), width)


def _with(others: Sequence[str]) -> str:
    """Return who else looks: `with op2, op3 and 2 more · `."""
    if not others:
        return ""
    named = ", ".join(clean(name, 20) or "somebody" for name in others[:_OTHERS_NAMED])
    more = len(others) - _OTHERS_NAMED
    return f"with {named} and {more} more · " if more > 0 else f"with {named} · "


def _numbers(totals: Totals, paused: int, *, long: bool) -> Line:
    gap = "   " if long else "  "

    def word(full: str, short: str) -> str:
        return full if long else short

    failed = f"{word('failed', 'fail')} {formats.count(totals.failed_new)} new"
    spent = formats.cost(totals.cost_today, totals.unpriced_today, word=word("unpriced", "unpr."))
    parts = [
        Span(f" {word('active', 'act')} {totals.active}/{totals.capacity}"),
        Span(f"{gap}{word('queued', 'queue')} {formats.count(totals.queued)}"),
        Span(
            f"{gap}{word('retrying', 'retry')} {formats.count(totals.retrying)}",
            Tone.WARN if totals.retrying else Tone.PLAIN,
        ),
        Span(f"{gap}{failed}", Tone.BAD if totals.failed_new else Tone.PLAIN),
        Span(f"{gap}{formats.rate(totals.tokens_per_s)} tok/s"),
        Span(f"{gap}{'today ' if long else ''}{spent}"),
    ]
    if long:
        parts.insert(4, Span(f"{gap}ttft p50 {formats.age(totals.ttft_p50_s)}"))
    if long and paused:
        parts.append(Span(f"{gap}paused {paused}", Tone.WARN))
    return line(*parts)


def tabs_line(snapshot: Snapshot | None, chosen: int) -> Line:
    """Return the tabs of the narrow overview; they carry counts and bad states."""
    if snapshot is None:
        notes = ["", "", "", "", ""]
    else:
        rate = snapshot.tokens.trend[-1] if snapshot.tokens and snapshot.tokens.trend else 0.0
        notes = [
            formats.count(snapshot.totals.queued),
            formats.count(snapshot.totals.active),
            _circuits(snapshot.providers),
            formats.count(snapshot.locks_total),
            f"{formats.rate(snapshot.totals.tokens_per_s or rate)}/s",
        ]
    names = ("Queues", "Active", "Providers", "Locks", "Tokens")
    return numbered_tabs([(n, t) for n, t in zip(names, notes, strict=True)], chosen)


def numbered_tabs(tabs: Sequence[tuple[str, str]], chosen: int) -> Line:
    """Return numbered tabs, the chosen one in brackets; `chosen` counts from 1."""
    spans = [Span(" ")]
    for number, (name, note) in enumerate(tabs, start=1):
        text = " ".join(part for part in (str(number), name, note) if part)
        if number == chosen:
            spans.append(Span(f"[{text}]", Tone.FOCUS))
        else:
            spans.append(Span(f" {text} "))
    return line(*spans)


def tab_at(shown: Line, x: int) -> int | None:
    """Return the number of the tab at cell `x`, or None."""
    start = 0
    for number, span in enumerate(shown.spans):
        start += fit.width_of(line(span))
        if x < start:
            return number or None
    return None


def _circuits(providers: Sequence[ProviderView]) -> str:
    counts: dict[CircuitLook, int] = {}
    for provider in providers:
        counts[provider.circuit] = counts.get(provider.circuit, 0) + 1
    bad = (CircuitLook.OPEN, CircuitLook.HALF_OPEN, CircuitLook.COOLING)
    shown = [look for look in bad if counts.get(look)] or [CircuitLook.CLOSED]
    return " ".join(f"{formats.CIRCUITS[look].text}{counts.get(look, 0)}" for look in shown)
