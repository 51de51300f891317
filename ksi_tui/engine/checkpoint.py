"""What an engine holds unfinished, as plain JSON, and how another one takes it over.

`collect` tells what a restart would find on disk, and changes nothing. `restore` writes
everything in one transaction before any of it runs; what is there already wins, and what
was skipped for it is named. The form of the JSON is `checkpoint_payloads`'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ksi_tui import __version__
from ksi_tui.engine.checkpoint_payloads import (
    Checkpoint,
    Item,
    Progress,
    SavedSession,
    item_of,
    lock_json,
)
from ksi_tui.engine.clock import iso
from ksi_tui.engine.continuity import HISTORY_MAX_CHARS
from ksi_tui.engine.control_replies import paused_reply
from ksi_tui.engine.controls import Controls
from ksi_tui.engine.core import Core
from ksi_tui.engine.errors import InvalidRequest
from ksi_tui.engine.injection import checkpoint as injection_checkpoint
from ksi_tui.engine.injection.checkpoint import InjectionCheckpoint, Waiting
from ksi_tui.engine.intake import Intake
from ksi_tui.engine.models import Lock, Pause, RequestSpec, State
from ksi_tui.engine.provider_memory import unreadable
from ksi_tui.engine.reservations import number_of
from ksi_tui.engine.session_manager import Session
from ksi_tui.engine.store.base import (
    Accepted,
    LockSaved,
    Moved,
    PauseSaved,
    ProviderSaved,
    SessionSeen,
    TurnsAdded,
    Write,
)
from ksi_tui.engine.store.moment import Moment
from ksi_tui.engine.store.records import Unfinished
from ksi_tui.engine.ticket import ticket_found

_SPECS_AT_ONCE = 1_000


@dataclass(slots=True)
class _Taken:
    """What a restore is about to take over, and what it left out, by what it is."""

    writes: list[Write] = field(default_factory=list)
    requests: dict[str, State] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    locks: list[Lock] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)
    injections: Waiting = field(default_factory=Waiting)
    circuits: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)

    def skip(self, what: str, name: str, why: str) -> None:
        """Name something that is left out."""
        self.skipped.append({what: name, "why": why})

    def counts(self) -> dict[str, int]:
        """Return how much of each was taken."""
        return {
            "requests": len(self.requests),
            "sessions": len(self.sessions),
            "locks": len(self.locks),
            "pauses": len(self.pauses),
            "injections": len(self.injections),
            "circuits": len(self.circuits),
        }


class Checkpoints:
    """Collects checkpoints of an engine and restores them into it."""

    def __init__(
        self,
        core: Core,
        intake: Intake,
        controls: Controls,
        injections: InjectionCheckpoint,
    ) -> None:
        self._core = core
        self._intake = intake
        self._controls = controls
        self._injections = injections
        self._restoring = asyncio.Lock()

    # --- collect -----------------------------------------------------------------------------

    async def collect(self) -> dict[str, Any]:
        """Answer `checkpoint:collect`."""
        core = self._core
        await core.store.write()  # what was handed over before is on disk then
        # Requests end while this reads: all that is on disk is read as of one moment.
        async with core.store.moment() as moment:
            recovery = await moment.load()
            unfinished = recovery.unfinished
            active = {
                found.request_id: self._active(found)
                for found in sorted(unfinished, key=lambda found: found.request_id)
                if found.state is State.PROCESSING
            }
            circuits = core.providers.states()
            live = {session.session_id for session in core.sessions}
            live |= {found.session_id for found in recovery.sessions}
            queues = await _queues(moment, unfinished)
            saved = {name: await _session(moment, name) for name in sorted(live)}
            injections = await injection_checkpoint.collected(moment, recovery)
        locks = {lock.session_id: lock_json(lock) for lock in recovery.locks}
        return {
            "session_queues": queues,
            "active_completions": active,
            "sessions": {name: session for name, session in saved.items() if session},
            "locks": locks,
            "pauses": paused_reply(recovery.pauses),
            "injections": injections,
            "circuits": circuits,
            "components": {
                "engine": {"version": __version__, "collected_at": iso(self._core.clock())},
                "queue": {"requests": len(unfinished), "sessions": len(queues)},
                "locks": {"locks": len(locks)},
                "pauses": {"pauses": len(recovery.pauses)},
                "injections": {name: len(waiting) for name, waiting in injections.items()},
                "providers": {"circuits": len(circuits)},
            },
        }

    def _active(self, found: Unfinished) -> dict[str, Any]:
        ticket = self._core.tickets.get(found.request_id)
        call = ticket.run.call if ticket is not None and ticket.run is not None else None
        return {
            "session_id": found.session_id,
            "provider": call.entry.name if call else None,
            "model": call.model if call else None,
            "text": call.text if call else "",
        }

    # --- restore -----------------------------------------------------------------------------

    async def restore(self, data: Checkpoint) -> dict[str, Any]:
        """Answer `checkpoint:restore`; raises InvalidRequest when it does not hold together.

        One at a time: a second finds what the first has brought.
        """
        _check(data)
        async with self._restoring:
            return await self._restore(data)

    async def _restore(self, data: Checkpoint) -> dict[str, Any]:
        core = self._core
        waiting = injection_checkpoint.read(data.injections)
        items = sorted(_items(data), key=_place)
        known = await self._intake.known([item.request_id for _, item in items])
        there = {name for name in data.sessions if await self._core.store.session(name)}
        injected = await self._injections.known(waiting)
        # From here to the hand-over nothing is awaited: what was looked up still holds.
        now = self._core.clock()
        taken = _Taken()
        for session_id, item in items:
            name = item.request_id
            if name in known or name in core.entering or name in core.tickets:
                taken.skip("request_id", name, "a request of this id is here")
            else:
                self._take_request(taken, session_id, item, now)
        for session_id, session in data.sessions.items():
            if session_id in there:
                taken.skip("session_id", session_id, "a session of this name is here")
            else:
                _take_session(taken, session_id, session)
        self._take_locks(taken, data, now)
        self._take_pauses(taken, data)
        _take_injections(taken, waiting, injected)
        self._take_circuits(taken, data, now)
        await self._commit(taken, now)
        return {
            "restored": len(taken.requests),
            "skipped": [each["request_id"] for each in taken.skipped if "request_id" in each],
            "details": {"restored": taken.counts(), "skipped": taken.skipped},
        }

    def _take_request(self, taken: _Taken, session_id: str, item: Item, now: float) -> None:
        core, state = self._core, item.state
        settings = core.config
        model = item.data.model or settings.default_model
        if model is None:
            raise InvalidRequest(f"{item.request_id} names no model, and there is no default_model")
        spec = item.data.spec(
            request_id=item.request_id,
            session_id=session_id,
            model=model,
            timeout_s=settings.engine.timeout_s,
            max_attempts=settings.retry.max_attempts,
            lock_timeout_s=settings.engine.lock_timeout_s,
            inject=state is not None and state.ahead,
        )
        if state is not None and state.injected:
            spec = replace(spec, injected=True)
        core.next_number = max(core.next_number, number_of(item.request_id) + 1)
        at = now if state is None else state.queued_at.timestamp()
        accepted = Accepted(spec=spec, place=core.take_place(), at=at, next_number=core.next_number)
        taken.writes.append(accepted)
        if state is not None:
            taken.writes.append(_moved(item.request_id, state, at))
        taken.requests[item.request_id] = State.QUEUED if state is None else State(state.status)

    def _take_locks(self, taken: _Taken, data: Checkpoint, now: float) -> None:
        for session_id, saved in data.locks.items():
            lock = saved.lock(session_id)
            gone = lock.request_id is not None and lock.request_id not in taken.requests
            if lock.expires_at <= now or gone:
                taken.skip("lock", session_id, "its time is over")
            elif self._core.locks.get(session_id) is not None:
                taken.skip("lock", session_id, "the session is locked here")
            else:
                taken.locks.append(lock)
                taken.writes.append(LockSaved(lock=lock))

    def _take_pauses(self, taken: _Taken, data: Checkpoint) -> None:
        for saved in data.pauses:
            pause = saved.pause()
            if self._core.pauses.get(pause.scope, pause.id) is not None:
                taken.skip("pause", pause.target, "it is paused here")
            else:
                taken.pauses.append(pause)
                taken.writes.append(PauseSaved(pause=pause))

    def _take_circuits(self, taken: _Taken, data: Checkpoint, now: float) -> None:
        for name, state in data.circuits.items():
            entry = self._core.providers.get(name)
            if entry is None:
                taken.skip("circuit", name, "no provider of this name is configured here")
            elif not entry.unused:
                taken.skip("circuit", name, "the provider has been used here")
            elif parts := unreadable(entry, state, now):
                raise InvalidRequest(f"circuits.{name}: cannot read its {', '.join(parts)}")
            else:
                taken.circuits[name] = state
                taken.writes.append(ProviderSaved(provider=name, state=state))

    async def _commit(self, taken: _Taken, now: float) -> None:
        """Write everything down in one transaction; then let it run."""
        core = self._core
        entering: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        core.entering.update(dict.fromkeys(taken.requests, entering))
        try:
            await asyncio.shield(core.store.write(*taken.writes))
        finally:
            for request_id in taken.requests:
                del core.entering[request_id]
            entering.set_result(None)
        core.providers.restore(taken.circuits, now)
        self._controls.take_over(taken.pauses)
        self._injections.take_over(taken.injections)
        for lock in taken.locks:
            core.locks.restore(lock)
            core.queue.refresh(lock.session_id, now)
            core.alarms.set(("lock", lock.session_id), lock.expires_at)
        for session in taken.sessions:
            if core.sessions.get(session.session_id) is None:
                core.sessions.restore(session)
        for state in taken.requests.values():
            core.counts[state] += 1
        found = await core.store.unfinished(list(taken.requests))
        self._intake.adopt([ticket_found(each) for each in found])
        for each in found:
            core.sessions.seen(each.session_id, each.agent_id, now).request_count += 1


async def _queues(moment: Moment, unfinished: Sequence[Unfinished]) -> dict[str, Any]:
    specs: dict[str, RequestSpec] = {}
    for start in range(0, len(unfinished), _SPECS_AT_ONCE):
        chunk = unfinished[start : start + _SPECS_AT_ONCE]
        specs |= await moment.specs([found.request_id for found in chunk])
    queues: dict[str, Any] = {}
    for found in sorted(unfinished, key=_order):
        empty: dict[str, Any] = {"items": [], "is_active": False}
        queue = queues.setdefault(found.session_id, empty)
        queue["items"].append(item_of(found, specs[found.request_id]))
        queue["is_active"] |= found.state is State.PROCESSING
    return queues


async def _session(moment: Moment, session_id: str) -> dict[str, Any] | None:
    found = await moment.session(session_id)
    if found is None:
        return None
    turns = await moment.turns(session_id, HISTORY_MAX_CHARS)
    return {
        "created_at": iso(found.created_at),
        "last_activity": iso(found.last_activity),
        "agents": sorted(found.agents),
        "transcript": [dict(message) for message in turns],
    }


def _order(found: Unfinished) -> tuple[bool, int, int]:
    """Return the sort key of a session's items: as they would run."""
    return (found.started_at is None, found.rank, found.place)


def _place(pair: tuple[str, Item]) -> int:
    state = pair[1].state
    return state.place if state is not None else 0


def _check(data: Checkpoint) -> None:
    """Raise InvalidRequest where the parts of a checkpoint contradict each other."""
    seen: set[str] = set()
    for session_id, item in _items(data):
        if item.request_id in seen:
            raise InvalidRequest(f"{item.request_id} stands twice in session_queues")
        seen.add(item.request_id)
        if item.data.request_id not in (None, item.request_id):
            raise InvalidRequest(f"{item.request_id}: its data is that of {item.data.request_id}")
        if item.data.session_id not in (None, session_id):
            raise InvalidRequest(
                f"{item.request_id}: it stands in session {session_id}, "
                f"its data names {item.data.session_id}"
            )
    counted = data.components.get("queue", {}).get("requests", len(seen))
    if counted != len(seen):
        raise InvalidRequest(f"components say {counted} requests, session_queues hold {len(seen)}")
    for session_id, session in data.sessions.items():
        if len(session.transcript) % 2:
            raise InvalidRequest(f"sessions.{session_id}.transcript: turns come in pairs")


def _items(data: Checkpoint) -> Iterator[tuple[str, Item]]:
    for session_id, queue in data.session_queues.items():
        for item in queue.items:
            yield session_id, item


def _take_session(taken: _Taken, session_id: str, saved: SavedSession) -> None:
    created_at, last_activity = saved.created_at.timestamp(), saved.last_activity.timestamp()
    for agent_id in saved.agents or (None,):
        taken.writes.append(
            SessionSeen(
                session_id=session_id,
                created_at=created_at,
                last_activity=last_activity,
                agent_id=agent_id,
            )
        )
    messages = saved.transcript
    pairs = tuple(zip(messages[::2], messages[1::2], strict=True))
    if pairs:
        taken.writes.append(TurnsAdded(session_id=session_id, at=last_activity, pairs=pairs))
    taken.sessions.append(
        Session(
            session_id=session_id,
            created_at=created_at,
            last_activity=last_activity,
            agents=set(saved.agents),
        )
    )


def _take_injections(taken: _Taken, waiting: Waiting, known: Collection[str]) -> None:
    taken.injections = injection_checkpoint.fitting(waiting, known, taken.requests)
    taken.writes += injection_checkpoint.writes(taken.injections)
    for name in waiting.names:
        if name in known:
            taken.skip("injection", name, "an injection of this id, or terms of it, are here")


def _moved(request_id: str, state: Progress, at: float) -> Moved:
    return Moved(
        request_id=request_id,
        was=State.QUEUED,
        state=State(state.status),
        at=at,
        attempts=state.attempts,
        walks=state.walks,
        interruptions=state.interruptions,
        spent_s=state.spent_s,
        started_at=_epoch(state.started_at),
        retry_at=_epoch(state.retry_at),
        error_kind=state.error_kind,
        error_message=state.error_message,
        model=state.model,
        avoid=state.avoid,
    )


def _epoch(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
