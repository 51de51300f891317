"""Answers `completion:requests` and `completion:names`.

Which requests match, how many, and in what order is one question to the store, which holds
every request: none is told twice and none is missed. What memory knows better of unfinished ones
goes into that question, and onto the rows that come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from ksi_tui.engine.clock import iso
from ksi_tui.engine.core import Core
from ksi_tui.engine.filter import FIELDS, parse
from ksi_tui.engine.finding.live import LiveFacts, tokens_of
from ksi_tui.engine.finding.payloads import MAX_IDS, FindNames, FindRequests
from ksi_tui.engine.store import finding
from ksi_tui.engine.store.found import Find, Found, FoundRequest, NamesOf
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.views import Phase
from ksi_tui.engine.why.causes import Causes
from ksi_tui.engine.why.report import left_behind

_ROWS: Final = 100
"""How many rows a page has by default, and how many are made at a time."""


class Requests:
    """Finds requests and names."""

    def __init__(self, core: Core, causes: Causes) -> None:
        self._core = core
        self._causes = causes
        self._live = LiveFacts(core, causes)

    async def requests(self, data: FindRequests) -> dict[str, Any]:
        """Answer `completion:requests`; raises FilterError."""
        find = await self._question(data)
        found = await self._core.store.find(find)
        if data.ids_only:
            return {"ids": list(found.ids), "total": found.total}
        return {
            "requests": await self._rows(found),
            "total": found.total,
            "offset": find.offset,
            "sort": str(find.sort),
            "descending": find.descending,
        }

    async def _question(self, data: FindRequests) -> Find:
        wanted, core = parse(data.filter), self._core
        descending = data.descending
        if descending is None:
            descending = not data.sort.by_name
        find = Find(
            wanted=wanted,
            now=core.clock(),
            sort=data.sort,
            descending=descending,
            offset=data.offset,
            limit=data.limit or (MAX_IDS if data.ids_only else _ROWS),
            ids_only=data.ids_only,
        )
        unknown, changing = finding.in_memory(wanted), finding.changing(wanted)
        if unknown:
            find = replace(find, waiting=await self._live.waiting(unknown))
        if not changing.empty or data.sort in finding.CHANGING_SORTS:
            # Last, since these change with every token.
            now = core.clock()
            find = replace(find, now=now, running=self._live.running(changing, data.sort, now))
        return find

    async def _rows(self, found: Found) -> list[dict[str, Any]]:
        """Return what was found as it is now: some of it may have ended since it was read."""
        tickets = self._core.tickets
        requests = list(found.requests)
        gone = [each.request_id for each in requests if self._is_over(each)]
        if gone:
            ended = {each.request_id: each for each in await self._core.store.find_ids(gone)}
            requests = [ended.get(each.request_id, each) for each in requests]
        # From here on each stands with its ticket, also where that ends between two slices.
        both = [(each, tickets.get(each.request_id)) for each in requests]
        rows: list[dict[str, Any]] = []
        for begin in range(0, len(both), _ROWS):
            now = self._core.clock()
            rows += [self._row(*each, now) for each in both[begin : begin + _ROWS]]
            if len(rows) < len(both):
                await asyncio.sleep(0)
        return rows

    def _is_over(self, found: FoundRequest) -> bool:
        return not found.state.final and found.request_id not in self._core.tickets

    def _row(self, found: FoundRequest, ticket: Ticket | None, now: float) -> dict[str, Any]:
        row = _on_disk(found, now)
        if ticket is not None and ticket.state.final:
            # Its end is on the way to disk.
            row |= {"status": str(ticket.state), "phase": str(Phase(ticket.state.value))}
            row |= {"error": _error(ticket.error_kind, ticket.error_message)}
        elif ticket is not None:
            row |= self._of_ticket(ticket, now)
        elif not found.state.final:
            row["why"] = left_behind()["why"]
        return row

    def _of_ticket(self, ticket: Ticket, now: float) -> dict[str, Any]:
        facts = self._live.facts(ticket, now)
        streaming = facts.phase is not None and facts.phase.running
        return {
            "status": str(ticket.state),
            "phase": str(facts.phase),
            "model": facts.model,
            "provider": facts.provider,
            "attempts": facts.attempts,
            "max_attempts": ticket.max_attempts,
            "queued_at": iso(ticket.queued_at),
            "started_at": iso(ticket.started_at),
            "finished_at": None,
            "age_s": round(now - ticket.queued_at, 3),
            "latency_ms": None,
            "ttft_ms": None if facts.ttft_s is None else round(facts.ttft_s * 1000, 1),
            "tokens": facts.tokens,
            **({"estimated": True} if streaming and tokens_of(ticket) else {}),
            "error": _error(ticket.error_kind, ticket.error_message),
            "why": facts.why,
            "by": None,
            "reason": None,
        }

    async def names(self, data: FindNames) -> dict[str, Any]:
        """Answer `completion:names`."""
        found = await self._core.store.names(data.of, data.prefix, data.limit, data.key)
        return {"names": list(dict.fromkeys([*self._known(data), *found]))[: data.limit]}

    def _known(self, data: FindNames) -> Sequence[str]:
        """Return the names that are known before any request has had them."""
        providers = self._core.providers
        known: Sequence[str] = ()
        if data.of is NamesOf.PROVIDER:
            known = providers.names
        elif data.of is NamesOf.MODEL:
            known = [name for name in providers.model_patterns() if "*" not in name]
        elif data.of is NamesOf.ERROR:
            known = FIELDS["error"].choices
        prefix = data.prefix.lower()
        return [name for name in known if name.lower().startswith(prefix)]


def _on_disk(found: FoundRequest, now: float) -> dict[str, Any]:
    latency_ms = None
    if found.finished_at is not None:
        latency_ms = round((found.finished_at - found.queued_at) * 1000, 3)
    return {
        "request_id": found.request_id,
        "session_id": found.session_id,
        "agent_id": found.agent_id,
        "status": str(found.state),
        "phase": str(_phase(found)),
        "asked_model": found.asked_model,
        "model": found.model,
        "provider": found.provider,
        "priority": str(found.priority),
        "attempts": found.attempts,
        "max_attempts": found.max_attempts,
        "queued_at": iso(found.queued_at),
        "started_at": iso(found.started_at),
        "finished_at": iso(found.finished_at),
        "age_s": round(now - found.queued_at, 3),
        "latency_ms": latency_ms,
        "ttft_ms": found.ttft_ms,
        "tokens": found.tokens,
        "estimated": found.estimated > 0,
        "cost": found.cost,
        "unpriced": found.unpriced,
        "error": _error(found.error_kind, found.error_message),
        "why": None,
        "by": found.by,
        "reason": found.reason,
        "metadata": dict(found.metadata),
    }


def _phase(found: FoundRequest) -> Phase:
    """Return what a request is doing as far as the disk tells."""
    words = {str(phase): phase for phase in Phase}
    return words.get(str(found.state), Phase.QUEUED)


def _error(kind: str | None, message: str | None) -> dict[str, str | None] | None:
    return None if kind is None else {"kind": str(kind), "message": message}
