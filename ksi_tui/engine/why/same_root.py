"""Who else waits for the same root cause: sessions, their heads, and how each leads there.

Totals come from the lines of the routes; the list is the oldest of them. Sessions that lead
there through a lock are followed one by one, and only so many of them. Reads only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from ksi_tui.engine.core import Core
from ksi_tui.engine.lanes import Lane
from ksi_tui.engine.models import Cause, CauseKind
from ksi_tui.engine.views import Chain, SameRoot
from ksi_tui.engine.why.causes import Causes
from ksi_tui.engine.why.lock_holder import Holders
from ksi_tui.engine.why.survey import Surveys

SHOWN = 50
"""How many sessions are listed."""
LANES_LOOKED_AT = 5_000
HEADS_LOOKED_AT = 200
LOCKS_LOOKED_AT = 100
STEPS = 10
"""Over how many locks one session is followed."""

_OWN = (CauseKind.RUNNING, CauseKind.NO_TOKEN, CauseKind.NEXT, CauseKind.BACKOFF)
"""Roots that are one request's own: only what waits for that request has the same."""

_Key = tuple[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """Who waits for one root. The totals hold what is not listed too.

    `at_least`: there were more locks than are followed, so that they are lower bounds.
    """

    rows: tuple[SameRoot, ...] = ()
    requests: int = 0
    sessions: int = 0
    at_least: bool = False


class SameRoots:
    """Looks for company."""

    def __init__(self, core: Core, causes: Causes, surveys: Surveys) -> None:
        self._core = core
        self._causes = causes
        self._surveys = surveys

    def of(self, chain: Chain, lanes: Iterable[Lane], now: float) -> Company:
        """Return who shares a chain's root; `lanes` are the sessions that wait, oldest first."""
        root = self._root_of(chain)
        if root is None:
            return Company()
        direct, requests, sessions = self._direct(root, lanes, now)
        led = [row for row in self._led(root, chain, now) if row.session_id not in direct]
        rows = sorted([*direct.values(), *led], key=lambda row: -row.oldest_s)
        return Company(
            rows=tuple(rows[:SHOWN]),
            requests=requests + sum(row.requests for row in led),
            sessions=sessions + len(led),
            at_least=len(self._core.locks) > LOCKS_LOOKED_AT,
        )

    def _root_of(self, chain: Chain) -> _Key | None:
        if chain.root is None:
            return None
        last = chain.links[-1]
        if chain.cycle or last.cause.kind in (*_OWN, CauseKind.LOCK):
            return ("request", last.request_id)
        return str(last.cause.kind), last.cause.target

    # --- those whose head waits for it itself ----------------------------------------------------

    def _direct(
        self, root: _Key, lanes: Iterable[Lane], now: float
    ) -> tuple[dict[str, SameRoot], int, int]:
        """Return them by session as far as they are listed, and how many there are."""
        if root[0] == "request":
            return {}, 0, 0
        crowds = self._surveys.at(now).crowds
        lines = [each.line for each in crowds if _key(each.cause) == root]
        if root == (str(CauseKind.PAUSE), "engine"):
            requests, sessions = self._core.queue.waiting_count, self._core.queue.session_count
        else:
            requests = sum(line.requests for line in lines)
            sessions = sum(line.sessions for line in lines)
        routes = {line.route for line in lines}
        found: dict[str, SameRoot] = {}
        heads = ((lane, lane.head) for lane in islice(lanes, LANES_LOOKED_AT))
        paused = root[0] == CauseKind.PAUSE
        likely = (lane for lane, head in heads if head and (paused or head.route in routes))
        for lane in islice(likely, HEADS_LOOKED_AT):
            if _key(self._causes.cause(lane.waiting[0], now)) == root:
                found[lane.session_id] = _row(lane, "direct", now)
            if len(found) == SHOWN:
                break
        if root[0] == CauseKind.PAUSE and (root[1] or "").startswith("session:"):
            requests = sum(row.requests for row in found.values())
            sessions = len(found)
        return found, requests, sessions

    # --- those that lead there through a lock, or behind what runs ------------------------------

    def _led(self, root: _Key, chain: Chain, now: float) -> list[SameRoot]:
        holders = Holders(self._core)
        sessions = dict.fromkeys(link.session_id for link in chain.links)
        sessions |= dict.fromkeys(
            lock.session_id for lock in islice(self._core.locks, LOCKS_LOOKED_AT)
        )
        rows = []
        for session_id in sessions:
            lane = self._core.queue.lane(session_id)
            if lane is None or lane.head is None:
                continue
            path = self._path(lane, root, holders, now)
            if path is not None:
                rows.append(_row(lane, path, now))
        return rows

    def _path(self, lane: Lane, root: _Key, holders: Holders, now: float) -> str | None:
        """Return how a session leads to the root, in words; None when it leads elsewhere."""
        ticket = lane.head
        steps: list[str] = []
        for _ in range(STEPS):
            if ticket is None:
                return None
            cause = self._causes.cause(ticket, now)
            if root == ("request", ticket.request_id) or _key(cause) == root:
                return ", then ".join(steps) or "direct"
            if cause.kind is CauseKind.BEHIND:
                ahead = self._core.queue.lane(ticket.session_id)
                front = (ahead.running or ahead.head) if ahead is not None else None
                if front is None or front is ticket:
                    return None
                ticket = front
                steps.append(f"behind {front.request_id}")
                continue
            lock = self._core.locks.get(ticket.session_id)
            work = holders.work_of(lock) if lock is not None else None
            if cause.kind is not CauseKind.LOCK or work is None:
                return None
            steps += [f"lock of {cause.target}", work.ticket.request_id]
            ticket = work.ticket
        return None


def _key(cause: Cause) -> _Key:
    return str(cause.kind), cause.target


def _row(lane: Lane, path: str, now: float) -> SameRoot:
    head = lane.waiting[0]
    return SameRoot(
        session_id=lane.session_id,
        requests=len(lane.waiting),
        oldest_s=now - head.queued_at,
        head_id=head.request_id,
        path=path,
    )
