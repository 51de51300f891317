"""Keeps conversation locks: grants, frees, renews and ends them on time.

The rules are `session_manager.LockTable`'s; here they meet the store, the alarms and
the subscribers.
"""

from __future__ import annotations

from ksi_tui.engine import events
from ksi_tui.engine.clock import iso
from ksi_tui.engine.core import Core
from ksi_tui.engine.models import Lock
from ksi_tui.engine.store.base import LockGone, LockSaved, Write
from ksi_tui.engine.ticket import Ticket


class LockKeeper:
    """Changes locks so that everybody who waits for one learns of it."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def grant(self, lock: Lock) -> LockSaved:
        """Announce a granted, extended or renewed lock; returns the write that keeps it."""
        self.core.alarms.set(("lock", lock.session_id), lock.expires_at)
        self.core.publish(
            events.LOCKED,
            {
                "session_id": lock.session_id,
                "agent_id": lock.holder,
                "expires_at": iso(lock.expires_at),
                "extended": lock.extended,
            },
        )
        return LockSaved(lock=lock)

    def free(self, session_id: str, reason: str) -> list[Write]:
        """Take a session's lock away and let whoever waits go on; returns the writes."""
        core = self.core
        lock = core.locks.release(session_id)
        if lock is None:
            return []
        core.alarms.clear(("lock", session_id))
        core.publish(
            events.UNLOCKED,
            {"session_id": session_id, "agent_id": lock.holder, "reason": reason},
        )
        core.queue.refresh(session_id, core.clock())
        self.core.poke()
        return [LockGone(session_id=session_id)]

    def settle(self, session_id: str, now: float) -> None:
        """End or renew a lock whose time is over, where its alarm has not been heard yet."""
        lock = self.core.locks.get(session_id)
        if lock is not None and lock.expires_at <= now:
            self.expire(session_id, now)

    def expire(self, session_id: str, now: float) -> None:
        """End a lock whose time is over; one whose request still runs is renewed."""
        core = self.core
        lock = core.locks.get(session_id)
        if lock is None:
            return
        holder = core.tickets.get(lock.request_id) if lock.request_id else None
        if holder is not None and holder.run is not None and not holder.state.final:
            renewed = core.locks.renew(session_id, now)
            if renewed is not None:
                core.alarms.set(("lock", session_id), renewed.expires_at)
                core.store.write(LockSaved(lock=renewed))
            return
        core.store.write(*self.free(session_id, "expired"))

    def take_for(self, ticket: Ticket, now: float) -> list[Write]:
        """Take the lock that a request wants at its dispatch; returns the writes that keep it."""
        held = self.core.locks.get(ticket.session_id)
        if ticket.lock is None or ticket.agent_id is None:
            return []
        if held is not None and held.expires_at > now:
            return []
        hold_s = ticket.lock.timeout_s
        lock = self.core.locks.acquire(
            ticket.session_id, ticket.agent_id, hold_s, now, ticket.request_id
        )
        return [self.grant(lock)] if lock is not None else []

    def give_back(self, ticket: Ticket) -> None:
        """Free the lock that a request took itself, at its end."""
        lock = self.core.locks.get(ticket.session_id)
        if lock is not None and lock.request_id == ticket.request_id:
            self.core.store.write(*self.free(ticket.session_id, "request ended"))
