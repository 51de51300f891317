"""Keeps conversation locks: grants, frees, renews and ends them on time.

The rules are `session_manager.LockTable`'s; here they meet the store, the alarms and
the subscribers.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from ksi_tui.engine import events
from ksi_tui.engine.actions_taken import taken
from ksi_tui.engine.clock import iso
from ksi_tui.engine.core import Core
from ksi_tui.engine.errors import LockDenied, QueueFull
from ksi_tui.engine.models import Action, Lock
from ksi_tui.engine.payloads import AcquireLock, ReleaseLock
from ksi_tui.engine.store.base import LockGone, LockSaved, SessionSeen, Write
from ksi_tui.engine.ticket import Ticket

MOST_LOCKS: Final = 100_000
"""Locks taken by hand hold for a year where one asks for it; those of requests are few."""


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
        """End a lock whose time is over; one whose request still runs is renewed.

        One by hand passes to its holder's request that runs there and wants a lock.
        """
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
        lane = core.queue.lane(session_id)
        heir = None if lane is None else lane.running
        if heir is not None and not heir.state.final and heir.agent_id == lock.holder:
            writes = self.take_for(heir, now)
            if writes:
                core.store.write(*writes)
                return
        core.store.write(*self.free(session_id, "expired"))

    def take_for(self, ticket: Ticket, now: float) -> list[Write]:
        """Take the lock that a request wants and nobody has; returns the writes that keep it."""
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

    # --- by hand -------------------------------------------------------------------------------

    async def acquire(self, data: AcquireLock) -> dict[str, Any]:
        """Give an agent a session's lock, or extend the one it holds."""
        core = self.core
        now = core.clock()
        hold_s = data.timeout_s or core.config.engine.lock_timeout_s
        self.settle(data.session_id, now)
        if core.locks.get(data.session_id) is None and len(core.locks) >= MOST_LOCKS:
            raise QueueFull(f"{MOST_LOCKS:,} conversations are locked already; release some first")
        lock = core.locks.acquire(data.session_id, data.agent_id, hold_s, now, None)
        core.queue.refresh(data.session_id, now)  # who waits is not to be dispatched any more
        if lock is None:
            held = core.locks.get(data.session_id)
            assert held is not None
            until = iso(held.expires_at)
            return {
                "locked": False,
                "lock_holder": held.holder,
                "expires_at": until,
                "error": f"{held.holder} holds the lock of {data.session_id} until {until}",
                "code": LockDenied.code,
            }
        session = core.sessions.joined(data.session_id, data.agent_id, now)
        seen = SessionSeen(
            session_id=data.session_id,
            created_at=session.created_at,
            last_activity=session.last_activity,
            agent_id=data.agent_id,
        )
        await asyncio.shield(core.store.write(seen, self.grant(lock)))
        core.poke()
        return {
            "locked": True,
            "lock_holder": lock.holder,
            "expires_at": iso(lock.expires_at),
            "extended": lock.extended > 0,
        }

    async def release(self, data: ReleaseLock) -> dict[str, Any]:
        """Free a session's lock: by its holder, or by force."""
        core = self.core
        lock = core.locks.get(data.session_id)
        if lock is None:
            return {"released": False, "reason": f"nobody holds the lock of {data.session_id}"}
        if lock.holder != data.agent_id and not data.force:
            return {
                "released": False,
                "reason": f"{lock.holder} holds it, not {data.agent_id}; force: true frees it",
            }
        forced = lock.holder != data.agent_id
        writes = self.free(data.session_id, "forced" if forced else "released")
        if forced:
            action = Action(
                at=core.clock(),
                name="force lock",
                target=data.session_id,
                by=data.by,
                reason=data.reason,
                detail=f"held by {lock.holder}",
            )
            writes.append(taken(core, action))
        await asyncio.shield(core.store.write(*writes))
        return {"released": True, **({"reason": "forced"} if forced else {})}
