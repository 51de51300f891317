"""What a list of requests says of itself: its head, its emptiness, a row's story; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ksi_tui.engine.views import Live, Phase
from ksi_tui.screens.base import ON_UNFINISHED
from ksi_tui.screens.host import ERROR_LIMIT
from ksi_tui.widgets import fit, formats, request_rows
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import WHY_LIMIT, name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line

STORY_LINES = 3
_ON_ROWS = frozenset({"open", "mark", "edit", "edit_outside", "compare", "copy"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """What a list's head tells. `total` None: nothing was read yet; `everything`: not known."""

    title: str
    total: int | None
    everything: int | None
    filter_text: str
    marked: int
    searching: bool
    error: str | None
    escape: str
    order: str


def head(now: Heading) -> tuple[Line, Line]:
    """Return the head's left and right: the filter and how many fit it, and what is marked."""
    spans = [Span(now.title)]
    if now.searching:
        spans.append(Span("  searching…", Tone.BUSY))
    count = "" if now.total is None else formats.count(now.total)
    if now.filter_text:
        of = f" of {formats.count(now.everything)}" if now.everything is not None else ""
        spans.append(Span(f"  filter: {clean(now.filter_text, ERROR_LIMIT)}", Tone.KEY))
        spans += [Span(f" · {count}{of}")] if count else []
        spans += [Span(f" · esc {now.escape}", Tone.DIM)] if now.escape else []
    elif count:
        spans.append(Span(f"  {count}"))
    if now.error is not None:
        return line(*spans), line(Span(f"! {now.error}", Tone.BAD))
    marked = f"{formats.count(now.marked)} marked" if now.marked else ""
    return line(*spans), line(" · ".join(part for part in (marked, now.order) if part))


def empty(now: Heading, waiting: str | None) -> tuple[Line, ...]:
    """Return what stands in a list without rows; `waiting`: why nothing can be read."""
    if now.error is not None:
        return Line(), line(Span(f"  Not read: {now.error}", Tone.BAD))
    if waiting is not None:
        return Line(), line(Span(f"  {waiting}", Tone.DIM))
    if now.searching or now.total is None:
        return Line(), line(Span("  reading…", Tone.DIM))
    if not now.filter_text:
        return Line(), line("  There is none."), Line(), line("  s   submit a prompt")
    return (
        Line(),
        line("  Nothing fits ", Span(clean(now.filter_text, WHY_LIMIT), Tone.KEY)),
        Line(),
        line(Span("  /     ", Tone.KEY), "change the filter"),
        line(Span("  esc   ", Tone.KEY), now.escape),
    )


def story(found: Mapping[str, Any], live: Live | None, width: int) -> list[Line]:
    """Return why a request is where it is and what happens if nobody acts, in a few lines."""
    own = live if live is not None and live.request_id == found["request_id"] else None
    phase = own.phase if own else request_rows.phase_of(found)
    glyph = formats.phase(phase)
    why, tone = request_rows.why_text(found)
    if own is not None:
        why, tone = clean(own.why, WHY_LIMIT), Tone.PLAIN
    name = f" {name_of(found['request_id'])}  "
    about = why or _ended(found, phase)
    first, *rest = fit.wrap(about, max(20, width - fit.width_of(line(name, glyph)) - 4)) or ("",)
    lines = [line(Span(name, Tone.STRONG), glyph, Span(f"  {first}", tone))]
    lines += [line(Span(f"   {more}", tone)) for more in rest]
    if own is not None and own.if_nobody_acts:
        text = f"If nobody acts: {clean(own.if_nobody_acts, WHY_LIMIT)}"
        lines += [line(f" {row}") for row in fit.wrap(text, max(20, width - 2))]
    if len(lines) > STORY_LINES:
        cut = lines[STORY_LINES - 1]
        lines[STORY_LINES - 1] = fit.clip(Line((*cut.spans, Span(" …"))), width - 1)
    return lines[:STORY_LINES]


def _ended(found: Mapping[str, Any], phase: Phase) -> str:
    at = request_rows.moment(found.get("finished_at"))
    if at is None or phase not in (Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED):
        return ""
    took = found.get("latency_ms")
    return f"at {formats.clock(at)} UTC" + (f", took {formats.latency(took)}" if took else "")


def applies(action_id: str, found: Mapping[str, Any] | None, any_marked: bool) -> bool:
    """Return whether an action does something to the row under the cursor or to marked ones."""
    if action_id in _ON_ROWS:
        return found is not None
    if action_id in ("cancel", "retry") and any_marked:
        return True
    if action_id in ON_UNFINISHED:
        return found is not None and request_rows.unfinished(found)
    if action_id == "retry":
        return found is not None and request_rows.goes_again(found)
    return True
