"""The clean-up: takes away what is over, in small bites.

Whatever is unfinished stays, and so does a result that is in no response file yet. The
sums of usage stay for ever (contract section 9); response files are their user's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from ksi_tui.engine.core import Core
from ksi_tui.engine.lock_keeper import LockKeeper
from ksi_tui.engine.models import State
from ksi_tui.engine.store.base import UsageFolded
from ksi_tui.engine.store.journal import JournalPruned
from ksi_tui.engine.store.upkeep import ActionsRemoved, Expired, RequestsRemoved, SessionsRemoved

DAY_S: Final = 86_400.0
SESSIONS_AT_ONCE: Final = 500
TURNS_AT_ONCE: Final = 5_000
ACTIONS_AT_ONCE: Final = 500
ENTRIES_AT_ONCE: Final = 500
SESSIONS_A_ROUND: Final = 5_000
"""How many sessions one round looks at, going on where the last one stopped."""
LOG_BYTES: Final = 32_000_000
"""A longer write-ahead log is emptied: twice what it holds between two of SQLite's checkpoints."""
REST_FACTOR: Final = 3.0
"""After each transaction it rests so many times as long as that took."""
LONGEST_REST_S: Final = 5.0
"""More would be for a disk that failed meanwhile, which has had its rest."""

log = logging.getLogger(__name__)


class Bite:
    """How many rows one transaction takes: fewer where it was slow, more where it was quick.

    So a bite holds up the requests' writes for about `LONG_S` at most, whatever the disk.
    """

    LEAST: Final = 16
    MOST: Final = 500
    LONG_S: Final = 0.05

    def __init__(self) -> None:
        self.rows = 64

    def took(self, seconds: float) -> None:
        """Learn from a transaction's time."""
        if seconds > self.LONG_S:
            self.rows = max(self.LEAST, self.rows // 2)
        elif seconds < self.LONG_S / 4:
            self.rows = min(self.MOST, self.rows * 2)


class CleanUp:
    """One round after another, each through all steps. What fails is told and does not stop it."""

    def __init__(self, core: Core, locks: LockKeeper) -> None:
        self._core = core
        self._locks = locks
        self._bite = Bite()
        self._after_session = ""
        self._steps: tuple[Callable[[float], Awaitable[None]], ...] = (
            self._expire_locks,
            self._fold_usage,
            self._remove_requests,
            self._remove_sessions,
            self._remove_actions,
            self._prune_journal,
            self._shrink_log,
        )

    async def round(self) -> None:
        """Take every step once; may take long, and may be cancelled at any time."""
        for step in self._steps:
            try:
                await step(self._core.clock())
            except Exception:  # a step's boundary: the others are still to be taken
                log.exception("clean-up: a step failed", extra={"step": step.__name__})
        self._core.upkeep.last_cleanup_at = self._core.clock()

    async def _expire_locks(self, now: float) -> None:
        """Free locks whose alarm was not heard."""
        for lock in list(self._core.locks):
            self._locks.settle(lock.session_id, now)

    async def _fold_usage(self, now: float) -> None:
        await self._core.store.write(UsageFolded(at=now))

    async def _shrink_log(self, _: float) -> None:
        await self._core.store.shrink_log(LOG_BYTES)

    # --- retention ----------------------------------------------------------------------------

    def _before(self, now: float) -> float:
        """Return the time (epoch seconds) before which what is over goes."""
        return now - self._core.config.engine.retention_days * DAY_S

    async def _remove_requests(self, now: float) -> None:
        """Remove requests that finished too long ago, and the sessions that they leave empty."""
        before = self._before(now)
        while expired := await self._remove_some(before):
            await self._remove_deserted([each.session_id for each in expired], before)

    async def _remove_some(self, before: float) -> Sequence[Expired]:
        """Remove the oldest bite of requests; returns them."""
        core = self._core
        async with core.removing:
            await core.store.write()  # what was let go again is on disk before it is looked for
            found = await core.store.expired(
                before, core.upkeep.filed_seq, self._bite.rows, now=core.clock()
            )
            expired = [each for each in found if each.request_id not in core.tickets]
            if not expired:
                return ()
            began = time.monotonic()
            await core.store.write(RequestsRemoved(expired=expired))
            took_s = time.monotonic() - began
        self._forget(expired)
        self._bite.took(took_s)
        await asyncio.sleep(min(LONGEST_REST_S, REST_FACTOR * took_s))
        return expired

    def _forget(self, expired: Sequence[Expired]) -> None:
        core = self._core
        shown = {each.request_id for each in core.recently_ended()}
        for each in expired:
            core.counts[each.state] -= 1
            core.injections.terms.pop(each.request_id, None)
            if each.state is State.COMPLETED:
                core.upkeep.filed -= 1
            if each.request_id in shown:
                core.recent_without(each.request_id)
        core.upkeep.removed_requests += len(expired)

    async def _remove_sessions(self, now: float) -> None:
        """Remove sessions that are empty though no request left them so, some in each round."""
        before = self._before(now)
        for _ in range(SESSIONS_A_ROUND // SESSIONS_AT_ONCE):
            found = await self._core.store.session_ids(self._after_session, SESSIONS_AT_ONCE)
            self._after_session = found[-1] if len(found) == SESSIONS_AT_ONCE else ""
            await self._remove_deserted(found, before)
            if not self._after_session:
                break

    async def _remove_deserted(self, session_ids: Sequence[str], before: float) -> None:
        """Remove those of some sessions that hold nothing and are idle since a time."""
        core = self._core
        deserted = dict(await core.store.deserted(sorted(set(session_ids)), before))
        while deserted:
            some: list[str] = []
            turns = 0
            while deserted and turns < TURNS_AT_ONCE:
                session_id, count = deserted.popitem()
                if core.sessions.get(session_id) is None and core.queue.lane(session_id) is None:
                    some.append(session_id)
                    turns += count
            if not some:
                continue
            began = time.monotonic()
            await core.store.write(SessionsRemoved(session_ids=some, before=before))
            core.upkeep.removed_sessions += len(some)
            await asyncio.sleep(min(LONGEST_REST_S, REST_FACTOR * (time.monotonic() - began)))

    async def _remove_actions(self, now: float) -> None:
        """Remove old actions on what is no request: sessions, locks, providers."""
        after: int | None = 0
        while after is not None:
            old, after = await self._core.store.old_actions(
                after, self._before(now), ACTIONS_AT_ONCE
            )
            if old:
                await self._core.store.write(ActionsRemoved(rows=old))

    async def _prune_journal(self, now: float) -> None:
        """Remove the oldest entries of the journal, in bites."""
        store = self._core.store
        while (upto := await store.prunable(self._before(now), ENTRIES_AT_ONCE)) is not None:
            began = time.monotonic()
            await store.write(JournalPruned(upto=upto))
            await asyncio.sleep(min(LONGEST_REST_S, REST_FACTOR * (time.monotonic() - began)))
