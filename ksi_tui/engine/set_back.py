"""A wall clock set back while no engine ran: what an earlier life left for later comes too late.

The engine's clock never jumps while it runs (`clock`), but each life begins at the wall clock's.
What has happened cannot lie ahead; where it does, what was to come is moved back by as much. It
is a lower bound: nothing comes sooner than it was to come. Providers see to their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ksi_tui.engine.models import Lock
from ksi_tui.engine.store.records import Recovery


def set_back_s(recovery: Recovery, now: float) -> float:
    """Return by how many seconds at least the clock was set back, 0 where nothing tells of it."""
    return max(0.0, max(_happened(recovery), default=now) - now)


def _happened(recovery: Recovery) -> Iterator[float]:
    """Yield moments that were the present of an earlier life (epoch seconds of its clock)."""
    for request in recovery.unfinished:
        yield request.queued_at
        if request.started_at is not None:
            yield request.started_at + request.spent_s
    for lock in recovery.locks:
        yield lock.granted_at
    for session in recovery.sessions:
        yield session.last_activity


def earlier(locks: Iterable[Lock], by_s: float) -> list[Lock]:
    """Return locks as if they had been granted, and ended, so many seconds earlier."""
    return [
        replace(lock, granted_at=lock.granted_at - by_s, expires_at=lock.expires_at - by_s)
        for lock in locks
    ]
