"""What a deed on requests hits, in words and lines; pure, and the edge where texts are cleaned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ksi_tui.screens.dialogs.hits import Hit, Hits, Reach, Scope
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line

_SHOWN_CHANGES = 3
_WORDS = {"processing": "running", "retrying": "in backoff"}


def many(count: int, what: str = "request") -> str:
    """Return a number of things: `1 request`, `3 requests`."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def named(identifier: str | None, width: int = 24) -> str:
    """Return an id from outside, safe and short enough for a sentence."""
    return fit.middle(name_of(identifier), width)


def scope_label(scope: Scope, reach: Reach, total: int | None, *, wide: bool) -> str:
    """Return a scope as a choice offers it; `total` is how many it reaches, where that is known."""
    count = "" if total is None else f" ({total:,})"
    if scope is Scope.ONE:
        return f"{named(reach.request_id, 16)} only"
    if scope is Scope.SESSION:
        word = "whole session" if wide or len(reach.scopes) < 3 else "session"
        return f"{word} {named(reach.session_id)}{count}"
    if scope is Scope.MARKED:
        return f"{len(reach.marked):,} marked"
    return f"all that match{count}"


def scope_name(scope: Scope, reach: Reach, total: int, *, wide: bool) -> str:
    """Return whose requests they are, for a heading: ` of session globex-7`."""
    if scope in (Scope.ONE, Scope.SESSION) and reach.session_id:
        return f" of {'session ' if wide else ''}{named(reach.session_id)}"
    if scope is Scope.MARKED:
        return " that is marked" if total == 1 else " that are marked"
    if scope is Scope.MATCHING:
        return " that matches" if total == 1 else " that match"
    return ""


def table(hits: Hits, happens: str = "WHAT HAPPENS") -> list[Line]:
    """Return the heading of a table of requests."""
    head = f" {'REQUEST':<9}{'IS':<13}{'TOKENS':>8}{'SPENT':>9} {happens}"
    more = hits.total - len(hits.shown)
    rest = [line(Span(f" and {more:,} more: {in_states(hits)}", Tone.DIM))] if more > 0 else []
    return [line(Span(head, Tone.DIM)), *(hit_line(hit) for hit in hits.shown), *rest]


def in_states(hits: Hits) -> str:
    """Return how many of those not listed are in which state, as far as that was read."""
    counts = counted(hits.unlisted)
    unread = hits.unread
    return f"{counts}, {unread:,} not looked at" if unread and counts else counts or "not looked at"


def counted(counts: Mapping[str, int]) -> str:
    """Return counts by state in words: `1 running and 2 queued`."""
    order = ("processing", "retrying", "queued")
    known = [state for state in order if counts.get(state)]
    known += sorted(state for state in counts if state not in order and counts[state])
    parts = [f"{counts[state]:,} {_WORDS.get(state, name_of(state))}" for state in known]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def hit_line(hit: Hit) -> Line:
    """Return what one is doing and what happens to it when it is stopped."""
    phase = formats.phase(hit.phase)
    tokens = formats.NOTHING
    if hit.tokens:
        tokens = (
            f"{hit.tokens:,} est." if hit.tokens < 1000 else f"{formats.count(hit.tokens)} est."
        )
    return line(
        f" {fit.pad(named(hit.request_id, 8), 8)} ",
        Span(fit.pad(phase.text, 13), phase.tone),
        f"{tokens:>8}{money_spent(hit):>9} {what_happens(hit)}",
    )


def money_spent(hit: Hit) -> str:
    """Return what one has cost: estimated while it runs, nothing to say when it was never sent."""
    if not hit.called:
        return formats.NOTHING
    if hit.spent is None:
        return "unpr."
    return f"~{formats.money(hit.spent)}" if hit.phase.running else formats.money(hit.spent)


def what_happens(hit: Hit) -> str:
    """Return what stopping does to one request."""
    if hit.status in ("failed", "cancelled", "completed"):
        return "starts anew"
    if hit.phase.running:
        return "close stream, keep text"
    if hit.status == "retrying":
        return "no further attempt"
    return "not sent again" if hit.called else "never sent"


def frees(hits: Hits, session_id: str | None) -> str:
    """Return what stopping these gives back, also those that are not listed."""
    slots = Counter(hit.provider for hit in hits.shown if hit.provider is not None)
    parts = [f"{many(count, 'slot')} at {name_of(who)}" for who, count in slots.items()]
    running = hits.unlisted["processing"]
    if running:
        parts.append(f"{many(running, 'more slot' if slots else 'slot')} of those not listed")
    if hits.lock_holder and hits.lock_is_theirs:
        parts.append(f"the lock of {named(hits.lock_holder)} on {named(session_id)}")
    elif hits.lock_holder:
        parts.append(f"not the lock of {named(hits.lock_holder)}: it was taken by hand")
    waiting = hits.total - hits.unread - sum(slots.values()) - running
    if waiting > 0 and not slots and not running:
        parts.insert(0, "its place in the queue" if waiting == 1 else "their places in the queue")
    if hits.unread:
        parts.append(f"what {hits.unread:,} not looked at hold")
    return ", ".join(parts) or "nothing else"


def undo_promise(hits: Hits) -> str:
    """Return what undoing a stop would do, also to those that are not listed."""
    anew = [hit for hit in hits.shown if hit.called]
    count = len(anew) + hits.unlisted["processing"] + hits.unlisted["retrying"]
    told = "u within 10 min: back in place"
    if hits.unread:
        return f"{told}, what was sent starts anew: {count:,} of those looked at"
    if not count:
        return told
    if count == 1 and anew:
        return f"{told}, {named(anew[0].request_id)} starts anew"
    return f"{told}, {count:,} {'starts' if count == 1 else 'start'} anew"


def changes(before: Hits, after: Hits) -> list[str]:
    """Return how two readings differ, in sentences; empty when they don't."""
    was, now = before.states, after.states
    said = [f"{named(each)} {_ended(each, after)}." for each in was if each not in now]
    said += [f"{named(each)} is new." for each in now if each not in was]
    doing = {hit.request_id: hit for hit in after.shown}
    said += [
        f"{named(each)} {_turned(now[each], doing.get(each))}."
        for each in was
        if each in now and now[each] != was[each]
    ]
    if not said and before.total != after.total:
        said = [f"It was {many(before.total)}, now it is {after.total:,}."]
    more = len(said) - _SHOWN_CHANGES
    return [*said[:_SHOWN_CHANGES], *([f"And {more} more."] if more > 0 else [])]


def _ended(request_id: str, after: Hits) -> str:
    status = after.ended.get(request_id)
    return {
        "completed": "got its last token and completed",
        "failed": "failed",
        "cancelled": "was cancelled by somebody else",
    }.get(status or "", "ended by itself")


def _turned(status: str, hit: Hit | None) -> str:
    if status == "processing":
        return f"now runs on {name_of(hit.provider)}" if hit and hit.provider else "now runs"
    return f"is now {_WORDS.get(status, name_of(status))}"
