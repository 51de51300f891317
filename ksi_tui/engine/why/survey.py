"""How much waits for what, worked out at most once a second for all who want to know.

Costs what there are routes, never what waits: everybody in one route's line waits for the
same thing. What holds single sessions back (locks, pauses, backoffs) is not in here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ksi_tui.engine.core import Core
from ksi_tui.engine.lanes import Waiting
from ksi_tui.engine.models import Cause, CauseKind
from ksi_tui.engine.why.causes import Causes

EVERY_S = 1.0
"""How old a survey may be."""
MOST_ROUTES = 300
"""How many routes are looked at; each may have its own only where requests were sent elsewhere."""
SMALL = 200
"""An engine with fewer sessions and locks is looked at anew whenever something changed."""

AT_PROVIDERS = (CauseKind.CIRCUIT, CauseKind.COOLDOWN, CauseKind.SLOT, CauseKind.RATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """All that waits for one route, and what for."""

    line: Waiting
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What waits at one moment. `of_provider`: (requests, sessions) that a provider could serve.

    `complete`: no route was left out.
    """

    crowds: tuple[Crowd, ...] = ()
    complete: bool = True
    of_provider: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def held_by(self, kind: CauseKind, target: str) -> tuple[int, int]:
        """Return how many requests and sessions wait for one thing."""
        held = [
            each.line
            for each in self.crowds
            if each.cause.kind is kind and each.cause.target == target
        ]
        return sum(line.requests for line in held), sum(line.sessions for line in held)


class Surveys:
    """Keeps the newest survey."""

    def __init__(self, core: Core, causes: Causes) -> None:
        self._core = core
        self._causes = causes
        self._fresh = Freshness(core)
        self._survey = Survey()

    def at(self, now: float) -> Survey:
        """Return a survey that is at most `EVERY_S` old."""
        if self._fresh.over(now):
            self._survey = self._look(now)
        return self._survey

    def _look(self, now: float) -> Survey:
        core, crowds = self._core, []
        of_provider: dict[str, tuple[int, int]] = {}
        for line in core.queue.lines(MOST_ROUTES):
            cause = self._causes.of_line(line, now)
            crowds.append(Crowd(line=line, cause=cause))
            if cause.kind not in AT_PROVIDERS:
                continue
            usable = core.providers.candidates(line.route).usable
            for name in {candidate.entry.name for candidate in usable}:
                requests, sessions = of_provider.get(name, (0, 0))
                of_provider[name] = (requests + line.requests, sessions + line.sessions)
        return Survey(
            crowds=tuple(crowds), complete=len(crowds) < MOST_ROUTES, of_provider=of_provider
        )


class Freshness:
    """Says when something that was worked out has to be worked out anew."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._at = float("-inf")
        self._of: object = None

    def over(self, now: float) -> bool:
        """Whether it is too old, or an engine with little in it has changed; from now on not."""
        core = self._core
        small = core.queue.session_count < SMALL and len(core.locks) < SMALL
        if not 0 <= now - self._at < EVERY_S:
            self._of = self._signature() if small else None
        elif not small or (seen := self._signature()) == self._of:
            return False
        else:
            self._of = seen
        self._at = now
        return True

    def _signature(self) -> object:
        core = self._core
        return (
            core.queue.changes,
            len(core.pauses),
            core.failed_new,
            core.store.fault,
            core.upkeep.response_fault,
            core.providers.workers.losses,
            core.draining,
            tuple(
                (entry.circuit.epoch, len(entry.cooldowns)) for entry in core.providers.entries()
            ),
            tuple((lock.session_id, lock.expires_at) for lock in core.locks),
        )
