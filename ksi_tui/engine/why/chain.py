"""The chain of causes from a waiting request to its root.

Walks from request to request over their causes, worked out when somebody asks. What one
request's cause is, `causes` says; what the chain means for the future, `outlook`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ksi_tui.engine.clock import time_of_day
from ksi_tui.engine.core import Core
from ksi_tui.engine.live_call import LiveCall
from ksi_tui.engine.models import Cause, CauseKind, Lock
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.views import Chain, Link, Root
from ksi_tui.engine.why.causes import NOT_A_SLOT, Causes, open_calls, seconds
from ksi_tui.engine.why.lock_holder import work_of

MAX_LINKS = 100
"""How far a chain is followed."""
SHOWN_OF_A_SESSION = 10
"""How many requests of one session are listed one by one; then its first one follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """The next request of a chain, and how the walk came to it."""

    ticket: Ticket
    via: str = ""
    certain: bool = True
    omitted: int = 0


class Chains:
    """Follows causes. Costs O(links), whatever waits."""

    def __init__(self, core: Core, causes: Causes) -> None:
        self._core = core
        self._causes = causes

    def chain(self, ticket: Ticket, now: float) -> Chain:
        """Return the chain from an unfinished request to its root."""
        links: list[Link] = []
        seen: dict[str, int] = {}
        step, in_session = _Step(ticket=ticket), 0
        while True:
            link = self._link(step, now)
            if link.request_id in seen:
                return self._cycle(links, link, seen[link.request_id], now)
            if len(links) == MAX_LINKS:
                text = f"{_sentence(links)}: and more than {MAX_LINKS} behind each other"
                return Chain(links=tuple(links), root=None, cycle=False, text=text)
            seen[link.request_id] = len(links)
            links.append(link)
            in_session = in_session + 1 if link.cause.kind is CauseKind.BEHIND else 0
            onward = self._onward(step.ticket, link.cause, in_session)
            if onward is None:
                root = self._root(link.cause, now)
                text = f"{_sentence(links)}: {root.text}"
                return Chain(links=tuple(links), root=root, cycle=False, text=text)
            step = onward

    def _link(self, step: _Step, now: float) -> Link:
        ticket, cause = step.ticket, self._causes.cause(step.ticket, now)
        lock = self._core.locks.get(ticket.session_id) if cause.kind is CauseKind.LOCK else None
        return Link(
            request_id=ticket.request_id,
            session_id=ticket.session_id,
            agent_id=ticket.agent_id,
            status=str(ticket.state),
            phase=self._causes.phase(ticket, now),
            cause=cause,
            queued_s=now - ticket.queued_at,
            via=step.via,
            certain=step.certain,
            omitted=step.omitted,
            lock="" if lock is None else _lock_words(lock, now),
        )

    def _onward(self, ticket: Ticket, cause: Cause, in_session: int) -> _Step | None:
        """Return the request that this one waits for, or None where the cause is a root."""
        if cause.kind is CauseKind.BEHIND:
            return self._ahead(ticket, jump=in_session >= SHOWN_OF_A_SESSION)
        lock = self._core.locks.get(ticket.session_id)
        if cause.kind is not CauseKind.LOCK or lock is None:
            return None
        work = work_of(self._core, lock)
        if work is None:
            return None
        name = work.ticket.request_id
        via = f"which {name} took" if work.certain else f"probably busy with {name}"
        return _Step(ticket=work.ticket, via=via, certain=work.certain)

    def _ahead(self, ticket: Ticket, *, jump: bool) -> _Step | None:
        queue = self._core.queue
        ahead, lane = queue.ahead(ticket), queue.lane(ticket.session_id)
        if ahead is None or lane is None:
            return None
        omitted = 0
        front = lane.running or lane.head
        if jump and front is not None and front is not ahead:
            omitted = queue.position(ticket) - (1 if lane.running is not None else 2)
            ahead = front
        return _Step(ticket=ahead, via=f"{ahead.request_id} is ahead", omitted=omitted)

    # --- roots -------------------------------------------------------------------------------

    def _root(self, cause: Cause, now: float) -> Root:
        text, occupant = cause.text, None
        if cause.kind is CauseKind.LOCK and cause.until is not None:
            left = seconds(cause.until - now)
            text = f"lock held by {cause.target}, who has nothing running; expires in {left}"
        elif cause.kind in (CauseKind.SLOT, CauseKind.ENGINE):
            longest = self._longest(cause)
            if longest is not None:
                occupant = longest.run.ticket.request_id
                text += f", longest by {occupant}: {seconds(now - longest.started_at)}"
        return Root(
            kind=str(cause.kind),
            target=cause.target,
            until=cause.until,
            certain=cause.certain and occupant is None,
            text=text,
            occupied_by=occupant,
        )

    def _longest(self, cause: Cause) -> LiveCall | None:
        """Return the call that has held a slot of what is full longest."""
        if cause.target in NOT_A_SLOT:
            return None
        calls = open_calls(self._core, cause.target)
        return min(calls, key=lambda call: call.started_at, default=None)

    def _cycle(self, links: list[Link], again: Link, first: int, now: float) -> Chain:
        """End a chain that came back to one of its own links."""
        locks = [
            lock
            for link in links[first:]
            if link.cause.kind is CauseKind.LOCK
            and (lock := self._core.locks.get(link.session_id)) is not None
        ]
        root = _first_to_expire(locks, now) if locks else None
        text = f"{_sentence([*links, again])}: a cycle"
        text += f"; {root.text} and ends it" if root is not None else ""
        return Chain(links=tuple(links), root=root, cycle=True, text=text)


def _lock_words(lock: Lock, now: float) -> str:
    since, left = time_of_day(lock.granted_at), seconds(lock.expires_at - now)
    extended = f", extended {lock.extended}x" if lock.extended else ""
    return f"held by {lock.holder} since {since}, {left} left{extended}"


def _first_to_expire(locks: list[Lock], now: float) -> Root:
    lock = min(locks, key=lambda each: each.expires_at)
    left = seconds(lock.expires_at - now)
    return Root(
        kind=str(CauseKind.LOCK),
        target=lock.holder,
        until=lock.expires_at,
        certain=True,
        text=f"the lock of {lock.holder} on {lock.session_id} expires in {left}",
    )


def _sentence(links: list[Link]) -> str:
    """Return who waits for whom in words; of those behind each other only the ends."""
    text = links[0].request_id
    for index, link in enumerate(links[:-1]):
        following = links[index + 1]
        if link.cause.kind is CauseKind.BEHIND:
            if following.cause.kind is CauseKind.BEHIND and index + 2 < len(links):
                continue
            clause = f"is behind {following.request_id}"
        else:
            clause = f"waits for the lock of {link.cause.target}, {following.via}"
        text += f" {clause}" if text == links[0].request_id else f", which {clause}"
    return text
