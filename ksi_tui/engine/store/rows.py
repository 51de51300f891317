"""How columns become values.

Mapping only: no SQL, no connection, no rule of the engine. Each function takes its columns
in the order of the statement of `statements` that it belongs to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ksi_tui.engine.clock import iso
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.injection.policy import (
    Blocked,
    Injection,
    InjectionState,
    InjectMode,
    Position,
    QueuedTerms,
    bounds_of,
    terms_of,
)
from ksi_tui.engine.models import (
    Action,
    AttemptRecord,
    CallRecord,
    Lock,
    LockTerms,
    OnConflict,
    Outcome,
    Pause,
    PauseScope,
    Priority,
    RequestSpec,
    State,
    Usage,
    Verdict,
    VerdictKind,
)
from ksi_tui.engine.store.columns import content_of
from ksi_tui.engine.store.injection_records import PendingFound
from ksi_tui.engine.store.records import SessionFound, StoredRequest, Unfinished
from ksi_tui.engine.store.usage import answering

Row = Sequence[Any]

_STATES: Final = {state.value: state for state in State}
_KINDS: Final = {kind.value: kind for kind in ErrorKind}
_BY_RANK: Final = tuple(sorted(Priority, key=lambda priority: priority.rank))
_LEVELS: Final = tuple(priority.level for priority in _BY_RANK)
_NO_MAPPING: Final[Mapping[str, Any]] = {}


from_json = json.loads


def kind_of(text: str | None) -> ErrorKind | None:
    """Return the error kind of a column."""
    return None if text is None else _KINDS[text]


def state_of(text: str) -> State:
    """Return the state of a column."""
    return _STATES[text]


def priority_of(rank: int) -> Priority:
    """Return the priority of a column."""
    return _BY_RANK[rank]


def unfinished(row: Row) -> Unfinished:
    """Return an unfinished request."""
    rank: int = row[5]
    stream: int | None = row[16]
    avoid: str | None = row[20]
    return Unfinished(
        request_id=row[0],
        session_id=row[1],
        agent_id=row[2],
        model=row[3],
        state=_STATES[row[4]],
        rank=rank,
        level=_LEVELS[rank],
        place=row[6],
        queued_at=row[7],
        started_at=row[8],
        retry_at=row[9],
        attempts=row[10],
        walks=row[11],
        interruptions=row[12],
        max_attempts=row[13],
        timeout_s=row[14],
        spent_s=row[15],
        stream=None if stream is None else bool(stream),
        needs_mcp=bool(row[17]),
        lock_timeout_s=row[18],
        lock_fails=bool(row[19]),
        avoid=() if avoid is None else tuple(from_json(avoid)),
        error_kind=kind_of(row[21]),
        error_message=row[22],
        used_tokens=row[23],
    )


def spec(row: Row) -> RequestSpec:
    """Return what was asked."""
    request_id, session_id, agent_id, model, rank, timeout_s, stream, hold_s, fails, asked = row
    rest: dict[str, Any] = from_json(asked)
    messages = rest.get("messages")
    lock = None
    if hold_s is not None:
        on_conflict = OnConflict.FAIL if fails else OnConflict.WAIT
        lock = LockTerms(timeout_s=hold_s, on_conflict=on_conflict)
    return RequestSpec(
        request_id=request_id,
        session_id=session_id,
        model=model,
        prompt=rest.get("prompt"),
        system=rest.get("system"),
        messages=None if messages is None else tuple(messages),
        agent_id=agent_id,
        client_id=rest.get("client_id"),
        priority=_BY_RANK[rank],
        stream=None if stream is None else bool(stream),
        history=rest.get("history", True),
        timeout_s=timeout_s,
        max_attempts=rest["max_attempts"],
        lock=lock,
        params=rest.get("params", _NO_MAPPING),
        metadata=rest.get("metadata", _NO_MAPPING),
        injection=terms_of(rest["injection"]) if "injection" in rest else None,
        chain=bounds_of(rest["chain"]) if "chain" in rest else None,
        injected=rest.get("injected", False),
    )


def stored_request(
    row: Row,
    *,
    attempts: Sequence[AttemptRecord] = (),
    calls: Sequence[CallRecord] = (),
    actions: Sequence[Action] = (),
    injections: Sequence[Injection] = (),
) -> StoredRequest:
    """Return a request with the given history."""
    result = None if row[32] is None else from_json(row[32])
    text = row[31]
    if text is None and result is not None:
        text = content_of(result)
    return StoredRequest(
        spec=spec((*row[0:4], row[6], row[17], *row[19:22], row[30])),
        state=_STATES[row[5]],
        place=row[7],
        queued_at=row[8],
        started_at=row[9],
        finished_at=row[10],
        finish_seq=row[11],
        retry_at=row[12],
        attempts=row[13],
        walks=row[14],
        interruptions=row[15],
        max_attempts=row[16],
        spent_s=row[18],
        model=row[4],
        avoid=() if row[22] is None else tuple(from_json(row[22])),
        provider=row[23],
        answered_model=row[24],
        ttft_ms=row[25],
        text=text,
        result=result,
        error_kind=kind_of(row[26]),
        error_message=row[27],
        by=row[28],
        reason=row[29],
        tokens=row[33],
        attempt_records=attempts,
        calls=calls,
        actions=actions,
        injections=injections,
    )


def attempt(row: Row) -> AttemptRecord:
    """Return an attempt."""
    request_id, number, started_at, finished_at, verdicts, error_kind, retry_at, spent = row
    return AttemptRecord(
        request_id=request_id,
        attempt=number,
        started_at=started_at,
        finished_at=finished_at,
        verdicts=tuple(
            Verdict(provider=provider, kind=VerdictKind(kind), detail=detail, until=until)
            for provider, kind, detail, until in from_json(verdicts)
        ),
        error_kind=kind_of(error_kind),
        retry_at=retry_at,
        spent=bool(spent),
    )


def usage(columns: Row) -> Usage | None:
    """Return the five buckets and `estimated`, or None where nothing is known."""
    if columns[0] is None:
        return None
    return Usage(
        input=columns[0],
        cache_read=columns[1],
        cache_write=columns[2],
        output=columns[3],
        reasoning=columns[4],
        estimated=bool(columns[5]),
    )


def call(row: Row) -> tuple[int, CallRecord]:
    """Return a call with its row number."""
    raw = row[23]
    return row[0], CallRecord(
        request_id=row[1],
        attempt=row[2],
        ordinal=row[3],
        provider=row[4],
        model=row[5],
        agent_id=row[6],
        session_id=row[7],
        started_at=row[8],
        finished_at=row[9],
        outcome=Outcome(row[10]),
        asked_model=row[11],
        first_token_at=row[12],
        last_token_at=row[13],
        error_kind=kind_of(row[14]),
        error_message=row[15],
        status=row[16],
        usage=usage(row[17:23]),
        raw_usage=None if raw is None else from_json(raw),
        cost=row[24],
        price_version=row[25],
        partial_text=row[26],
        upstream_closed_ms=row[27],
        mcp=bool(row[28]),
        tool_schema_tokens=row[29],
        cache_savings=row[30],
    )


def action(row: Row) -> Action:
    """Return an action."""
    at, name, target, by, reason, detail = row
    return Action(at=at, name=name, target=target, by=by, reason=reason, detail=detail)


def lock(row: Row) -> Lock:
    """Return a lock."""
    session_id, holder, granted_at, expires_at, hold_s, extended, request_id = row
    return Lock(
        session_id=session_id,
        holder=holder,
        granted_at=granted_at,
        expires_at=expires_at,
        hold_s=hold_s,
        extended=extended,
        request_id=request_id,
    )


def pause(row: Row) -> Pause:
    """Return a pause."""
    scope, id, by, reason, since = row
    return Pause(scope=PauseScope(scope), id=id or None, by=by, reason=reason, since=since)


def injection(row: Row) -> Injection:
    """Return an injection."""
    return Injection(
        injection_id=row[0],
        session_id=row[1],
        mode=InjectMode(row[2]),
        position=Position(row[3]),
        content=row[4],
        created_at=row[5],
        source_id=row[6],
        trigger_type=row[7],
        follow_up_guidance=row[8],
        expires_at=row[9],
        state=InjectionState(row[10]),
        request_id=row[11],
        bound_at=row[12],
        blocked=None if row[13] is None else Blocked(**from_json(row[13])),
    )


def pending(row: Row) -> PendingFound:
    """Return a pending or bound injection without its text."""
    injection_id, session_id, chars, expires_at, request_id = row
    return PendingFound(
        injection_id=injection_id,
        session_id=session_id,
        chars=chars,
        expires_at=expires_at,
        request_id=request_id,
    )


def queued_terms(row: Row) -> QueuedTerms:
    """Return a request's terms."""
    _, terms, bounds, owed = row
    return QueuedTerms(
        terms=terms_of(from_json(terms)),
        bounds=None if bounds is None else bounds_of(from_json(bounds)),
        owed=bool(owed),
    )


def session(row: Row, agents: Iterable[str]) -> SessionFound:
    """Return a session."""
    return SessionFound(
        session_id=row[0],
        created_at=row[1],
        last_activity=row[2],
        request_count=row[3],
        turn_count=row[4],
        agents=tuple(agents),
    )


def result(row: Row, calls: Iterable[Row]) -> Mapping[str, Any]:
    """Return a final request as `run` and `results` print it (contract, section 10).

    Nothing known to be used is nothing in every bucket. `calls` are its calls' columns of
    `statements.CALL_USAGE_OF`. `model` is the model that answered, else the one that would have
    been called.
    """
    envelope, text = row[6], row[5]
    if text is None and envelope is not None:
        text = content_of(from_json(envelope))
    used = [(call[1], usage(call[2:8]), call[8]) for call in calls]
    tokens, cost = answering(used, completed=row[4] == State.COMPLETED)
    queued_at, started_at, finished_at = row[14:17]
    return {
        "request_id": row[1],
        "session_id": row[2],
        "agent_id": row[3],
        "status": row[4],
        "text": text or "",
        "provider": row[7],
        "model": row[9] if row[9] is not None else row[8],
        "requested_model": row[10],
        "attempts": row[11],
        "usage": (tokens or Usage()).plain(),
        "cost": cost,
        "error": None if row[12] is None else {"kind": row[12], "message": row[13]},
        "queued_at": iso(queued_at),
        "started_at": iso(started_at),
        "finished_at": iso(finished_at),
        "latency_ms": round((finished_at - queued_at) * 1000, 3),
        "ttft_ms": row[17],
    }
