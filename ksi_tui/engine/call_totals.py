"""What all calls since the engine began came to, by provider and model.

In memory and only ever growing, as a scraper's counters are; the store answers for the past,
`token_tracker` for today. Pure: no clock, no I/O, and nothing per request.
"""

from __future__ import annotations

from typing import Final

from ksi_tui.engine.models import CallRecord, Usage
from ksi_tui.engine.views import CallsEnded, CallTotals

MOST_PAIRS: Final = 200
"""So many pairs of provider and model are counted apart: a model's name comes from outside."""
OTHER: Final = "other"
"""The model under which a provider's calls are counted beyond that."""


class _Totals:
    """The sums of one pair."""

    __slots__ = ("calls", "cost", "unpriced", "usage", "waste_cost", "waste_tokens")

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.usage = [0, 0, 0, 0, 0]
        self.cost = self.waste_cost = 0.0
        self.unpriced = self.waste_tokens = 0

    def book(self, call: CallRecord) -> None:
        """Add one call."""
        outcome = call.outcome.value
        self.calls[outcome] = self.calls.get(outcome, 0) + 1
        cost, usage, sums = call.cost or 0.0, call.usage, self.usage
        if usage is not None:
            sums[0] += usage.input
            sums[1] += usage.cache_read
            sums[2] += usage.cache_write
            sums[3] += usage.output
            sums[4] += usage.reasoning
        self.cost += cost
        self.unpriced += call.unpriced
        if call.waste:
            self.waste(usage, cost)

    def waste(self, usage: Usage | None, cost: float) -> None:
        """Count what a call used among what did not become an answer."""
        self.waste_cost += cost
        self.waste_tokens += usage.total if usage is not None else 0


class CallSums:
    """Sums of calls by provider and model; O(1) a call, bounded in memory."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], _Totals] = {}

    def book(self, call: CallRecord) -> None:
        """Add one call that ended."""
        self._pair(call).book(call)

    def wasted(self, call: CallRecord) -> None:
        """Count a call as waste that was booked as the answer and did not become it."""
        self._pair(call).waste(call.usage, call.cost or 0.0)

    def _pair(self, call: CallRecord) -> _Totals:
        found = self._of.get((call.provider, call.model))
        if found is None:
            room = len(self._of) < MOST_PAIRS
            pair = (call.provider, call.model if room else OTHER)
            found = self._of.setdefault(pair, _Totals())
        return found

    def views(self) -> tuple[CallTotals, ...]:
        """Return the sums, in the order in which the pairs were first called."""
        return tuple(
            CallTotals(
                provider=provider,
                model=model,
                ended=tuple(CallsEnded(outcome=o, count=n) for o, n in each.calls.items()),
                input=each.usage[0],
                cache_read=each.usage[1],
                cache_write=each.usage[2],
                output=each.usage[3],
                reasoning=each.usage[4],
                cost=each.cost,
                unpriced=each.unpriced,
                waste_tokens=each.waste_tokens,
                waste_cost=each.waste_cost,
            )
            for (provider, model), each in self._of.items()
        )
