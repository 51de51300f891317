"""One request's chain of causes as lines and rows: links, what moves, what frees, who else.

A view-model's edge: every text of a snapshot passes `clean` here. Which key does what, and
what happens when it is pressed, is the screen's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ksi_tui.engine.states import CircuitLook
from ksi_tui.engine.views import Next
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import WHY_LIMIT, name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line
from ksi_tui.widgets.table import Column, Row

if TYPE_CHECKING:
    from ksi_tui.engine.advice import Remedy, SameRoot
    from ksi_tui.engine.views import Chain, Link, Live, Outlook, ProviderView

REMEDIES = (
    Column(name="KEY", width=5, narrow=3),
    Column(name="WHAT", width=42, narrow=26),
    Column(name="FREES", width=0),
    Column(name="ALSO HITS", width=39, narrow=24, drop=2),
    Column(name="UNDO", width=9, drop=1),
)
SAME = (
    Column(name="SESSION", width=16, elide_middle=True),
    Column(name="REQ", width=5, right=True),
    Column(name="OLDEST", width=6, right=True),
    Column(name="HEAD", width=10, elide_middle=True),
    Column(name="PATH", width=0),
)
_NAME, _SESSION, _AGENT = 16, 14, 12
_EDGES = {
    "behind": "is behind",
    "lock": "needs the lock of",
    "backoff": "waits for its backoff",
    "pause": "is held by a pause",
    "engine": "waits for a slot of",
    "slot": "waits for a slot of",
    "circuit": "can be served first by",
    "cooldown": "can be served first by",
    "rate": "can be served first by",
    "worker": "waits for a worker of",
    "running": "is answered by",
    "no_token": "is answered by",
    "next": "is about to go on",
}


def head_line(live: Live, now: float, width: int) -> Line:
    """Return who waits how long, for what, until when, and how many more do."""
    chain = live.chain
    if chain is None:
        return line(f" {name_of(live.request_id)} has ended: nothing holds it any more")
    waited = formats.age(chain.links[0].queued_s)
    root = clean(chain.root.text, WHY_LIMIT) if chain.root is not None else "not found"
    soon = _soonest(live.moves)
    depth = _count(live)
    runs = live.phase.running and len(chain.links) == 1
    if width < 120:
        has = f" sent {waited} ago · now: " if runs else f" waits {waited} · root: "
        left = line(Span(has, Tone.STRONG), root)
        what = "a clock would end it in ~" if runs else "moves by itself in ~"
        by_itself = what + formats.countdown(soon - now) if soon else depth
        return fit.both_ends(left, line(Span(f"{by_itself} ", Tone.DIM)), width)
    cycle = "A cycle: " if chain.cycle else "Root cause: "
    has = f" runs, sent {waited} ago. Now: " if runs else f" has waited {waited}. {cycle}"
    name, what = name_of(live.request_id), "A clock would end it" if runs else "Moves by itself"
    then = f". {what} in about {formats.countdown(soon - now)}." if soon else "."
    room = width - fit.cells(name + has + then + depth) - 4
    left = line(Span(f" {name}", Tone.STRONG), has, fit.end(root, max(12, room)), then)
    return fit.both_ends(left, line(Span(f"{depth} ", Tone.DIM)), width)


def _count(live: Live) -> str:
    own = sum(row.requests for row in live.same_root if row.session_id == _session(live))
    here = f"{own} wait here, " if own > 1 else ""
    return f"{here}{same_root(live, live.same_root_requests)} on the same root"


def same_root(live: Live, total: int) -> str:
    """Return a total of those that wait for the same root, with `≥` where it is a bound."""
    return f"{'≥ ' if live.same_root_at_least else ''}{formats.count(total)}"


def _session(live: Live) -> str:
    return live.chain.links[0].session_id if live.chain is not None else ""


def _soonest(moves: Sequence[Outlook]) -> float | None:
    return next((move.at for move in moves if move.at is not None), None)


def chain_lines(
    live: Live, providers: Sequence[ProviderView], width: int, room: int | None
) -> list[Line]:
    """Return the chain: what was asked about on top, the root cause at the bottom.

    In `room` lines, where that is given: both ends are then there, the middle goes.
    """
    chain = live.chain
    if chain is None:
        return [line("Nothing holds it any more.")]
    lines: list[Line] = []
    for place, link in enumerate(chain.links):
        if place:
            lines += _edge(chain.links[place - 1], link)
        lines.append(_link(link))
    lines += _root(chain, providers)
    if room is not None and len(lines) > room > 4:
        left_out = len(lines) - room + 1
        more = line(Span(f"│ … {left_out} lines between; tab goes there", Tone.DIM))
        lines = [*lines[:2], more, *lines[-(room - 3) :]]
    return [fit.clip(each, width) for each in lines]


def _link(link: Link) -> Line:
    glyph = formats.PHASES[link.phase]
    agent = f"agent {name_of(link.agent_id)}" if link.agent_id else ""
    state = "queued" if link.phase.value in ("queued", "waiting") else link.phase.value
    return line(
        Span(f"{glyph.text} ", glyph.tone),
        Span(_pad(name_of(link.request_id), _NAME), Tone.STRONG),
        _pad(name_of(link.session_id), _SESSION),
        _pad(agent, _AGENT),
        f"{state} {formats.age(link.queued_s)}",
    )


def _edge(link: Link, onward: Link) -> list[Line]:
    """Return what leads from one request to the next; an inferred edge is dotted."""
    kind = str(link.cause.kind)
    word = line(Span(f"│ {_EDGES.get(kind, 'waits for')}", Tone.DIM))
    if kind != "lock":
        more = f", with {onward.omitted} more between" if onward.omitted else ""
        return [line(Span(f"│ {_EDGES.get(kind, 'waits for')}{more}", Tone.DIM))]
    lock = line(
        Span("○ ", Tone.WARN),
        Span(_pad(f"lock {name_of(link.session_id)}", _NAME), Tone.STRONG),
        clean(link.lock or link.cause.text.removeprefix("lock "), WHY_LIMIT),
    )
    bar = "│" if onward.certain else "¦ likely:"
    return [word, lock, line(Span(f"{bar} {clean(onward.via, WHY_LIMIT)}", Tone.DIM))]


def _root(chain: Chain, providers: Sequence[ProviderView]) -> list[Line]:
    last, root = chain.links[-1], chain.root
    if chain.cycle:
        text = "cycle: it waits for one of those above"
        until = f"; {clean(root.text, WHY_LIMIT)}" if root is not None else ""
        return [line(Span("│ ", Tone.DIM), Span(text + until, Tone.BAD))]
    if root is None:
        return [line(Span("│ and so on: the chain is longer than what is followed", Tone.DIM))]
    kind = str(last.cause.kind)
    edge = line(Span(f"│ {_EDGES.get(kind, 'waits for')}", Tone.DIM))
    if kind == "next":
        return [edge]
    view = next((each for each in providers if each.name == last.cause.target), None)
    if view is not None:
        glyph = formats.circuit(view.circuit)
        bad = view.circuit is not CircuitLook.CLOSED
        since = f"{view.circuit} {formats.age(view.since_s)}, " if bad else ""
        said = clean(view.now if bad and view.now else root.text, WHY_LIMIT)
        shown = line(
            Span(f"{glyph.text[:1]} ", glyph.tone),
            Span(_pad(name_of(view.name), _NAME), Tone.STRONG),
            f"{since}{said}",
        )
    else:
        shown = line(Span("○ ", Tone.WARN), clean(root.text, WHY_LIMIT))
    dotted = (
        [] if root.certain else [line(Span(f"¦ likely: {_occupied(root.occupied_by)}", Tone.DIM))]
    )
    return [edge, shown, *dotted]


def _occupied(request_id: str | None) -> str:
    return f"{name_of(request_id)} has held a slot longest" if request_id else "inferred"


def moves_lines(live: Live, now: float, width: int) -> list[Line]:
    """Return what happens if nobody acts, soonest first; in little room in one line."""
    moves = live.moves or ((live.outlook,) if live.outlook is not None else ())
    if width < 116:
        full = " · ".join(f"{_when(each, now)} {_short(each)}" for each in moves)
        brief = " · ".join(
            f"{_when(each, now).removeprefix('in ')} {_brief(each)}" for each in moves
        )
        return [line(full if fit.cells(full) <= width else fit.items(brief, width))]
    return [
        line(
            Span(_pad(_when(each, now), 11), Tone.DIM),
            _whose(each),
            clean(each.text, WHY_LIMIT),
        )
        for each in moves
    ]


def _when(move: Outlook, now: float) -> str:
    return "–" if move.at is None else f"in {formats.countdown(move.at - now)}"


def _short(move: Outlook) -> str:
    text = clean(move.text, WHY_LIMIT)
    if move.at is not None and text.startswith("in "):
        text = text.split(" ", 3)[-1] if len(text.split(" ", 3)) == 4 else text
    return f"{_whose(move)}{text}"


_MOVES = {
    Next.FIRST_TOKEN_CLOCK: "first-token clock",
    Next.IDLE_CLOCK: "idle clock",
    Next.REPLY_CLOCK: "reply clock",
    Next.DEADLINE: "deadline",
    Next.BACKOFF_ENDS: "backoff ends",
    Next.LOCK_EXPIRES: "lock expires",
    Next.PROBE: "probe",
    Next.COOLDOWN_ENDS: "cooldown ends",
    Next.RATE_ALLOWS: "rate allows it",
    Next.WAIT_ENDS: "wait ends",
}
"""What moves by itself, in two words."""


def _brief(move: Outlook) -> str:
    """Return in two words what moves, and whose it is; what has none says all."""
    words = _MOVES.get(move.what)
    if words is None:
        return _short(move)
    return f"{words} ({name_of(move.request_id)})" if move.request_id else words


def _whose(move: Outlook) -> str:
    """Return whom a text is about; one that names its request itself says all."""
    name = move.request_id
    return f"{name_of(name)}: " if name and name not in move.text else ""


def remedy_key(remedy: Remedy) -> str:
    """Return what a remedy is known by while the list changes."""
    return f"{remedy.action}:{remedy.what}"


def remedy_row(remedy: Remedy, key: str) -> Row:
    """Return a row of what frees a chain; one that would free nothing is dim."""
    tone = Tone.PLAIN if remedy.action else Tone.DIM

    def cell(text: str) -> Span:
        return Span(clean(text, WHY_LIMIT) or formats.NOTHING, tone)

    return Row(
        key=remedy_key(remedy),
        cells=(
            Span(key, Tone.KEY if remedy.action else Tone.DIM),
            cell(remedy.what),
            cell(remedy.frees),
            cell(remedy.also_hits),
            cell(remedy.undo),
        ),
    )


def same_row(view: SameRoot) -> Row:
    """Return the row of a session that waits for the same root."""
    return Row(
        key=view.session_id,
        cells=(
            Span(name_of(view.session_id)),
            Span(formats.count(view.requests)),
            Span(formats.age(view.oldest_s)),
            Span(name_of(view.head_id)),
            Span(clean(view.path, WHY_LIMIT)),
        ),
    )


def plain_lines(live: Live, width: int) -> list[Line]:
    """Return the paragraph in plain words, wrapped."""
    return [line(part) for part in fit.wrap(clean(live.plain, 4000), width)]


def _pad(text: str, width: int) -> str:
    return fit.pad(fit.end(text, width - 1), width)
