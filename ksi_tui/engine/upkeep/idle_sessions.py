"""Ends sessions in which nothing happens: what is kept of them in memory, not their record.

Names come from outside and are endless: beyond a bound the longest idle end before their time,
and come back with their next request as any ended one does.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import Final

from ksi_tui.engine.core import Core
from ksi_tui.engine.session_manager import Session
from ksi_tui.engine.store.base import SessionSeen

MOST_LIVE: Final = 100_000
"""Sessions that are kept in memory, those that are busy aside; measured: 0.8 KB each."""
AT_ONCE: Final = 1_000
"""So many end in one turn of the loop: 10 ms."""


def end_idle_sessions(core: Core, now: float, idle_s: float) -> bool:
    """End those idle for `idle_s`, and the longest idle beyond the bound; True: there are more."""
    ending = _to_end(core, now - idle_s)
    for session in ending:
        core.sessions.end(session.session_id)
        core.store.write(
            SessionSeen(
                session_id=session.session_id,
                created_at=session.created_at,
                last_activity=session.last_activity,
                ended_at=now,
            )
        )
    return len(ending) == AT_ONCE


def _to_end(core: Core, before: float) -> list[Session]:
    idle = [each for each in core.sessions.idle_since(before) if not _busy(core, each)]
    excess = len(core.sessions) - len(idle) - MOST_LIVE
    if excess <= 0:
        return idle[:AT_ONCE]
    free = (each for each in core.sessions if not _busy(core, each))
    # Those that are idle are the first of them.
    return nsmallest(min(len(idle) + excess, AT_ONCE), free, key=lambda each: each.last_activity)


def _busy(core: Core, session: Session) -> bool:
    session_id = session.session_id
    return (
        core.queue.lane(session_id) is not None
        or core.locks.get(session_id) is not None
        or core.pauses.session(session_id) is not None
    )
