"""How values become columns.

Mapping only: no SQL, no connection, no rule of the engine. Each function returns its
columns in the order of the statement of `statements` that takes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from ksi_tui.engine.filter.match import labels
from ksi_tui.engine.injection.policy import Injection, plain
from ksi_tui.engine.models import (
    Action,
    AttemptRecord,
    CallRecord,
    Lock,
    Message,
    OnConflict,
    Pause,
    RequestSpec,
)
from ksi_tui.engine.store.base import Accepted, Finished, Moved
from ksi_tui.engine.store.injection_records import InjectionMoved, TermsSaved


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} cannot be stored as JSON")


_FAST: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_exactly = json.JSONEncoder(separators=(",", ":"), default=_plain).encode


def to_json(value: object) -> str:
    """Return a value as compact JSON; raises TypeError, ValueError or RecursionError.

    A completion is encoded five times: measured 33 µs with the standard library, 2 µs with
    orjson. What orjson refuses (text that is not valid Unicode, integers over 64 bits, deep
    nesting) the standard library writes, in ASCII.
    """
    try:
        return orjson.dumps(value, _plain, _FAST).decode()
    except TypeError:
        return _exactly(value)


def storable(text: str | None) -> str | None:
    """Return text that SQLite takes: lone surrogates, which UTF-8 has no form for, become `?`."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


def accepted_row(write: Accepted) -> tuple[object, ...]:
    """Return the columns of a new request."""
    spec = write.spec
    lock = spec.lock
    return (
        write.place,
        spec.request_id,
        spec.session_id,
        spec.agent_id,
        spec.model,
        spec.model,
        spec.priority.rank,
        write.place,
        write.at,
        spec.max_attempts,
        spec.timeout_s,
        spec.stream,
        spec.needs_mcp,
        None if lock is None else lock.timeout_s,
        lock is not None and lock.on_conflict is OnConflict.FAIL,
    )


def moved_row(write: Moved) -> tuple[object, ...]:
    """Return the columns of a change of state."""
    return (
        write.request_id,
        write.state,
        write.attempts,
        write.walks,
        write.interruptions,
        write.spent_s,
        write.started_at,
        write.retry_at,
        write.error_kind,
        storable(write.error_message),
    )


def by_hand(write: Moved) -> tuple[object, ...]:
    """Return the columns that only a retry by hand changes; None leaves one as it is."""
    avoid = None if write.avoid is None else to_json(write.avoid)
    return (write.place, write.model, write.max_attempts, avoid)


def finished_row(write: Finished) -> tuple[object, ...]:
    """Return the columns of a final state."""
    return (
        write.request_id,
        write.state,
        write.at,
        write.finish_seq,
        write.attempts,
        write.walks,
        write.interruptions,
        write.spent_s,
        write.started_at,
        write.ttft_ms,
        write.provider,
        write.answered_model,
        write.error_kind,
        storable(write.error_message),
        storable(write.by),
        storable(write.reason),
    )


def lock_row(lock: Lock) -> tuple[object, ...]:
    """Return the columns of a conversation lock."""
    return (
        lock.session_id,
        lock.holder,
        lock.granted_at,
        lock.expires_at,
        lock.hold_s,
        lock.extended,
        lock.request_id,
    )


def pause_row(pause: Pause) -> tuple[object, ...]:
    """Return the columns of a pause."""
    return (
        pause.scope,
        pause.id or "",
        storable(pause.by),
        storable(pause.reason),
        pause.since,
    )


def action_row(action: Action) -> tuple[object, ...]:
    """Return the columns of an action."""
    return (
        action.at,
        action.name,
        action.target,
        storable(action.by),
        storable(action.reason),
        storable(action.detail),
    )


def payload(spec: RequestSpec) -> str:
    """Return what of the spec has no column of its own, without what is at its default."""
    asked: dict[str, object] = {"max_attempts": spec.max_attempts}
    if spec.prompt is not None:
        asked["prompt"] = spec.prompt
    if spec.system is not None:
        asked["system"] = spec.system
    if spec.messages is not None:
        asked["messages"] = spec.messages
    if spec.client_id is not None:
        asked["client_id"] = spec.client_id
    if not spec.history:
        asked["history"] = False
    if spec.params:
        asked["params"] = spec.params
    if spec.metadata:
        asked["metadata"] = spec.metadata
    if spec.injection is not None:
        asked["injection"] = plain(spec.injection)
    if spec.chain is not None:
        asked["chain"] = plain(spec.chain)
    if spec.injected:
        asked["injected"] = True
    return to_json(asked)


def label_rows(
    row: int, metadata: Mapping[str, Any]
) -> Iterator[tuple[int, str | None, str | None]]:
    """Yield the columns of what a request is found by beside its own."""
    for key, text in labels(metadata):
        yield row, storable(key), storable(text)


def reply_row(
    request_id: str, text: str | None, result: Mapping[str, Any] | None
) -> tuple[str, str | None, str | None]:
    """Return the columns of a reply; text that is the result's own content is not kept twice."""
    if result is None:
        return request_id, storable(text), None
    kept = None if text == content_of(result) else storable(text)
    return request_id, kept, to_json(result)


def content_of(result: Mapping[str, Any]) -> str | None:
    """Return the text in a standard envelope, or None."""
    try:
        content = result["response"]["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return None
    return content if isinstance(content, str) else None


def attempt_row(attempt: AttemptRecord) -> tuple[object, ...]:
    """Return the columns of an attempt."""
    verdicts = [[v.provider, v.kind, v.detail, v.until] for v in attempt.verdicts]
    return (
        attempt.request_id,
        attempt.started_at,
        attempt.attempt,
        attempt.finished_at,
        to_json(verdicts),
        attempt.error_kind,
        attempt.retry_at,
        attempt.spent,
    )


def call_row(call: CallRecord) -> tuple[object, ...]:
    """Return the columns of a call."""
    usage = call.usage
    buckets: tuple[object, ...] = (None,) * 6
    if usage is not None:
        buckets = (
            usage.input,
            usage.cache_read,
            usage.cache_write,
            usage.output,
            usage.reasoning,
            usage.estimated,
        )
    return (
        call.request_id,
        call.attempt,
        call.ordinal,
        call.provider,
        call.model,
        call.agent_id,
        call.session_id,
        call.started_at,
        call.finished_at,
        call.outcome,
        call.asked_model,
        call.first_token_at,
        call.last_token_at,
        call.error_kind,
        storable(call.error_message),
        call.status,
        *buckets,
        _raw_usage(call),
        call.cost,
        call.price_version,
        storable(call.partial_text),
        call.upstream_closed_ms,
        call.mcp,
        call.tool_schema_tokens,
        call.cache_savings,
    )


def _raw_usage(call: CallRecord) -> str | None:
    """Return the provider's own usage object, or None for one that no JSON can hold.

    What the call used is known without it, and must not be lost with it.
    """
    try:
        return None if call.raw_usage is None else to_json(call.raw_usage)
    except (TypeError, ValueError, RecursionError):
        return None


def injection_row(injection: Injection) -> tuple[object, ...]:
    """Return the columns of an injection."""
    return (
        injection.injection_id,
        injection.session_id,
        injection.mode,
        injection.position,
        storable(injection.content),
        injection.created_at,
        injection.source_id,
        storable(injection.trigger_type),
        storable(injection.follow_up_guidance),
        injection.expires_at,
        injection.state,
        injection.request_id,
        injection.bound_at,
        None if injection.blocked is None else to_json(plain(injection.blocked)),
    )


def injection_move(write: InjectionMoved) -> tuple[object, ...]:
    """Return the columns of an injection's change."""
    return (write.injection_id, write.state, write.request_id, write.at)


def terms_row(write: TermsSaved) -> tuple[object, ...]:
    """Return the columns of a request's terms."""
    queued = write.queued
    bounds = None if queued.bounds is None else to_json(plain(queued.bounds))
    return (write.request_id, to_json(plain(queued.terms)), bounds, queued.owed)


def turn_row(session_id: str, turn: tuple[Message, Message]) -> tuple[str, int, str]:
    """Return the columns of a pair of turns; its length is that of its texts."""
    chars = 0
    for message in turn:
        content = message.get("content")
        chars += len(content) if isinstance(content, str) else len(to_json(content))
    return session_id, chars, to_json(turn)
