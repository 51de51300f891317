"""What one transaction holds: write values, gathered by statement.

Pure: no connection, no clock. The order of writes is kept where it can be seen. Writes of
one request run through the statements accept, reopen, redirect, move, finish in this
order; where a write steps back, a new step begins inside the same transaction. What only
adds up (counters, usage, sessions) or where only the last value counts (locks, providers,
where an injection is) is gathered over the whole transaction and written at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from ksi_tui.engine.models import Lock, Pause, PauseScope, State
from ksi_tui.engine.store import columns, statements, usage_statements
from ksi_tui.engine.store.base import (
    Accepted,
    ActionTaken,
    Admitted,
    AttemptBooked,
    CallBooked,
    Finished,
    LockGone,
    LockSaved,
    Moved,
    PauseGone,
    PauseSaved,
    ProviderSaved,
    SessionSeen,
    TurnsAdded,
    TurnsForgotten,
    UsageFolded,
    Write,
)
from ksi_tui.engine.store.folding import fold_steps
from ksi_tui.engine.store.injection_records import (
    InjectionMoved,
    InjectionSaved,
    TermsGone,
    TermsSaved,
)
from ksi_tui.engine.store.journal import (
    EntryKept,
    JournalPruned,
    JournalWrite,
    add_to_batch,
    of_action,
    of_end,
)
from ksi_tui.engine.store.numbering import SET_NUMBER, NumbersGiven
from ksi_tui.engine.store.upkeep import UPKEEP_WRITES, UpkeepWrite, counters_of, steps_of
from ksi_tui.engine.store.usage import Gathered

Rows = list[tuple[object, ...]]

_ORDERED: Final = (
    statements.ACCEPT,
    statements.REOPEN,
    statements.REDIRECT,
    statements.MOVE,
    statements.FINISH,
)
_STAGE: Final = {statement: stage for stage, statement in enumerate(_ORDERED)}
_STARTED_AT: Final = 8
"""Where in a row of FINISH the start is, the only value that an end may leave as it was."""
_FOLLOWED_BY: Final = {
    statements.ACCEPT: statements.ADD_PAYLOAD,
    statements.REOPEN: statements.DROP_REPLY,
    statements.FINISH: statements.ADD_REPLY,
}


def request_of(write: Write) -> str | None:
    """Return the id of the request that a write belongs to, or None."""
    match write:
        case Accepted():
            return write.spec.request_id
        case Moved() | Finished():
            return write.request_id
        case AttemptBooked():
            return write.attempt.request_id
        case CallBooked():
            return write.call.request_id
        case _:
            return None


class _SessionDelta:
    """What one transaction adds to one session."""

    __slots__ = ("created_at", "ended_at", "last_activity", "requests", "turns", "used")

    def __init__(self, at: float) -> None:
        self.created_at = at
        self.last_activity = at
        self.requests = 0
        self.turns = 0
        self.used = False
        self.ended_at: float | None = None


class Batch:
    """The statements and rows of one transaction. Add writes in order, then take `steps`.

    Adding raises TypeError or ValueError for a value that JSON cannot hold; the batch is
    then spoilt.
    """

    def __init__(self) -> None:
        self._ordered: list[dict[str, Rows]] = [{}]
        self._stages: dict[str, int] = {}
        self._added: dict[str, Rows] = {}
        self._sessions: dict[str, _SessionDelta] = {}
        self._agents: dict[tuple[object, ...], None] = {}
        self._locks: dict[str, Lock | None] = {}
        self._pauses: dict[tuple[PauseScope, str | None], Pause | None] = {}
        self._forgotten: dict[tuple[object, ...], None] = {}
        self._providers: dict[str, str] = {}
        self._injections: dict[str, InjectionMoved] = {}
        self._terms: dict[str, TermsSaved | None] = {}
        self._admissions: dict[tuple[str, int], tuple[float, int]] = {}
        self._deltas: dict[str, int] = {}
        self._raised: dict[str, int] = {}
        self._usage = Gathered()
        self._fold_at: float | None = None

    def add(self, write: Write) -> None:
        """Take one write in."""
        _ADD[type(write)](self, write)

    def steps(self) -> Iterator[tuple[str, Rows]]:
        """Yield statements with their rows, in the order in which they must run."""
        for step in self._ordered:
            _drop_overwritten(step)
            for statement in _ORDERED:
                if statement in step:
                    yield statement, step[statement]
                    follower = _FOLLOWED_BY.get(statement)
                    if follower in step:
                        yield follower, step[follower]
        # Turns that were added before their session was forgotten are gone from the batch.
        yield statements.FORGET_TURNS, list(self._forgotten)
        yield statements.COUNT_NO_TURNS, list(self._forgotten)
        yield from self._added.items()
        yield from self._gathered()

    def _gathered(self) -> Iterator[tuple[str, Rows]]:
        sessions = self._sessions.items()
        yield statements.TOUCH_SESSION, [_session_row(*each) for each in sessions if each[1].used]
        unused = [_session_row(*each) for each in sessions if not each[1].used]
        yield statements.ADD_TO_SESSION, unused
        yield statements.ADD_AGENT, list(self._agents)
        held = [lock for lock in self._locks.values() if lock is not None]
        gone: Rows = [(session_id,) for session_id, lock in self._locks.items() if lock is None]
        yield statements.SAVE_LOCK, [columns.lock_row(lock) for lock in held]
        yield statements.DROP_LOCK, gone
        paused = [pause for pause in self._pauses.values() if pause is not None]
        resumed: Rows = [(scope, id or "") for (scope, id), p in self._pauses.items() if p is None]
        yield statements.SAVE_PAUSE, [columns.pause_row(pause) for pause in paused]
        yield statements.DROP_PAUSE, resumed
        yield statements.SAVE_PROVIDER, list(self._providers.items())
        yield from self._injection_steps()
        yield usage_statements.ADD_MINUTE, list(self._usage.minute_rows())
        yield (
            statements.SAVE_ADMISSION,
            [(*key, *admission) for key, admission in self._admissions.items()],
        )
        yield usage_statements.ADD_SESSION_USAGE, list(self._usage.session_rows())
        yield statements.ADD_TO_COUNTER, [item for item in self._deltas.items() if item[1]]
        yield statements.RAISE_COUNTER, list(self._raised.items())
        if self._fold_at is not None:
            yield from fold_steps(self._fold_at)

    def _injection_steps(self) -> Iterator[tuple[str, Rows]]:
        moved = [columns.injection_move(write) for write in self._injections.values()]
        yield statements.MOVE_INJECTION, moved
        yield statements.FORGET_INJECTION, [(row[0],) for row in moved]
        kept = [write for write in self._terms.values() if write is not None]
        gone: Rows = [(request_id,) for request_id, write in self._terms.items() if write is None]
        yield statements.SAVE_TERMS, [columns.terms_row(write) for write in kept]
        yield statements.DROP_TERMS, gone

    # --- requests -------------------------------------------------------------------------

    def _step(self, request_id: str, statement: str) -> dict[str, Rows]:
        stage = _STAGE[statement]
        if stage < self._stages.get(request_id, 0):
            self._ordered.append({})
            self._stages.clear()
        self._stages[request_id] = stage
        return self._ordered[-1]

    def _accept(self, write: Accepted) -> None:
        spec = write.spec
        step = self._step(spec.request_id, statements.ACCEPT)
        step.setdefault(statements.ACCEPT, []).append(columns.accepted_row(write))
        payload = (write.place, columns.payload(spec))
        step.setdefault(statements.ADD_PAYLOAD, []).append(payload)
        if spec.metadata:
            for label in columns.label_rows(write.place, spec.metadata):
                self._append(statements.ADD_LABEL, label)
        if spec.chain is not None and spec.chain.parent_request_id is not None:
            self._append(statements.ADD_CHAIN, (spec.request_id, spec.chain.parent_request_id))
        session = self._session(spec.session_id, write.at)
        session.requests += 1
        session.used, session.ended_at = True, None
        if spec.agent_id is not None:
            self._agents[spec.session_id, spec.agent_id] = None
        self._count(None, State.QUEUED)
        self._raise("next_place", write.place + 1)
        self._raise("next_number", write.next_number)

    def _number(self, write: NumbersGiven) -> None:
        self._added[SET_NUMBER] = [(write.next_number,)]
        self._raised.pop("next_number", None)

    def _move(self, write: Moved) -> None:
        row = columns.moved_row(write)
        statement = statements.MOVE
        if write.was.final or write.queued_at is not None:
            statement = statements.REOPEN
            row += (*columns.by_hand(write), write.queued_at)
        elif any(value is not None for value in columns.by_hand(write)):
            statement = statements.REDIRECT
            row += columns.by_hand(write)
        step = self._step(write.request_id, statement)
        step.setdefault(statement, []).append(row)
        if statement is statements.REOPEN:
            step.setdefault(statements.DROP_REPLY, []).append((write.request_id,))
        if write.place is not None:
            self._raise("next_place", write.place + 1)
        self._count(write.was, write.state)

    def _finish(self, write: Finished) -> None:
        step = self._step(write.request_id, statements.FINISH)
        step.setdefault(statements.FINISH, []).append(columns.finished_row(write))
        if write.text or write.result is not None:
            reply = columns.reply_row(write.request_id, write.text, write.result)
            step.setdefault(statements.ADD_REPLY, []).append(reply)
        if write.turn is not None:
            self._append(statements.ADD_TURN, columns.turn_row(write.session_id, write.turn))
            self._session(write.session_id, write.at).turns += 1
        self._raise("next_finish_seq", write.finish_seq + 1)
        self._count(write.was, write.state)
        if write.state is not State.COMPLETED:
            add_to_batch(_entry_of(write), self._append)

    def _add_turns(self, write: TurnsAdded) -> None:
        for pair in write.pairs:
            self._append(statements.ADD_TURN, columns.turn_row(write.session_id, pair))
        self._session(write.session_id, write.at).turns += len(write.pairs)

    def _count(self, was: State | None, state: State) -> None:
        if was is not None:
            self._deltas[was] = self._deltas.get(was, 0) - 1
        self._deltas[state] = self._deltas.get(state, 0) + 1

    def _raise(self, counter: str, value: int) -> None:
        if value > self._raised.get(counter, 0):
            self._raised[counter] = value

    # --- everything else ------------------------------------------------------------------

    def _append(self, statement: str, row: tuple[object, ...]) -> None:
        self._added.setdefault(statement, []).append(row)

    def _attempt(self, write: AttemptBooked) -> None:
        self._append(statements.ADD_ATTEMPT, columns.attempt_row(write.attempt))

    def _call(self, write: CallBooked) -> None:
        self._append(statements.ADD_CALL, columns.call_row(write.call))
        self._usage.add(write.call)

    def _fold(self, write: UsageFolded) -> None:
        self._fold_at = write.at

    def _act(self, write: ActionTaken) -> None:
        self._append(statements.ADD_ACTION, columns.action_row(write.action))
        if write.told:
            add_to_batch(of_action(write.action, write.session_id), self._append)

    def _journal(self, write: JournalWrite) -> None:
        add_to_batch(write, self._append)

    def _lock(self, write: LockSaved) -> None:
        self._locks[write.lock.session_id] = write.lock

    def _unlock(self, write: LockGone) -> None:
        self._locks[write.session_id] = None

    def _pause(self, write: PauseSaved) -> None:
        self._pauses[write.pause.scope, write.pause.id] = write.pause

    def _resume(self, write: PauseGone) -> None:
        self._pauses[write.scope, write.id] = None

    def _forget(self, write: TurnsForgotten) -> None:
        self._forgotten[write.session_id,] = None
        turns = self._added.get(statements.ADD_TURN, [])
        turns[:] = [row for row in turns if row[0] != write.session_id]
        if write.session_id in self._sessions:
            self._sessions[write.session_id].turns = 0

    def _provider(self, write: ProviderSaved) -> None:
        self._providers[write.provider] = columns.to_json(write.state)

    def _admit(self, write: Admitted) -> None:
        self._admissions[write.provider, write.number] = (write.at, write.tokens)

    def _seen(self, write: SessionSeen) -> None:
        session = self._session(write.session_id, write.last_activity)
        session.created_at = min(session.created_at, write.created_at)
        session.used, session.ended_at = True, write.ended_at
        if write.agent_id is not None:
            self._agents[write.session_id, write.agent_id] = None

    def _inject(self, write: InjectionSaved) -> None:
        self._append(statements.ADD_INJECTION, columns.injection_row(write.injection))

    def _move_injection(self, write: InjectionMoved) -> None:
        self._injections[write.injection_id] = write

    def _terms_saved(self, write: TermsSaved) -> None:
        self._terms[write.request_id] = write

    def _terms_gone(self, write: TermsGone) -> None:
        self._terms[write.request_id] = None

    def _keep_house(self, write: UpkeepWrite) -> None:
        for statement, rows in steps_of(write):
            self._added.setdefault(statement, []).extend(rows)
        for counter, value in counters_of(write).items():
            self._raise(counter, value)

    def _session(self, session_id: str, at: float) -> _SessionDelta:
        session = self._sessions.get(session_id)
        if session is None:
            session = self._sessions[session_id] = _SessionDelta(at)
        session.created_at = min(session.created_at, at)
        session.last_activity = max(session.last_activity, at)
        return session


def _drop_overwritten(step: dict[str, Rows]) -> None:
    """Leave out the moves of requests that end in the same step: the end sets all they would."""
    moved = step.get(statements.MOVE)
    if moved and (ends := step.get(statements.FINISH)):
        ended = {row[0] for row in ends if row[_STARTED_AT] is not None}
        step[statements.MOVE] = [row for row in moved if row[0] not in ended]


def _entry_of(write: Finished) -> EntryKept:
    """Return what the journal tells of a failure or cancel, without its text."""
    told: dict[str, object] = {"reason": write.reason, "by": write.by, "was": write.was}
    if write.state is State.FAILED:
        kind, error = write.error_kind, write.error_message
        told = {"error": error, "kind": kind, "attempts": write.attempts}
    ids = (write.request_id, write.session_id)
    return of_end(write.state, write.at, ids, write.provider, told)


def _session_row(session_id: str, delta: _SessionDelta) -> tuple[object, ...]:
    return (
        session_id,
        delta.created_at,
        delta.last_activity,
        delta.requests,
        delta.turns,
        delta.ended_at,
    )


_ADD: Final[dict[type[Any], Callable[[Batch, Any], None]]] = {
    Accepted: Batch._accept,
    NumbersGiven: Batch._number,
    Moved: Batch._move,
    Finished: Batch._finish,
    TurnsAdded: Batch._add_turns,
    AttemptBooked: Batch._attempt,
    CallBooked: Batch._call,
    UsageFolded: Batch._fold,
    LockSaved: Batch._lock,
    LockGone: Batch._unlock,
    ProviderSaved: Batch._provider,
    Admitted: Batch._admit,
    ActionTaken: Batch._act,
    SessionSeen: Batch._seen,
    PauseSaved: Batch._pause,
    PauseGone: Batch._resume,
    TurnsForgotten: Batch._forget,
    InjectionSaved: Batch._inject,
    InjectionMoved: Batch._move_injection,
    TermsSaved: Batch._terms_saved,
    TermsGone: Batch._terms_gone,
    **dict.fromkeys(UPKEEP_WRITES, Batch._keep_house),
    EntryKept: Batch._journal,
    JournalPruned: Batch._journal,
}
