"""The columns of the live tables and their rows: a view of the engine becomes clean cells.

This is the view-model's edge: every text of a snapshot passes `clean` here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ksi_tui.engine.states import Phase
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.spans import Span, Tone
from ksi_tui.widgets.table import Column, Row

if TYPE_CHECKING:
    from ksi_tui.engine.views import ActiveView, AttentionView, LockView, ProviderView, QueueView

ID_LIMIT = 200
WHY_LIMIT = 300
_PAUSED = "paused"
"""How the engine's words for a wait begin that a person's pause makes."""

ACTIVE = (
    Column(name="REQUEST", width=8, narrow=7, elide_middle=True),
    Column(name="SESSION", width=14, narrow=11, elide_middle=True),
    Column(name="AGENT", width=6, drop=4),
    Column(name="MODEL (→ not the one asked)", width=27, drop=3, elide_middle=True),
    Column(name="PROVIDER", width=10, drop=9),
    Column(name="PHASE", width=13),
    Column(name="AGE", width=6, right=True),
    Column(name="TTFT", width=5, right=True, drop=1),
    Column(name="TOK", width=5, right=True, drop=2),
    Column(name="TOK/S", width=5, right=True, drop=6),
    Column(name="WHY", width=0),
)
QUEUES = (
    Column(name="SESSION", width=14, narrow=12, elide_middle=True),
    Column(name="DEPTH", width=5, right=True),
    Column(name="OLDEST", width=6, right=True),
    Column(name="STATE", width=10),
    Column(name="WHY (of its head)", width=0),
)
PROVIDERS = (
    Column(name="PROVIDER", width=11, narrow=10, elide_middle=True),
    Column(name="CIRCUIT", width=11),
    Column(name="SINCE", width=6, right=True),
    Column(name="OK 5m", width=5, right=True),
    Column(name="REQ/S 15 MIN", width=15, drop=2),
    Column(name="P50", width=5, right=True, drop=4),
    Column(name="P95", width=5, right=True, drop=5),
    Column(name="TTFT", width=5, right=True, drop=3),
    Column(name="TOK/S", width=5, right=True, drop=1),
    Column(name="FLIGHT", width=6, right=True),
    Column(name="$/H", width=6, right=True, drop=6),
    Column(name="NOW", width=0),
)
LOCKS = (
    Column(name="SESSION", width=10, elide_middle=True),
    Column(name="HOLDER", width=7, elide_middle=True),
    Column(name="LEFT", width=4, right=True),
    Column(name="EXT", width=3, right=True, drop=1),
    Column(name="WAIT", width=4, right=True),
    Column(name="HOLDER DOES", width=0),
)


ATTENTION = (
    Column(name="WHAT", width=13, narrow=12, elide_middle=True),
    Column(name="STATE", width=13, narrow=11),
    Column(name="FOR", width=6, right=True),
    Column(name="WHY", width=0, narrow=44),
    Column(name="HITS", width=22, drop=1),
    Column(name="BEST KEY", width=20, drop=2),
)


def name_of(text: str | None) -> str:
    """Return an id or name from outside, safe, or the sign for nothing."""
    return clean(text, ID_LIMIT) if text else formats.NOTHING


def active_row(view: ActiveView) -> Row:
    """Return the row of a request that runs."""
    phase = formats.phase(view.phase)
    model = name_of(view.model)
    return Row(
        key=view.request_id,
        cells=(
            Span(name_of(view.request_id)),
            Span(name_of(view.session_id)),
            Span(name_of(view.agent_id)),
            Span(f"→ {model}" if view.substituted else model, _model_tone(view)),
            Span(name_of(view.provider)),
            phase,
            Span(formats.age(view.age_s)),
            Span(formats.age(view.ttft_s)),
            Span(formats.count(view.tokens) if view.tokens else formats.NOTHING),
            Span(formats.rate(view.tokens_per_s)),
            _why(view.why),
        ),
    )


def _model_tone(view: ActiveView) -> Tone:
    return Tone.WARN if view.substituted else Tone.PLAIN


def _why(text: str) -> Span:
    return Span(clean(text, WHY_LIMIT)) if text else Span(formats.NOTHING, Tone.DIM)


def active_hidden(view: ActiveView, shown: frozenset[str]) -> str:
    """Return the line that says what the hidden columns of a row hold."""
    parts: list[str] = []
    if "MODEL (→ not the one asked)" not in shown:
        asked, model = name_of(view.asked_model), name_of(view.model)
        parts.append(f"asked {asked}, gets {model}" if view.substituted else model)
    if "AGENT" not in shown and view.agent_id:
        parts.append(f"agent {name_of(view.agent_id)}")
    if "PROVIDER" not in shown and view.provider:
        parts.append(f"at {name_of(view.provider)}")
    if "TOK" not in shown:
        parts.append(f"{formats.count(view.tokens)} tokens")
    if "TTFT" not in shown and view.ttft_s is not None:
        parts.append(f"first after {formats.age(view.ttft_s)}")
    if view.attempt > 1:
        parts.append(f"attempt {view.attempt} of {view.max_attempts}")
    return f"{name_of(view.request_id)}: {' · '.join(parts)}" if parts else ""


def attention_row(view: AttentionView, best_key: str, why_room: int | None) -> Row:
    """Return a row of Attention; what it hits joins its why where that has no column.

    `why_room` is how many cells the why has in that case, else None.
    """
    glyph = formats.attention(view.kind, view.look)
    why, hits = clean(view.why, WHY_LIMIT) or formats.NOTHING, clean(view.hits, ID_LIMIT)
    if why_room is not None and hits:
        why = _why_and_hits(why, hits, why_room)
    return Row(
        key=view.key,
        cells=(
            Span(name_of(view.what)),
            Span(f"{glyph.text} {clean(view.state, ID_LIMIT)}", glyph.tone),
            Span(formats.age(view.for_s)),
            Span(why),
            Span(hits or formats.NOTHING),
            Span(best_key, Tone.KEY),
        ),
    )


def _why_and_hits(why: str, hits: str, room: int) -> str:
    """Return both in `room` cells: of what it hits at least the first number, `62 req`."""
    if fit.cells(why) + fit.cells(hits) + 2 > room:
        hits = " ".join(hits.removeprefix("≥ ").split(" ")[:2]).rstrip(",")
    return f"{fit.end(why, max(8, room - fit.cells(hits) - 2))}; {hits}"


def attention_hidden(view: AttentionView, best_key: str) -> str:
    """Return the line that says what the hidden columns of a row of Attention hold."""
    parts = [best_key, clean(view.hits, ID_LIMIT), clean(view.why, WHY_LIMIT)]
    return f"{name_of(view.what)}: {' · '.join(part for part in parts if part)}"


def queue_row(view: QueueView) -> Row:
    """Return the row of a session with unfinished requests."""
    head = name_of(view.head_id)
    why = clean(view.why, WHY_LIMIT) or formats.NOTHING
    held = view.phase is Phase.WAITING and why.startswith(_PAUSED)
    own = view.phase in (Phase.WAITING, Phase.RETRYING) and not held and not why.startswith(head)
    named = f"{head}: {why}" if own and view.head_id else why
    return Row(
        key=view.session_id,
        cells=(
            Span(name_of(view.session_id)),
            Span(formats.count(view.depth)),
            Span(formats.age(view.oldest_s)),
            formats.PAUSED if held else formats.phase(view.phase),
            Span(named.removeprefix(_PAUSED).lstrip() or formats.NOTHING if held else named),
        ),
    )


def provider_row(view: ProviderView) -> Row:
    """Return the row of a provider."""
    ok_tone = Tone.BAD if view.ok_rate is not None and view.ok_rate < 0.9 else Tone.PLAIN
    flight = f"{view.in_flight}/{view.max_concurrency}" if view.max_concurrency else None
    return Row(
        key=view.name,
        cells=(
            Span(name_of(view.name)),
            formats.circuit(view.circuit),
            Span(formats.age(view.since_s)),
            Span(formats.percent(view.ok_rate), ok_tone),
            Span(formats.spark(view.per_minute, 15), Tone.BUSY),
            Span(formats.latency(view.p50_ms)),
            Span(formats.latency(view.p95_ms)),
            Span(formats.latency(view.ttft_ms)),
            Span(formats.rate(view.tokens_per_s)),
            Span(flight or formats.count(view.in_flight)),
            Span(formats.per_hour(view.cost_per_h, unpriced=view.unpriced)),
            _why(view.now),
        ),
    )


def lock_row(view: LockView) -> Row:
    """Return the row of a conversation lock."""
    glyph = formats.PHASES[view.doing_phase] if view.doing_phase else None
    doing = clean(view.doing, WHY_LIMIT) or formats.NOTHING
    return Row(
        key=view.session_id,
        cells=(
            Span(name_of(view.session_id)),
            Span(name_of(view.holder)),
            Span(formats.countdown(view.left_s)),
            Span(f"{view.extended}x" if view.extended else formats.NOTHING),
            Span(formats.count(view.waiting)),
            Span(f"{glyph.text} {doing}", glyph.tone) if glyph else Span(doing),
        ),
    )
