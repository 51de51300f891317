"""Where the traffic of a provider goes while its circuit is not closed, and what that costs.

Counts only, a few numbers an outage. Who may be called is `provider_manager`'s; the sentence
that is made of this is `verdicts`'. Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ksi_tui.engine.candidates import Candidate

_LEAST_S = 60.0
"""Less of an outage than this counts as so much: a rate of a few seconds says nothing."""


@dataclass(slots=True, kw_only=True, eq=False)
class Diverted:
    """What was called in the place of a provider since `since`, when its outage began.

    `extra_cost`: dollars beyond what the provider would have cost, over the `priced` calls.
    """

    since: float
    calls: dict[str, int] = field(default_factory=dict)
    extra_cost: float = 0.0
    priced: int = 0

    @property
    def total(self) -> int:
        """All calls that went elsewhere."""
        return sum(self.calls.values())

    def extra_per_h(self, now: float) -> float | None:
        """Return the extra dollars an hour; None where no price is known."""
        if not self.priced:
            return None
        return self.extra_cost * 3600 / max(_LEAST_S, now - self.since)


class Diversions:
    """One count a provider, of its newest outage."""

    def __init__(self) -> None:
        self._of: dict[str, Diverted] = {}

    def moved(self, candidate: Candidate, usable: Sequence[Candidate], now: float) -> str | None:
        """Note a call that begins; returns the sick provider in whose place it is, or None."""
        for other in usable:
            if other.order > candidate.order or other is candidate:
                break
            if other.entry.circuit.shut and other.entry is not candidate.entry:
                since = other.entry.circuit.look(now).outage_since or now
                counts = self._begun(other.entry.name, since).calls
                name = candidate.entry.name
                counts[name] = counts.get(name, 0) + 1
                return other.entry.name
        return None

    def _begun(self, name: str, since: float) -> Diverted:
        found = self._of.get(name)
        if found is None or found.since != since:
            found = self._of[name] = Diverted(since=since)
        return found

    def cost(self, name: str, extra: float) -> None:
        """Note what a call in a provider's place cost more (or less, below 0) than there."""
        found = self._of.get(name)
        if found is not None:
            found.extra_cost += extra
            found.priced += 1

    def of(self, name: str, since: float | None) -> Diverted | None:
        """Return what was diverted in the outage that began at `since`, or None."""
        found = self._of.get(name)
        return found if found is not None and found.since == since else None
