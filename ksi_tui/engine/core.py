"""What the engine's duties share: the parts, the tickets and the counters.

State and its bookkeeping only. Each duty (taking requests in, running them,
intervening, answering questions) is a module of its own that works on this.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ksi_tui.config import Config
from ksi_tui.engine import events
from ksi_tui.engine.alarms import Alarms
from ksi_tui.engine.clock import Clock
from ksi_tui.engine.diversions import Diversions
from ksi_tui.engine.events import Router
from ksi_tui.engine.injection.pending import PendingInjections
from ksi_tui.engine.models import State
from ksi_tui.engine.pauses import PauseTable
from ksi_tui.engine.payload_cache import PayloadCache
from ksi_tui.engine.provider_manager import ProviderManager
from ksi_tui.engine.queue_manager import QueueManager
from ksi_tui.engine.recently_ended import Ended
from ksi_tui.engine.retry_manager import RetryPolicy
from ksi_tui.engine.session_manager import LockTable, SessionManager
from ksi_tui.engine.store.base import Store
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.token_tracker import TokenTracker
from ksi_tui.engine.upkeep.state import Upkeep
from ksi_tui.engine.usual import UsualTimes

RECENT_ENDED = 40
"""How many ended requests stay on the live screen, and as many failed ones."""


def _nobody() -> None:
    """Stand for the dispatcher until it is there."""


@dataclass(slots=True, kw_only=True, eq=False)
class Core:
    """The engine's parts and what they all look at.

    `poke` asks the dispatcher to look soon at what may run. Whoever removes ended requests
    from the store, or lets one go again, holds `removing` from its look to its write.
    `set_back_s`: by how much the clock was set back since an earlier life left its requests.
    """

    config: Config
    clock: Clock
    store: Store
    router: Router
    queue: QueueManager
    sessions: SessionManager
    locks: LockTable
    providers: ProviderManager
    tokens: TokenTracker
    payloads: PayloadCache
    retry: RetryPolicy
    pauses: PauseTable = field(default_factory=PauseTable)
    alarms: Alarms = field(default_factory=Alarms)
    injections: PendingInjections = field(default_factory=PendingInjections)
    tickets: dict[str, Ticket] = field(default_factory=dict)
    entering: dict[str, asyncio.Future[None]] = field(default_factory=dict)
    finishing: dict[str, asyncio.Future[None]] = field(default_factory=dict)
    counts: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    recent: deque[Ended] = field(default_factory=lambda: deque(maxlen=RECENT_ENDED))
    recent_failed: deque[Ended] = field(default_factory=lambda: deque(maxlen=RECENT_ENDED))
    failed_new: int = 0
    usual: UsualTimes = field(default_factory=UsualTimes)
    diversions: Diversions = field(default_factory=Diversions)
    next_place: int = 1
    next_number: int = 1
    next_finish_seq: int = 1
    recovered: int = 0
    recovery_cursor: int = 0
    set_back_s: float = 0.0
    upkeep: Upkeep = field(default_factory=Upkeep)
    removing: asyncio.Lock = field(default_factory=asyncio.Lock)
    poke: Callable[[], None] = _nobody
    draining: bool = False

    def publish(self, name: str, data: dict[str, Any]) -> None:
        """Hand a notification to the subscribers."""
        self.router.publish(name, data)

    def tell_queued(self, ticket: Ticket, *, again: bool = False) -> None:
        """Tell that a request queues, for the first time or again."""
        self.publish(
            events.QUEUED,
            {
                "request_id": ticket.request_id,
                "session_id": ticket.session_id,
                "agent_id": ticket.agent_id,
                "model": ticket.route.model,
                "position": self.queue.position(ticket),
                **({"again": True} if again else {}),
            },
        )

    def move(self, ticket: Ticket, state: State) -> State:
        """Change a ticket's state and the counts; returns the state before."""
        was = ticket.state
        if was is not state:
            self.counts[was] -= 1
            self.counts[state] += 1
            ticket.state = state
        return was

    async def entered(self, request_id: str) -> None:
        """Wait until a request that is on its way to disk is there, or was refused."""
        entering = self.entering.get(request_id)
        if entering is not None:
            await asyncio.wait([entering])

    def recent_without(self, request_id: str) -> None:
        """Forget that a request ended: it goes again."""
        for recent in (self.recent, self.recent_failed):
            kept = [ended for ended in recent if ended.request_id != request_id]
            recent.clear()
            recent.extend(kept)

    def ended(self, ended: Ended) -> None:
        """Note a request that has just ended; failures are not pushed out by the others."""
        failed = ended.state is State.FAILED
        (self.recent_failed if failed else self.recent).append(ended)

    def recently_ended(self) -> list[Ended]:
        """Return what ended a moment ago: failures first, the newest first."""
        return [*reversed(self.recent_failed), *reversed(self.recent)]

    def take_place(self) -> int:
        """Return the next number in the order of arrival."""
        place = self.next_place
        self.next_place += 1
        return place

    def take_finish_seq(self) -> int:
        """Return the next number in the order of final states."""
        seq = self.next_finish_seq
        self.next_finish_seq += 1
        return seq
