"""Takes requests in: limits, identity, and the promise that a reply means it is on disk."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from ksi_tui.engine.conclusions import Conclusions
from ksi_tui.engine.core import Core
from ksi_tui.engine.entrance import Entering, Entrance, Replies
from ksi_tui.engine.errors import (
    EventError,
    FilterError,
    InvalidRequest,
    KsiError,
    NoProvider,
    NotFound,
    NotReady,
    QueueFull,
)
from ksi_tui.engine.models import RequestSpec, State
from ksi_tui.engine.payloads import MAX_ID_CHARS, Completion, parse
from ksi_tui.engine.reservations import Numbers, Reservations, number_of
from ksi_tui.engine.store.base import Accepted, SessionSeen, Write
from ksi_tui.engine.ticket import Ticket, ticket_found, ticket_of


def refusal(error: KsiError) -> dict[str, Any]:
    """Return an error as a reply."""
    code = error.code if isinstance(error, EventError) else NotReady.code
    where = {"position": error.position} if isinstance(error, FilterError) else {}
    return {"error": str(error), "code": code, **where}


_Identified = tuple[Collection[str], Mapping[str, State], frozenset[str]]
_ALL_NEW: Final[_Identified] = ((), {}, frozenset())


class Intake:
    """Accepts requests: each enters the queue once it is on disk."""

    def __init__(self, core: Core, conclusions: Conclusions, entrance: Entrance) -> None:
        self._core = core
        self._conclusions = conclusions
        self._entrance = entrance
        self._default_model = core.config.default_model
        self._reserved = Reservations()
        self.numbers = Numbers(core)

    async def reserve(self) -> dict[str, Any]:
        """Answer `completion:reserve`: an id for a request to come, nobody else's for ever."""
        if self._core.draining:
            raise NotReady("the engine is ending and takes no more requests")
        request_id = await self.numbers.reserved()
        self._reserved.add(request_id)
        return {"request_id": request_id}

    async def completion(self, data: Mapping[str, Any], *, inject: bool) -> dict[str, Any]:
        """Accept one request; returns the reply, raises EventError when it is refused."""
        event = "completion:inject" if inject else "completion:async"
        replies = await self.accept([data], event=event, inject=inject)
        if isinstance(replies[0], KsiError):
            raise replies[0]
        return replies[0]

    async def batch(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Accept many in one transaction, before any runs; refusals stand in their places."""
        cursor = self._core.next_finish_seq - 1
        replies = await self.accept(items, event="completion:batch", inject=False)
        return {
            "accepted": [refusal(r) if isinstance(r, KsiError) else r for r in replies],
            "cursor": cursor,
        }

    async def accept(
        self, items: Sequence[Mapping[str, Any]], *, event: str, inject: bool
    ) -> list[dict[str, Any] | KsiError]:
        """Accept what can be accepted; the answers are in the order of the items."""
        replies: Replies = [None] * len(items)
        parsed: dict[int, Completion] = {}
        for index, data in enumerate(items):
            try:
                item = parse(Completion, data, event)
                self.model(item.model)
                parsed[index] = item
            except EventError as error:
                replies[index] = error
        named = [item for item in parsed.values() if item.request_id is not None]
        with self._entrance.watched() as meanwhile:
            new, known, taken = await self._identified(named) if named else _ALL_NEW
            parents = await self._parents(parsed.values())
        entering: dict[int, Entering] = {}
        twins: list[int] = []
        for index, item in parsed.items():
            try:
                used = item.request_id in new and item.request_id not in self._reserved
                used |= item.request_id in meanwhile
                if used or item.request_id in self._core.entering:
                    twins.append(index)
                elif (duplicate := self._duplicate(item, known)) is not None:
                    replies[index] = duplicate
                else:
                    self._check_parent(item, {*parents, *meanwhile} if meanwhile else parents)
                    entering[index] = self._enter(item, inject, taken)
            except EventError as error:
                replies[index] = error
        if entering:
            await self._entrance.commit(entering, replies)
        for index in twins:
            replies[index] = await self._twin(parsed[index])
        if named:
            await self._name_sessions(replies)
        return [reply for reply in replies if reply is not None]

    async def _name_sessions(self, replies: Sequence[dict[str, Any] | KsiError | None]) -> None:
        """Let those that have ended before be told with the session that they had."""
        ended = [
            reply
            for reply in replies
            if isinstance(reply, dict)
            and reply.get("duplicate")
            and reply["request_id"] not in self._core.tickets
        ]
        if ended:
            found = await self._core.store.sessions_of([reply["request_id"] for reply in ended])
            for reply in ended:
                reply["session_id"] = found.get(reply["request_id"], reply["session_id"])

    async def _twin(self, item: Completion) -> dict[str, Any] | KsiError:
        """Answer a request whose id was on its way to disk when it came."""
        known = await self.known([item.request_id or ""])
        duplicate = self._duplicate(item, known)
        return duplicate or NotReady(f"{item.request_id} could not be written down; send it again")

    async def own(self, specs: Sequence[RequestSpec], writes: Sequence[Write]) -> None:
        """Accept requests that the engine makes itself, in one transaction with `writes`.

        Raises NotReady when that cannot be now, InvalidRequest when it never can.
        """
        if self._core.draining:
            raise NotReady("the engine is ending and takes no more requests")
        for spec in specs:
            self._number_beyond(spec)
        entering = {i: self._prepared(spec, new_session=False) for i, spec in enumerate(specs)}
        entering[0].writes += tuple(writes)
        replies: Replies = [None] * len(specs)
        await self._entrance.commit(entering, replies)
        if isinstance(replies[0], KsiError):
            raise replies[0]

    def model(self, asked: str | None) -> str:
        """Return the model asked for, or the default; raises EventError when nobody serves it."""
        model = asked or self._default_model
        if model is None:
            raise InvalidRequest(
                "model is missing, and engine.default_model is not set; configured are: "
                f"{', '.join(sorted(set(self._core.providers.model_patterns())))}"
            )
        if not self._core.providers.serves(model):
            patterns = ", ".join(sorted(set(self._core.providers.model_patterns())))
            raise NoProvider(f"no provider serves the model {model!r}; configured are: {patterns}")
        return model

    async def _parents(self, items: Iterable[Completion]) -> Collection[str]:
        """Return those of the requests named as parents that are on disk."""
        named = {item.parent_request_id for item in items if item.parent_request_id is not None}
        return await self._core.store.states(list(named)) if named else ()

    def _check_parent(self, item: Completion, parents: Collection[str]) -> None:
        parent = item.parent_request_id
        if parent is None or parent in parents:
            return
        if parent not in self._core.entering and parent not in self._core.tickets:
            raise NotFound(
                f"circuit_breaker_config.parent_request_id: no request {parent!r}; it names the "
                "request that this one follows from"
            )

    # --- identity ----------------------------------------------------------------------------

    async def _identified(self, named: Sequence[Completion]) -> _Identified:
        """Find out which ids that came are new (reserved), known, or the names of sessions."""
        ids = [item.request_id or "" for item in named]
        new = {request_id for request_id in ids if request_id in self._reserved}
        known = await self.known([request_id for request_id in ids if request_id not in new])
        alone = [i.request_id or "" for i in named if i.session_id is None]
        asked = [each for each in alone if each not in new]
        taken = await self._core.store.sessions_named(asked) if asked else frozenset()
        return new, known, taken

    async def known(self, ids: Sequence[str]) -> Mapping[str, State]:
        """Return the states of those ids that exist; adopts unfinished ones that are not loaded."""
        core = self._core
        for request_id in ids:
            await core.entered(request_id)
        # Who ends while the store is asked is in memory no more; its ticket still knows how.
        loaded = {i: core.tickets[i] for i in ids if i in core.tickets}
        unloaded = [request_id for request_id in ids if request_id not in loaded]
        states = dict(await core.store.states(unloaded)) if unloaded else {}
        lost = [request_id for request_id, state in states.items() if not state.final]
        if lost:
            self.go_on([ticket_found(found) for found in await core.store.unfinished(lost)])
        loaded |= {i: core.tickets[i] for i in ids if i in core.tickets}
        states.update({i: ticket.state for i, ticket in loaded.items()})
        return states

    def go_on(self, tickets: Sequence[Ticket]) -> None:
        """Let requests run that an earlier life of the engine left unfinished, by its clock."""
        for ticket in tickets:
            if ticket.retry_at is not None:
                ticket.retry_at -= self._core.set_back_s
        self.adopt(tickets)

    def adopt(self, tickets: Sequence[Ticket]) -> None:
        """Let unfinished requests run that are not in memory yet."""
        core = self._core
        now = core.clock()
        for ticket in tickets:
            if ticket.request_id not in core.tickets:
                core.tickets[ticket.request_id] = ticket
                core.sessions.seen(ticket.session_id, ticket.agent_id, now)
                core.queue.add(ticket, now)
                if ticket.state is State.PROCESSING:
                    self._conclusions.resumed(ticket)
        core.poke()

    def _duplicate(self, item: Completion, known: Mapping[str, State]) -> dict[str, Any] | None:
        if item.request_id is None:
            return None
        ticket = self._core.tickets.get(item.request_id)
        state = ticket.state if ticket else known.get(item.request_id)
        if state is None:
            return None
        session_id = ticket.session_id if ticket else item.session_id or item.request_id
        return {
            "request_id": item.request_id,
            "session_id": session_id,
            "status": str(state),
            "message": "this request_id is known; it does not run again",
            "duplicate": True,
            "queued": state is State.QUEUED,
            "queue_depth": self._core.queue.depth(session_id),
            "position": self._core.queue.position(ticket) if ticket else 0,
            "session_active": self._core.queue.active(session_id),
        }

    # --- entering ----------------------------------------------------------------------------

    def _enter(self, item: Completion, inject: bool, taken: frozenset[str]) -> Entering:
        core, settings = self._core, self._core.config.engine
        if core.draining:
            raise NotReady("the engine is ending and takes no more requests")
        full = self.full(item.session_id)
        if full is not None:
            bound, limit, found = full
            where = f" in session {item.session_id}" if bound == "max_session_depth" else ""
            raise QueueFull(f"{found} requests wait{where}, {bound} is {limit}")
        request_id = item.request_id or self.numbers.new_id()
        spec = item.spec(
            request_id=request_id,
            session_id=item.session_id or self._own_session(request_id, taken),
            model=self.model(item.model),
            timeout_s=settings.timeout_s,
            max_attempts=core.config.retry.max_attempts,
            lock_timeout_s=settings.lock_timeout_s,
            inject=inject,
        )
        if item.request_id is not None or item.session_id is not None:
            self._number_beyond(spec)
        return self._prepared(spec, new_session=item.session_id is None)

    def _own_session(self, request_id: str, taken: frozenset[str]) -> str:
        """Return the name of a new session: the request's id, or a longer one if that is taken."""
        core = self._core
        entering = self._entrance.waiting_of(request_id) > 0
        known = entering or core.sessions.get(request_id) is not None
        if not known and request_id not in taken:
            return request_id
        return f"{request_id[: MAX_ID_CHARS - 20]}~{core.next_place}"

    def full(
        self, session_id: str | None, before: Sequence[str] = ()
    ) -> tuple[str, int, int] | None:
        """Return the limit that one more request would be over: its name, itself, who waits.

        `before` are the sessions of those that are to enter before it.
        """
        core, settings = self._core, self._core.config.engine
        waiting = core.queue.waiting_count + self._entrance.waiting + len(before)
        if waiting >= settings.max_queue_depth:
            return "max_queue_depth", settings.max_queue_depth, waiting
        if session_id is not None:
            depth = core.queue.depth(session_id) + self._entrance.waiting_of(session_id)
            depth += before.count(session_id)
            if depth >= settings.max_session_depth:
                return "max_session_depth", settings.max_session_depth, depth
        return None

    def _prepared(self, spec: RequestSpec, *, new_session: bool) -> Entering:
        core, now = self._core, self._core.clock()
        ticket = ticket_of(spec, place=core.take_place(), now=now)
        writes: tuple[Write, ...] = (
            Accepted(spec=spec, place=ticket.place, at=now, next_number=core.next_number),
        )
        if (known := core.sessions.get(spec.session_id)) is not None:
            seen = SessionSeen(
                session_id=spec.session_id, created_at=known.created_at, last_activity=now
            )
            writes += (seen,)
        self._reserved.use(spec.request_id)
        self._entrance.add(ticket)
        return Entering(ticket, spec, writes, new_session)

    def _number_beyond(self, spec: RequestSpec) -> None:
        """Let no id that is generated later be this request's, nor that of its session."""
        for taken in (spec.request_id, spec.session_id):
            self._core.next_number = max(self._core.next_number, number_of(taken) + 1)
