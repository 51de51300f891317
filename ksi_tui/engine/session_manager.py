"""Sessions, the agents in them, and conversation locks.

Pure policy: no I/O, no clock of its own. The service writes down what changes here
and re-evaluates the queue where a lock changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from ksi_tui.engine.models import Lock

RENEWED_S = 1.0
"""For how long at least the lock of a running request is renewed."""


@dataclass(slots=True, kw_only=True)
class Session:
    """A live session. Its requests and totals are in the store.

    `turn_count` None: nobody has looked into the store for earlier turns yet.
    """

    session_id: str
    created_at: float
    last_activity: float
    request_count: int = 0
    turn_count: int | None = None
    agents: set[str] = field(default_factory=set)


class SessionManager:
    """Live sessions and the two-way map between agents and sessions."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._of_agent: dict[str, set[str]] = {}

    def get(self, session_id: str) -> Session | None:
        """Return a live session, or None."""
        return self._sessions.get(session_id)

    def seen(self, session_id: str, agent_id: str | None, now: float) -> Session:
        """Return the session of a request, created if need be, with its activity noted."""
        session = self.joined(session_id, agent_id, now)
        session.last_activity = now
        return session

    def joined(self, session_id: str, agent_id: str | None, now: float) -> Session:
        """Return the session, created if need be, with the agent in it.

        That is no activity: a session ends so long after its last request (contract section 6).
        """
        session = self._sessions.get(session_id)
        if session is None:
            session = Session(session_id=session_id, created_at=now, last_activity=now)
            self._sessions[session_id] = session
        if agent_id is not None and agent_id not in session.agents:
            self._join(session, agent_id)
        return session

    def restore(self, session: Session) -> None:
        """Bring back a session as the store knows it."""
        self._sessions[session.session_id] = session
        for agent_id in session.agents:
            self._of_agent.setdefault(agent_id, set()).add(session.session_id)

    def _join(self, session: Session, agent_id: str) -> None:
        session.agents.add(agent_id)
        self._of_agent.setdefault(agent_id, set()).add(session.session_id)

    def sessions_of(self, agent_id: str, limit: int | None = None) -> frozenset[str]:
        """Return the live sessions an agent has sent requests to; any `limit` of them."""
        return frozenset(islice(self._of_agent.get(agent_id, ()), limit))

    @property
    def agent_count(self) -> int:
        """How many agents have a live session."""
        return len(self._of_agent)

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())

    def idle_since(self, before: float) -> list[Session]:
        """Return the sessions without activity since `before`."""
        return [s for s in self._sessions.values() if s.last_activity < before]

    def end(self, session_id: str) -> Session | None:
        """Forget a live session; its record stays in the store. Returns what was forgotten."""
        session = self._sessions.pop(session_id, None)
        for agent_id in session.agents if session else ():
            sessions = self._of_agent[agent_id]
            sessions.discard(session_id)
            if not sessions:
                del self._of_agent[agent_id]
        return session


class LockTable:
    """Conversation locks: one holder a session, until an expiry."""

    def __init__(self) -> None:
        self._locks: dict[str, Lock] = {}

    def get(self, session_id: str) -> Lock | None:
        """Return a session's lock, or None."""
        return self._locks.get(session_id)

    def __iter__(self) -> Iterator[Lock]:
        return iter(self._locks.values())

    def __len__(self) -> int:
        return len(self._locks)

    def blocks(self, session_id: str, agent_id: str | None, now: float) -> Lock | None:
        """Return the lock that keeps an agent's request of this session waiting, or None."""
        lock = self._locks.get(session_id)
        if lock is None or lock.holder == agent_id or lock.expires_at <= now:
            return None
        return lock

    def acquire(
        self, session_id: str, agent_id: str, hold_s: float, now: float, request_id: str | None
    ) -> Lock | None:
        """Grant or extend a lock for `hold_s` seconds; None when another agent holds it.

        An extension by hand turns a request's lock into the agent's own, so that the
        end of the request does not take it away; a request never takes over a lock.
        """
        held = self._locks.get(session_id)
        if held is not None and held.expires_at > now:
            if held.holder != agent_id:
                return None
            lock = replace(
                held,
                expires_at=max(held.expires_at, now + hold_s),
                hold_s=hold_s,
                extended=held.extended + 1,
                request_id=held.request_id if request_id is not None else None,
            )
        else:
            lock = Lock(
                session_id=session_id,
                holder=agent_id,
                granted_at=now,
                expires_at=now + hold_s,
                hold_s=hold_s,
                request_id=request_id,
            )
        self._locks[session_id] = lock
        return lock

    def renew(self, session_id: str, now: float) -> Lock | None:
        """Prolong the lock of a request that still runs by its hold time; no extension by hand.

        It ends with its request: a hold that is next to nothing is not renewed all the time.
        """
        held = self._locks.get(session_id)
        if held is None:
            return None
        expires_at = now + max(held.hold_s, RENEWED_S)
        lock = self._locks[session_id] = replace(held, expires_at=expires_at)
        return lock

    def restore(self, lock: Lock) -> None:
        """Bring back a lock as the store knows it."""
        self._locks[lock.session_id] = lock

    def release(self, session_id: str) -> Lock | None:
        """Take a lock away; returns it."""
        return self._locks.pop(session_id, None)
