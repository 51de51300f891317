"""Cancels and retries many requests in one go: marked ones, or all that a filter matches.

What is done to each is `intervene`'s. Here is what makes ten thousand of them bearable: they are
taken in slices, so that the loop turns in between, written down by the thousand in the group
commits of those moments, and answered together once all of it is on disk.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final, TypeVar

from ksi_tui.engine.actions_taken import Deed
from ksi_tui.engine.core import Core
from ksi_tui.engine.errors import Conflict, EventError, NotFound
from ksi_tui.engine.intervene import Interventions
from ksi_tui.engine.payloads import Cancel, Retry
from ksi_tui.engine.store.records import StoredRequest
from ksi_tui.engine.ticket import Ticket

SLICE_S: Final = 0.0015
"""How long the loop is kept at a time; whoever is due then may wait for two of these."""
WRITTEN_AT_ONCE: Final = 1000
"""So many wait for the disk at a time. More at once would only be more for the garbage collector
to walk, with the loop standing still."""
_READ_AT_ONCE: Final = 50

_Item = TypeVar("_Item")
_Answers = dict[str, dict[str, Any]]


class Bulk:
    """Acts on many requests; hands what is about one on."""

    def __init__(self, core: Core, interventions: Interventions) -> None:
        self._core = core
        self._interventions = interventions

    async def cancel(self, data: Cancel) -> dict[str, Any]:
        """Answer `completion:cancel`."""
        if data.request_id is not None:
            return await self._interventions.cancel_one(data)
        ids = list(dict.fromkeys(data.request_ids or ()))
        await self._entered(ids)
        if data.session_id is not None:
            ids = [each.request_id for each in self._interventions.of_session(data.session_id)]
        tickets = [self._core.tickets[each] for each in ids if each in self._core.tickets]
        # The waiting first, from the end: no session goes on to a request that is cancelled next.
        tickets.sort(key=lambda ticket: (ticket.run is None, ticket.order), reverse=True)
        answers: _Answers = {}
        with self._interventions.deed(data) as deed:
            await self._end_all(tickets, data, deed, answers)
            missing = [each for each in ids if each not in answers]
            await self._missing(data, missing, answers, deed)
        await asyncio.shield(self._core.store.write())
        return {"cancelled": [answers[each] for each in ids]}

    async def _end_all(
        self, tickets: Sequence[Ticket], data: Cancel, deed: Deed, answers: _Answers
    ) -> None:
        """Cancel what is in memory: the upstreams first, whatever there is to write of the rest."""
        calls = [t.run.call for t in tickets if t.run is not None and t.run.call is not None]
        left = deque(tickets)
        try:
            async for call in self._in_slices(calls):
                call.close_ahead()
            async for ticket in self._paced(tickets):
                was = left.popleft().state
                self._interventions.end(ticket, data, deed)
                answers[ticket.request_id] = _entry(ticket.request_id, str(was), not was.final)
        finally:  # whose upstream is closed gets no answer any more: it must come to its end
            for ticket in left:
                self._interventions.end(ticket, data, deed)

    async def _missing(
        self, data: Cancel, ids: Sequence[str], answers: _Answers, deed: Deed
    ) -> None:
        """Answer for those that were not in memory; one may have come back meanwhile."""
        states = await self._core.store.states(ids) if ids else {}
        async for request_id in self._paced(ids):
            ticket, state = self._core.tickets.get(request_id), states.get(request_id)
            if ticket is not None:
                was = str(ticket.state)
                changed = not ticket.state.final
                self._interventions.end(ticket, data, deed)
                answers[request_id] = _entry(request_id, was, changed)
            elif state is None:
                answers[request_id] = _refused(request_id, NotFound(f"no request {request_id!r}"))
            elif not state.final:
                left = f"{request_id} was left by an earlier run and is not resumed here"
                answers[request_id] = _refused(request_id, Conflict(left))
            else:
                answers[request_id] = _entry(request_id, str(state), changed=False)

    async def retry(self, data: Retry) -> dict[str, Any]:
        """Answer `completion:retry`."""
        if data.request_ids is None:
            return await self._interventions.retry(data)
        self._interventions.check_targets(data)
        ids = list(dict.fromkeys(data.request_ids))
        await self._entered(ids)
        answers: _Answers = {}
        known = [t for t in map(self._core.tickets.get, ids) if t is not None]
        with self._interventions.deed(data) as deed:
            async for ticket in self._paced(known):
                if not ticket.state.final:  # it may end while those before it are seen to
                    self._hurry(ticket, data, answers, deed)
            ended = [each for each in ids if each not in answers]
            await self._ended(ended)
            await self._reopen(ended, data, answers, deed)
        try:
            await asyncio.shield(self._core.store.write())
        finally:
            self._core.poke()
        return {"retried": [answers[each] for each in ids]}

    def _hurry(self, ticket: Ticket, data: Retry, answers: _Answers, deed: Deed) -> None:
        request_id = ticket.request_id
        try:
            answers[request_id], _ = self._interventions.hurry(ticket, data, deed)
        except EventError as error:
            answers[request_id] = _refused(request_id, error)

    async def _reopen(self, ids: Sequence[str], data: Retry, answers: _Answers, deed: Deed) -> None:
        """Let ended ones go again, in the order in which they once stood."""
        if not ids:
            return
        core = self._core
        async with core.removing:
            ordered = await core.store.in_order(ids)
            chunks = [
                ordered[begin : begin + _READ_AT_ONCE]
                for begin in range(0, len(ordered), _READ_AT_ONCE)
            ]
            for number, chunk in enumerate(chunks, start=1):
                for stored in await core.store.requests_named(chunk):
                    self._again(stored, data, answers, deed)
                if number % (WRITTEN_AT_ONCE // _READ_AT_ONCE) == 0:
                    await asyncio.shield(core.store.write())
        for request_id in (each for each in ids if each not in answers):
            answers[request_id] = _refused(request_id, NotFound(f"no request {request_id!r}"))

    def _again(self, stored: StoredRequest, data: Retry, answers: _Answers, deed: Deed) -> None:
        request_id = stored.spec.request_id
        if (ticket := self._core.tickets.get(request_id)) is not None:
            self._hurry(ticket, data, answers, deed)
            return
        try:
            answers[request_id], _ = self._interventions.again(stored, data, deed)
        except EventError as error:
            answers[request_id] = _refused(request_id, error)

    async def _paced(self, items: Iterable[_Item]) -> AsyncIterator[_Item]:
        """Yield items; let the loop turn whenever `SLICE_S` have passed, and the disk keep up."""
        began = time.perf_counter()
        for count, item in enumerate(items, start=1):
            yield item
            if count % WRITTEN_AT_ONCE == 0:
                await asyncio.shield(self._core.store.write())
            elif time.perf_counter() - began > SLICE_S:
                await asyncio.sleep(0)
            else:
                continue
            began = time.perf_counter()

    async def _in_slices(self, items: Iterable[_Item]) -> AsyncIterator[_Item]:
        """Yield items; let the loop turn whenever `SLICE_S` have passed."""
        began = time.perf_counter()
        for item in items:
            yield item
            if time.perf_counter() - began > SLICE_S:
                await asyncio.sleep(0)
                began = time.perf_counter()

    async def _ended(self, ids: Iterable[str]) -> None:
        """Wait until the ends of those of the given requests that are ending are on disk."""
        ending = [self._core.finishing[each] for each in ids if each in self._core.finishing]
        if ending:
            await asyncio.wait(ending)

    async def _entered(self, ids: Iterable[str]) -> None:
        """Wait for those of the given requests that are just on their way to disk."""
        entering = [self._core.entering[each] for each in ids if each in self._core.entering]
        if entering:
            await asyncio.wait(entering)


def _entry(request_id: str, was: str, changed: bool) -> dict[str, Any]:
    return {"request_id": request_id, "was": was, "changed": changed}


def _refused(request_id: str, error: EventError) -> dict[str, Any]:
    return {"request_id": request_id, "changed": False, "error": str(error), "code": error.code}
