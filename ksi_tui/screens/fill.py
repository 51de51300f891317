"""Fills the overview's panes from a snapshot: heads, notes and rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ksi_tui.widgets import formats, rows
from ksi_tui.widgets.table import LiveTable
from ksi_tui.widgets.tokens import TokenPane

if TYPE_CHECKING:
    from ksi_tui.client import Snapshot
    from ksi_tui.engine.views import TokenView

_MOST_PROVIDERS = 8
_PROVIDER_FRAME = 3


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
    table.set_head(
        f"1 Queues  {formats.count(totals.queued)} in {snapshot.queues_total} {word}",
        _part(table, snapshot.queues_total) if snapshot.queues_total else "",
    )
    table.redraw()


def locks(table: LiveTable, snapshot: Snapshot) -> None:
    """Show who holds which session."""
    table.set_rows([rows.lock_row(view) for view in snapshot.locks], total=snapshot.locks_total)
    table.set_head(f"4 Locks  {snapshot.locks_total}")
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


def tokens(pane: TokenPane, snapshot: Snapshot) -> None:
    """Show the trend and today's totals."""
    pane.set_head("5 Tokens", _span(snapshot.tokens, pane.chart_points))
    pane.show(snapshot.tokens)


def _part(table: LiveTable, total: int) -> str:
    return f"{min(table.rows_in_view, total)} of {total}"


def _span(view: TokenView | None, points: int) -> str:
    if view is None or not view.trend:
        return ""
    shown = min(points, len(view.trend))
    return f"last {formats.age(shown * view.step_s)}, {formats.age(view.step_s)} a column"
