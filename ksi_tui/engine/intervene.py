"""What people and programs do to requests: cancel, retry, send elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ksi_tui.engine.actions_taken import Deed, taken
from ksi_tui.engine.conclusions import Conclusions
from ksi_tui.engine.core import Core
from ksi_tui.engine.endings import Endings
from ksi_tui.engine.errors import Conflict, NoProvider, NotFound
from ksi_tui.engine.models import Action, Outcome, State
from ksi_tui.engine.payloads import Cancel, Retry
from ksi_tui.engine.store.base import ActionTaken
from ksi_tui.engine.store.records import StoredRequest
from ksi_tui.engine.ticket import Route, Ticket

SESSION_LIMIT = 100_000
"""How many requests of one session one action reaches."""
GO_AGAIN = (State.FAILED, State.CANCELLED)

Again = tuple[dict[str, Any], "asyncio.Future[None]"]
"""What is answered for a request that goes again, and when that is on disk."""


class Interventions:
    """Acts on what exists. Each action is recorded with who did it and why."""

    def __init__(self, core: Core, conclusions: Conclusions, endings: Endings) -> None:
        self._core = core
        self._conclusions = conclusions
        self._endings = endings

    def deed(self, data: Cancel | Retry) -> Deed:
        """Return what is about to be done to many, to be told of as one."""
        return Deed(self._core, data.by, data.reason)

    def _record(
        self, name: str, ticket: Ticket, data: Cancel | Retry, detail: str | None, deed: Deed | None
    ) -> ActionTaken:
        """Return the write that keeps an action on a request; a deed tells of its own later."""
        at, by, reason = self._core.clock(), data.by, data.reason
        target, session_id = ticket.request_id, ticket.session_id
        action = Action(at=at, name=name, target=target, by=by, reason=reason, detail=detail)
        if deed is not None:
            return deed.taken(action, session_id)
        return taken(self._core, action, session_id)

    # --- cancel ------------------------------------------------------------------------------

    async def cancel_one(self, data: Cancel) -> dict[str, Any]:
        """Cancel the one request of `data`; answers once that is on disk."""
        request_id = data.request_id or ""
        await self._core.entered(request_id)
        ticket = self._core.tickets.get(request_id)
        if ticket is None:
            stored = await self._core.store.request(request_id)
            if stored is None:
                raise NotFound(f"no request {request_id!r}")
            if not stored.state.final:
                raise Conflict(f"{request_id} was left by an earlier run and is not resumed here")
            return _cancelled(request_id, stored.state, stored.state, changed=False)
        was = ticket.state
        changed = not was.final
        await asyncio.shield(self.end(ticket, data))
        return _cancelled(request_id, was, ticket.state, changed=changed)

    def end(self, ticket: Ticket, data: Cancel, deed: Deed | None = None) -> asyncio.Future[None]:
        """Cancel a request that is in memory; done when its end is on disk."""
        if ticket.state.final:
            return self._core.finishing.get(ticket.request_id) or _done()
        self._core.store.write(self._record("cancel", ticket, data, data.receipt, deed))
        return self._endings.cancel(ticket, data.by, data.reason)

    def of_session(self, session_id: str) -> list[Ticket]:
        """Return a session's unfinished requests, the running one first, then in order."""
        lane = self._core.queue.lane(session_id)
        if lane is None:
            return []
        running = [lane.running] if lane.running is not None else []
        return [t for t in [*running, *lane.waiting] if not t.state.final]

    # --- retry and send elsewhere --------------------------------------------------------------

    async def retry(self, data: Retry) -> dict[str, Any]:
        """Retry one request, or all of a session that can be retried."""
        self.check_targets(data)
        if data.request_id is not None:
            changed = [await self._retry_one(data.request_id, data)]
            return {"retried": changed, **changed[0], "status": await self._status(data.request_id)}
        return {"retried": await self._retry_session(data.session_id or "", data)}

    async def _retry_session(self, session_id: str, data: Retry) -> list[dict[str, Any]]:
        """Retry what can be retried; what had ended comes back at once, before any of it runs."""
        going = [ticket.request_id for ticket in self.of_session(session_id)]
        with self.deed(data) as deed:
            async with self._core.removing:
                stored = await self._ended_of(session_id)
                again, refused = self._all_again(stored, data, deed)
            if refused is not None and not (again or going):
                raise refused
            retried = [answer for answer, _ in again]
            await self._on_disk(*[written for _, written in again])
            reopened = {answer["request_id"] for answer in retried}
            for request_id in (each for each in going if each not in reopened):
                with suppress(Conflict):  # of a session, those are retried that can be
                    retried.append(await self._retry_one(request_id, data, deed))
        await asyncio.shield(self._core.store.write())
        return retried

    def _all_again(
        self, stored: Sequence[StoredRequest], data: Retry, deed: Deed
    ) -> tuple[list[Again], Conflict | None]:
        """Let those of a session go again that can; returns them, and why others cannot."""
        again, refused = [], None
        for each in stored:
            if each.state in GO_AGAIN and each.spec.request_id not in self._core.tickets:
                try:
                    again.append(self.again(each, data, deed))
                except Conflict as error:
                    refused = error
        return again, refused

    async def _on_disk(self, *written: asyncio.Future[None]) -> None:
        """Wait until what goes again is on disk, then let it run, whoever still waits."""
        try:
            await asyncio.gather(*[asyncio.shield(each) for each in written])
        finally:
            self._core.poke()

    async def _ended_of(self, session_id: str) -> Sequence[StoredRequest]:
        """Return a session's requests, once the ends of all of it that have ended are on disk."""
        core = self._core
        finishing = [
            future
            for request_id, future in core.finishing.items()
            if core.tickets[request_id].session_id == session_id
        ]
        if finishing:
            await asyncio.wait(finishing)
        stored = await core.store.session_requests(session_id, SESSION_LIMIT)
        if not stored:
            raise NotFound(f"no session {session_id!r}")
        return stored

    def check_targets(self, data: Retry) -> None:
        """Refuse to send requests where nobody is; raises NotFound or NoProvider."""
        names = self._core.providers.names
        for provider in data.avoid or ():
            if provider not in names:
                raise NotFound(f"avoid: no provider {provider!r}; configured: {', '.join(names)}")
        if data.model is not None and not self._core.providers.serves(data.model):
            patterns = ", ".join(self._core.providers.model_patterns())
            raise NoProvider(f"no provider serves the model {data.model!r}; configured: {patterns}")

    async def _status(self, request_id: str) -> str:
        ticket = self._core.tickets.get(request_id)
        if ticket is not None:
            return str(ticket.state)
        return str((await self._core.store.states([request_id]))[request_id])

    async def _retry_one(
        self, request_id: str, data: Retry, deed: Deed | None = None
    ) -> dict[str, Any]:
        await self._core.entered(request_id)
        finishing = self._core.finishing.get(request_id)
        if finishing is not None:
            await asyncio.wait([finishing])
        ticket = self._core.tickets.get(request_id)
        if ticket is None:
            answer, written = await self._reopen(request_id, data, deed)
            await self._on_disk(written)
            return answer
        answer, written = self.hurry(ticket, data, deed)
        await asyncio.shield(written)
        return answer

    def hurry(self, ticket: Ticket, data: Retry, deed: Deed | None = None) -> Again:
        """Send an unfinished request elsewhere, or end its backoff; raises Conflict."""
        if ticket.state.final:
            raise Conflict(f"{ticket.request_id} has just ended; it is {ticket.state}")
        if data.avoid or data.model:
            return self._elsewhere(ticket, data, deed)
        if ticket.state is State.RETRYING:
            return self._now(ticket, data, deed)
        if data.in_place:
            raise Conflict(f"{ticket.request_id} already goes again: it is {ticket.state}")
        raise Conflict(
            f"{ticket.request_id} is {ticket.state}; it can be sent elsewhere with avoid or model, "
            "or retried once it has failed or been cancelled"
        )

    async def _reopen(self, request_id: str, data: Retry, deed: Deed | None) -> Again:
        # One at a time: of two that read the same end, the second would undo what followed.
        async with self._core.removing:
            if request_id in self._core.tickets:
                raise Conflict(f"{request_id} already goes again")
            stored = await self._core.store.request(request_id)
            if stored is None:
                raise NotFound(f"no request {request_id!r}")
            return self.again(stored, data, deed)

    def again(self, stored: StoredRequest, data: Retry, deed: Deed | None = None) -> Again:
        """Let a failed or cancelled request join the queue anew, under its id; raises Conflict.

        Whoever calls holds `Core.removing` since before it was read. In place it is as if it had
        never ended: it stands where it stood, has waited since then, and keeps away from whom it
        was sent away from.
        """
        core, spec = self._core, stored.spec
        if stored.state not in GO_AGAIN:
            raise Conflict(
                f"{spec.request_id} is {stored.state}; only failed or cancelled ones go again"
            )
        now = core.clock()
        queued_at = stored.queued_at if data.in_place else now
        avoid = frozenset(data.avoid or ()) | frozenset(stored.avoid if data.in_place else ())
        model = data.model or stored.model
        route = Route(model, spec.stream is True, spec.needs_mcp, avoid)
        if avoid:
            self._check_served(route)
        place = stored.place if data.in_place else core.take_place()
        ticket = Ticket(
            request_id=spec.request_id,
            session_id=spec.session_id,
            agent_id=spec.agent_id,
            route=route,
            rank=spec.priority.rank,
            level=spec.priority.level,
            place=place,
            queued_at=queued_at,
            timeout_s=spec.timeout_s,
            max_attempts=spec.max_attempts,
            lock=spec.lock,
            state=stored.state,
            walks=stored.walks,
            used_tokens=stored.tokens or 0,
        )
        core.payloads.keep(ticket, spec)
        core.tickets[spec.request_id] = ticket
        moved = self._conclusions.moved(
            ticket,
            State.QUEUED,
            now,
            place=place,
            model=model,
            max_attempts=spec.max_attempts,
            avoid=tuple(sorted(avoid)),
            queued_at=queued_at,
        )
        action = self._record("retry", ticket, data, _detail(data), deed)
        written = core.store.write(moved, action)
        core.sessions.seen(spec.session_id, spec.agent_id, now)
        core.queue.add(ticket, now)
        core.tell_queued(ticket, again=True)
        core.recent_without(spec.request_id)
        return {"request_id": spec.request_id, "was": str(stored.state), "changed": True}, written

    def _elsewhere(self, ticket: Ticket, data: Retry, deed: Deed | None) -> Again:
        """Stop the call of an unfinished request and let the next attempt begin elsewhere."""
        core, was = self._core, ticket.state
        route = ticket.route._replace(
            model=data.model or ticket.route.model,
            avoid=ticket.route.avoid | frozenset(data.avoid or ()),
        )
        self._check_served(route)
        now = core.clock()
        action = self._record("send elsewhere", ticket, data, _detail(data), deed)
        if ticket.run is None:
            core.providers.give_up_room(ticket)
            ticket.route, ticket.retry_at = route, None
            core.alarms.clear(("backoff", ticket.request_id))
            written = core.store.write(action, self._rerouted(ticket, now))
            core.queue.refresh(ticket.session_id, now)
            core.poke()
        else:
            ticket.route = route
            written = core.store.write(action, self._rerouted(ticket, now))
            ticket.run.stopped = Outcome.SENT_ELSEWHERE
            if ticket.run.task is not None:
                ticket.run.task.cancel()
        return {"request_id": ticket.request_id, "was": str(was), "changed": True}, written

    def _check_served(self, route: Route) -> None:
        if not self._core.providers.candidates(route).usable:
            avoided = ", ".join(sorted(route.avoid)) or "none"
            raise Conflict(
                f"nobody else serves {route.model}: left out are {avoided}; nothing was changed"
            )

    def _rerouted(self, ticket: Ticket, now: float) -> Any:
        return self._conclusions.moved(
            ticket,
            ticket.state,
            now,
            model=ticket.route.model,
            avoid=tuple(sorted(ticket.route.avoid)),
        )

    def _now(self, ticket: Ticket, data: Retry, deed: Deed | None) -> Again:
        """End a backoff."""
        core = self._core
        now = core.clock()
        ticket.retry_at = None
        core.alarms.clear(("backoff", ticket.request_id))
        was = ticket.state
        written = core.store.write(
            self._conclusions.moved(ticket, ticket.state, now),
            self._record("retry", ticket, data, "backoff ended", deed),
        )
        core.queue.refresh(ticket.session_id, now)
        core.poke()
        return {"request_id": ticket.request_id, "was": str(was), "changed": True}, written


def _done() -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


def _cancelled(request_id: str, was: State, now: State, *, changed: bool) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "status": str(now),
        "cancelled": [{"request_id": request_id, "was": str(was), "changed": changed}],
    }


def _detail(data: Retry) -> str | None:
    parts: Sequence[str] = [
        *([f"avoid {', '.join(data.avoid)}"] if data.avoid else []),
        *([f"model {data.model}"] if data.model else []),
        *(["in place"] if data.in_place else []),
    ]
    return "; ".join(parts) or None
