"""Attempts that did not come to their end: one that has to wait, and one that was cut short.

Pure questions; what follows from their answers is drawn in `conclusions`.
"""

from __future__ import annotations

from ksi_tui.engine.errors import POLICY, ErrorKind
from ksi_tui.engine.live_call import Run
from ksi_tui.engine.models import AttemptRecord
from ksi_tui.engine.provider_manager import Hopeless, ProviderManager
from ksi_tui.engine.ticket import Route, Ticket


def route_to_the_rest(run: Run, providers: ProviderManager, now: float) -> Route | None:
    """Return the route to the candidates that were only busy or sick; None without any.

    They are waited for where nobody else may be asked again: errors that are not retried
    do not end an attempt that has not come to everybody.
    """
    policies = [POLICY[fault.kind] for fault in run.faults]
    if run.broken_stream or any(each.retried or not each.fails_over for each in policies):
        return None
    route = run.ticket.route
    called = {live.entry.name for live in run.calls}
    rest = route._replace(avoid=route.avoid | called)
    return None if isinstance(providers.check(rest, now), Hopeless) else rest


def cut_short(ticket: Ticket, now: float) -> AttemptRecord:
    """Return what is known of the attempt that ran when the engine died.

    It began when the deadline had run for `spent_s`: then, or later where that had stood still.
    """
    return AttemptRecord(
        request_id=ticket.request_id,
        attempt=ticket.walks,
        started_at=min(now, (ticket.started_at or now) + ticket.spent_s),
        finished_at=now,
        error_kind=ErrorKind.DAEMON_RESTART,
        spent=False,
    )
