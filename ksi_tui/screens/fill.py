"""Fills the overview's panes from a snapshot: heads, notes and rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ksi_tui.actions import BY_ID, shown_key
from ksi_tui.widgets import formats, rows
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.spans import Line, Span, Tone, line
from ksi_tui.widgets.table import LiveTable
from ksi_tui.widgets.tokens import Past, TokenPane

if TYPE_CHECKING:
    from ksi_tui.client import Snapshot
    from ksi_tui.engine.views import AttentionView
    from ksi_tui.screens.series import Charted

_MOST_PROVIDERS = 8
_PROVIDER_FRAME = 3
_NOTHING_WAITS = Span("√ nothing waits", Tone.OK)
_NOBODY_HOLDS = Span("√ nobody holds a session", Tone.OK)


def attention(
    table: LiveTable,
    calm: Bar,
    snapshot: Snapshot,
    keymap: Mapping[str, str],
    most: int,
    *,
    hidden: bool,
) -> None:
    """Show what needs somebody, `most` rows at a time; nothing at all is one line.

    `hidden`: something else has the whole screen.
    """
    views, total = snapshot.attention, max(snapshot.attention_total, len(snapshot.attention))
    height = min(most, total) + _PROVIDER_FRAME
    styles = table.styles.inline
    if total and (styles.height is None or styles.height.value != height):
        table.styles.height = height
    table.display, calm.display = bool(total) and not hidden, not total and not hidden
    calm.show(line(" ! Attention  ", Span("√ nothing waits longer than usual", Tone.OK)))
    room = None if "HITS" in table.columns_shown else table.rest
    shown = [rows.attention_row(view, best_key(view, keymap), room) for view in views]
    table.set_rows(shown, total=total)
    note = "worst first" if total <= most else f"{_part(table, total)} · worst first"
    table.set_head(f"! Attention  {total}", note)
    table.redraw()


def best_key(view: AttentionView, keymap: Mapping[str, str]) -> str:
    """Return the key that serves a row best, and what it does there."""
    return f"{shown_key(BY_ID[view.action], keymap)} {clean(view.action_label, 40)}"


def active(table: LiveTable, snapshot: Snapshot, offset: int) -> None:
    """Show what runs, is in backoff or ended a moment ago."""
    totals = snapshot.totals
    table.set_rows(
        [rows.active_row(view) for view in snapshot.active],
        offset=offset,
        total=snapshot.active_total,
    )
    note = f"{_part(table, snapshot.active_total)} · worst first" if snapshot.active_total else ""
    table.set_head(f"2 Active  {totals.active} of {totals.capacity}", note)
    table.redraw()


def queues(table: LiveTable, snapshot: Snapshot, offset: int) -> None:
    """Show the sessions that wait."""
    totals = snapshot.totals
    table.set_rows(
        [rows.queue_row(view) for view in snapshot.queues],
        offset=offset,
        total=snapshot.queues_total,
    )
    word = "session" if snapshot.queues_total == 1 else "sessions"
    many = f"{formats.count(totals.queued)} in {snapshot.queues_total} {word}"
    table.set_head(
        f"1 Queues  {many}" if snapshot.queues_total else "1 Queues",
        _part(table, snapshot.queues_total) if snapshot.queues_total else "",
    )
    table.set_empty(Line(), line("  ", _NOTHING_WAITS))
    table.set_calm(line(_NOTHING_WAITS))
    table.redraw()


def locks(table: LiveTable, snapshot: Snapshot) -> None:
    """Show who holds which session."""
    table.set_rows([rows.lock_row(view) for view in snapshot.locks], total=snapshot.locks_total)
    table.set_head(f"4 Locks  {snapshot.locks_total}" if snapshot.locks_total else "4 Locks")
    table.set_empty(Line(), line("  ", _NOBODY_HOLDS))
    table.set_calm(line(_NOBODY_HOLDS))
    table.redraw()


def providers(table: LiveTable, snapshot: Snapshot, *, fixed: bool) -> None:
    """Show the providers; with `fixed` the pane is as high as they are many."""
    height = min(_MOST_PROVIDERS, max(1, len(snapshot.providers))) + _PROVIDER_FRAME
    styles = table.styles.inline
    if fixed and (styles.height is None or styles.height.value != height):
        table.styles.height = height
    elif not fixed and styles.height is not None:
        styles.clear_rule("height")
        table.refresh(layout=True)
    table.set_rows([rows.provider_row(view) for view in snapshot.providers])
    table.redraw()


def tokens(
    pane: TokenPane, snapshot: Snapshot, windows: Line, longer: Charted | str | None
) -> None:
    """Show the trend and today's totals; `longer` is what is known of a longer time than live."""
    past: Past | str | None = None
    if longer is None:
        column_s = snapshot.tokens.step_s if snapshot.tokens and snapshot.tokens.trend else None
    elif isinstance(longer, str):
        past, column_s = longer, None
    else:
        past, column_s = Past(longer.total["tokens"], longer.last, longer.step_s), longer.step_s
    step = f"{formats.age(column_s)} a point  " if column_s is not None else ""
    pane.set_head("5 Tokens", Line((Span(step, Tone.DIM), *windows.spans)))
    pane.show(snapshot.tokens, past)


def _part(table: LiveTable, total: int) -> str:
    return f"{min(table.rows_in_view, total)} of {total}"
