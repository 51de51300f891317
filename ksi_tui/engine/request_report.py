"""Everything about one request in one reply: attempts, calls, verdicts, usage, timeline.

Joins what the store has written down with what is still only in memory of a running one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ksi_tui.engine.clock import iso
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.injection.report import injection_report, injection_timeline
from ksi_tui.engine.live_call import LiveCall
from ksi_tui.engine.models import (
    AttemptRecord,
    CallRecord,
    Outcome,
    RequestSpec,
    Usage,
    Verdict,
)
from ksi_tui.engine.providers.base import OnWorkers
from ksi_tui.engine.store.records import StoredRequest
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.token_tracker import estimate


def request_report(
    stored: StoredRequest, ticket: Ticket | None, closing: Sequence[LiveCall] = ()
) -> dict[str, Any]:
    """Return the reply of `completion:request_status` but for what only the queue knows.

    `closing` are its calls that were stopped and are not on disk yet: they are booked once their
    upstream is known to be closed.
    """
    live = ticket.run.call if ticket is not None and ticket.run is not None else None
    attempts = _attempts(stored, ticket, closing)
    usage, cost, unpriced = _sums(stored.calls)
    return {
        **_asked(stored.spec),
        "status": str(ticket.state if ticket is not None else stored.state),
        "why": None,
        "cause": None,
        "if_nobody_acts": None,
        "outlook": None,
        "chain": [],
        "root": None,
        "cycle": False,
        "chain_text": None,
        "moves": [],
        "model": live.model if live else stored.answered_model or stored.model,
        "provider": live.entry.name if live else stored.provider,
        "avoid": list(stored.avoid),
        "queued_at": iso(stored.queued_at),
        "started_at": iso(ticket.started_at if ticket else stored.started_at),
        "finished_at": iso(stored.finished_at),
        "retry_at": iso(ticket.retry_at if ticket else stored.retry_at),
        "ttft_ms": live.ttft_ms if live else stored.ttft_ms,
        "attempts": attempts,
        "attempts_spent": ticket.attempts if ticket else stored.attempts,
        "max_attempts": ticket.max_attempts if ticket else stored.max_attempts,
        "interruptions": ticket.interruptions if ticket else stored.interruptions,
        "error": _error(ticket or stored),
        "text": live.text if live else stored.text,
        "result": stored.result,
        "usage": usage.plain() if usage is not None else None,
        "cost": cost,
        "unpriced": unpriced,
        "by": stored.by,
        "reason": stored.reason,
        **injection_report(stored),
        "timeline": _timeline(stored, attempts),
    }


def _asked(spec: RequestSpec) -> dict[str, Any]:
    """Return what was asked for, as it was."""
    return {
        "request_id": spec.request_id,
        "session_id": spec.session_id,
        "agent_id": spec.agent_id,
        "client_id": spec.client_id,
        "priority": str(spec.priority),
        "requested_model": spec.model,
        "timeout_s": spec.timeout_s,
        "injected": spec.injected,
        "prompt": spec.prompt,
        "system": spec.system,
        "messages": [dict(message) for message in spec.messages] if spec.messages else None,
        "history": "session" if spec.history else "none",
        "params": dict(spec.params),
        "metadata": dict(spec.metadata),
    }


def _error(of: Ticket | StoredRequest) -> dict[str, Any] | None:
    if of.error_kind is None:
        return None
    return {"kind": str(of.error_kind), "message": of.error_message}


def _attempts(
    stored: StoredRequest, ticket: Ticket | None, closing: Sequence[LiveCall]
) -> list[dict[str, Any]]:
    calls: dict[int, list[dict[str, Any]]] = defaultdict(list)
    booked = {(call.attempt, call.ordinal) for call in stored.calls}
    unbooked = [
        (each.pending, each.closed is None)
        for each in closing
        if each.pending is not None and (each.run.attempt, each.ordinal) not in booked
    ]
    ended = [*((call, False) for call in stored.calls), *unbooked]
    for call, open_still in sorted(ended, key=lambda each: each[0].ordinal):
        calls[call.attempt].append(_call(call) | {"closing": open_still})
    run = ticket.run if ticket is not None else None
    attempts = [
        _attempt(record, calls.get(record.attempt, []))
        for record in stored.attempt_records
        if run is None or record.attempt != run.attempt
    ]
    if run is not None:
        record = AttemptRecord(
            request_id=stored.spec.request_id,
            attempt=run.attempt,
            started_at=run.started_at,
            verdicts=tuple(run.verdicts),
        )
        known = {each.ordinal: _call(each.pending) for each in run.calls if each.pending}
        known |= {call["ordinal"]: call for call in calls.get(run.attempt, [])}
        live = [known.get(each.ordinal) or _live(each) for each in run.calls]
        attempts.append(_attempt(record, live))
    return attempts


def _attempt(record: AttemptRecord, calls: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "attempt": record.attempt,
        "started_at": iso(record.started_at),
        "finished_at": iso(record.finished_at),
        "error_kind": str(record.error_kind) if record.error_kind else None,
        "retry_at": iso(record.retry_at),
        "spent": record.spent,
        "verdicts": [_verdict(verdict) for verdict in record.verdicts],
        "calls": list(calls),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "provider": verdict.provider,
        "kind": str(verdict.kind),
        "detail": verdict.detail,
        "until": iso(verdict.until),
    }


def _call(call: CallRecord) -> dict[str, Any]:
    ttft_ms = None
    if call.first_token_at is not None:
        ttft_ms = round((call.first_token_at - call.started_at) * 1000, 1)
    error = None
    if call.error_kind is not None:
        error = {
            "kind": str(call.error_kind),
            "message": call.error_message,
            "status": call.status,
        }
    return {
        "ordinal": call.ordinal,
        "provider": call.provider,
        "model": call.model,
        "asked_model": call.asked_model,
        "outcome": str(call.outcome),
        "started_at": iso(call.started_at),
        "finished_at": iso(call.finished_at),
        "duration_ms": round((call.finished_at - call.started_at) * 1000, 1),
        "first_token_at": iso(call.first_token_at),
        "last_token_at": iso(call.last_token_at),
        "ttft_ms": ttft_ms,
        "error": error,
        "usage": call.usage.plain() if call.usage is not None else None,
        "raw_usage": call.raw_usage,
        "cost": call.cost,
        "price_version": call.price_version,
        "mcp": call.mcp,
        "tool_schema_tokens": call.tool_schema_tokens,
        "cache_savings": call.cache_savings,
        "waste": call.waste,
        "partial_text": call.partial_text,
        "upstream_closed_ms": call.upstream_closed_ms,
        "closing": False,
    }


def _live(call: LiveCall) -> dict[str, Any]:
    return {
        "ordinal": call.ordinal,
        "provider": call.entry.name,
        "model": call.model,
        "asked_model": call.asked_model,
        "outcome": "running",
        "started_at": iso(call.started_at),
        "finished_at": None,
        "duration_ms": None,
        "first_token_at": iso(call.first_token_at),
        "last_token_at": iso(call.last_token_at),
        "ttft_ms": call.ttft_ms,
        "error": None,
        "usage": None,
        "raw_usage": None,
        "cost": None,
        "price_version": None,
        "mcp": call.mcp,
        "tool_schema_tokens": 0,
        "cache_savings": None,
        "waste": False,
        "partial_text": None,
        "upstream_closed_ms": None,
        "closing": False,
        "stream": call.stream,
        "tokens_so_far": call.tokens,
        "clock": call.clock_name,
        "clock_ends_at": iso(call.idle_at),
        "estimate": _estimate(call),
        "worker": _worker(call),
    }


def _estimate(call: LiveCall) -> dict[str, Any]:
    """Return, crudely, what a running call has used so far, and the dollars where `[prices]` tell.

    Its tokens so far are those that were counted as they came.
    """
    usage = estimate(messages=[*call.history, *call.messages], tools=call.tools)
    usage = replace(usage, output=call.tokens)
    cost, _ = call.watcher.tokens.price(call.model, usage, None, None)
    return {**usage.plain(), "cost": cost}


def _worker(call: LiveCall) -> dict[str, Any] | None:
    provider = call.entry.provider
    found = provider.worker_of(call) if isinstance(provider, OnWorkers) else None
    if found is None:
        return None
    return {
        "worker": found.worker,
        "pid": found.pid,
        "up_s": None if found.up_s is None else round(found.up_s, 1),
    }


def _sums(calls: Sequence[CallRecord]) -> tuple[Usage | None, float | None, int]:
    """Return the usage of all calls, what of it has a price, and how many have none."""
    known = [call.usage for call in calls if call.usage is not None]
    priced = [call.cost for call in calls if call.cost is not None]
    unpriced = sum(1 for call in calls if call.usage is not None and call.cost is None)
    usage = sum(known, Usage()) if known else None
    return usage, sum(priced) if priced else None, unpriced


def _timeline(stored: StoredRequest, attempts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what happened, oldest first: `{at, what, text}` with a short text each.

    What a person or program did also has `by`, `reason` and `detail`.
    """
    entries = [_entry(iso(stored.queued_at), "queued", f"priority {stored.spec.priority}")]
    for attempt in attempts:
        entries.append(_entry(attempt["started_at"], "attempt", f"attempt {attempt['attempt']}"))
        for call in attempt["calls"]:
            if call["first_token_at"]:
                entries.append(_entry(call["first_token_at"], "first token", call["provider"]))
            if call["error"]:
                text = f"{call['provider']}: {call['error']['kind']}: {call['error']['message']}"
                entries.append(_entry(call["finished_at"], "call failed", text))
            elif call["outcome"] in (
                Outcome.CANCELLED,
                Outcome.SENT_ELSEWHERE,
                Outcome.INTERRUPTED,
            ):
                text = f"{call['provider']}: {call['outcome'].replace('_', ' ')}"
                entries.append(_entry(call["finished_at"], "call stopped", text))
        if attempt["error_kind"] == ErrorKind.DAEMON_RESTART and not attempt["calls"]:
            text = f"attempt {attempt['attempt']} was cut short: the engine had ended"
            entries.append(_entry(attempt["finished_at"], "interrupted", text))
        if attempt["retry_at"]:
            entries.append(
                _entry(attempt["finished_at"], "backoff", f"until {attempt['retry_at']}")
            )
    entries += [_entry(iso(at), what, text) for at, what, text in injection_timeline(stored)]
    for action in stored.actions:
        text = " · ".join(part for part in (action.by, action.reason, action.detail) if part)
        told = _entry(iso(action.at), action.name, text)
        entries.append(told | {"by": action.by, "reason": action.reason, "detail": action.detail})
    if stored.finished_at is not None:
        entries.append(
            _entry(iso(stored.finished_at), str(stored.state), stored.error_message or "")
        )
    return sorted(entries, key=lambda entry: entry["at"] or "")


def _entry(at: str | None, what: str, text: str) -> dict[str, Any]:
    return {"at": at, "what": what, "text": text}
