"""What only memory knows of unfinished requests, judged by a filter.

Running requests are few and change with every token: they are judged at once. Those that wait
are many: where a filter asks for their why they are walked in slices, so that nothing else of
the engine stands still meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from ksi_tui.engine.core import Core
from ksi_tui.engine.filter import Facts, Filter, TextTerm, matches
from ksi_tui.engine.filter.match import checks, text_holds
from ksi_tui.engine.models import Priority, State
from ksi_tui.engine.store.found import RunningNow, SortBy
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.views import Phase
from ksi_tui.engine.why.causes import Causes, behind

SLICE_S: Final = 0.0015
"""How long the walk keeps the loop at a time; whoever is due then may wait for two of these."""
_AT_ONCE: Final = 64
_PRIORITIES: Final = {priority.rank: priority for priority in Priority}


class LiveFacts:
    """Judges tickets by filters."""

    def __init__(self, core: Core, causes: Causes) -> None:
        self._core = core
        self._causes = causes

    def running(self, wanted: Filter, sort: SortBy, now: float) -> list[RunningNow]:
        """Return for every running request whether it matches, and what it is ordered by."""
        found = []
        for lane in self._core.queue.running_lanes():
            if lane.running is not None and not lane.running.state.final:
                facts = self.facts(lane.running, now)
                found.append(
                    RunningNow(
                        place=lane.running.place,
                        holds=matches(wanted, facts),
                        sort_value=_sort_value(facts, sort),
                    )
                )
        return found

    def facts(self, ticket: Ticket, now: float) -> Facts:
        """Return what is known of an unfinished request here; its metadata is on disk."""
        run = ticket.run
        call = run.call if run is not None else None
        ttft_ms = call.ttft_ms if call is not None else None
        return Facts(
            request_id=ticket.request_id,
            session_id=ticket.session_id,
            agent_id=ticket.agent_id,
            asked_model=ticket.spec.model if ticket.spec is not None else ticket.route.model,
            model=call.model if call is not None else ticket.route.model,
            provider=call.entry.name if call is not None else None,
            status=ticket.state,
            phase=self._causes.phase(ticket, now),
            error_kind=ticket.error_kind,
            error_message=ticket.error_message,
            why=self._causes.cause(ticket, now).text,
            priority=_PRIORITIES[ticket.rank],
            age_s=now - ticket.queued_at,
            tokens=tokens_of(ticket),
            attempts=ticket.attempts + (run is not None),
            ttft_s=None if ttft_ms is None else ttft_ms / 1000,
        )

    async def waiting(self, terms: Sequence[TextTerm]) -> str:
        """Return the places of those that wait and for which all terms hold, as a JSON array.

        The terms are about `why` and status only.
        """
        judge = _Judge(terms)
        chunks: list[str] = []
        found: list[int] = []
        began = time.perf_counter()
        for lane in list(self._core.queue.lanes()):
            waiting = lane.waiting[:]
            for begin in range(0, len(waiting), _AT_ONCE):
                ahead = waiting[begin - 1] if begin else lane.running
                found += self._places(ahead, waiting[begin : begin + _AT_ONCE], judge)
                if time.perf_counter() - began > SLICE_S:
                    chunks += [",".join(map(str, found))] if found else []
                    found.clear()
                    await asyncio.sleep(0)
                    began = time.perf_counter()
        chunks += [",".join(map(str, found))] if found else []
        return f"[{','.join(chunks)}]"

    def _places(self, ahead: Ticket | None, waiting: Sequence[Ticket], judge: _Judge) -> list[int]:
        """Return the places of those for which all terms hold; `ahead` is before the first."""
        places = []
        now = self._core.clock()
        for ticket in waiting:
            if ticket.state.final:
                continue
            phase = Phase.RETRYING if ticket.state is State.RETRYING else Phase.QUEUED
            if ahead is None and judge.asks_phase:
                phase = self._causes.phase(ticket, now)
            why = ""
            if judge.asks_why:
                why = behind(ahead.request_id) if ahead else self._causes.cause(ticket, now).text
            if judge(ticket.state, phase, why):
                places.append(ticket.place)
            ahead = ticket
        return places


class _Judge:
    """Says whether terms about `why` and status hold, many times in a row."""

    def __init__(self, terms: Sequence[TextTerm]) -> None:
        self._why = [checks(term) for term in terms if term.field == "why"]
        self._status = [term for term in terms if term.field == "status"]
        self.asks_why, self.asks_phase = bool(self._why), bool(self._status)
        self._known: dict[tuple[State, Phase], bool] = {}

    def __call__(self, state: State, phase: Phase, why: str) -> bool:
        known = self._known.get((state, phase))
        if known is None:
            known = all(text_holds(term, (state, phase)) for term in self._status)
            self._known[state, phase] = known
        if not known:
            return False
        for check in self._why:  # noqa: SIM110 - a generator for each of 100,000 is felt
            if not check(why):
                return False
        return True


def tokens_of(ticket: Ticket) -> int | None:
    """Return what all calls of an unfinished request have used so far; None: nothing is known."""
    call = ticket.run.call if ticket.run is not None else None
    streamed = call.tokens if call is not None and call.pending is None else 0
    return ticket.used_tokens + streamed or None


def _sort_value(facts: Facts, sort: SortBy) -> str | float | None:
    match sort:
        case SortBy.MODEL:
            return facts.model
        case SortBy.PROVIDER:
            return facts.provider
        case SortBy.ATTEMPTS:
            return facts.attempts
        case SortBy.TOKENS:
            return facts.tokens
        case SortBy.TTFT:
            return None if facts.ttft_s is None else facts.ttft_s * 1000
        case _:
            return None
