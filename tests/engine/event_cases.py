"""Every event of the contract's section 2 as a case: what is right, what is wrong, what answers.

The cases speak of one scene (`scene`), in which there is one request of every state.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from tests.engine.engine_fixtures import Rig, Upstream, config, fails, held, provider, running

Shape = Any
"""What a reply must hold: a type, a tuple of types, a dict of keys (more are allowed),
a list with one shape for all its items, `{...: shape}` for all values, or a predicate."""

Wrong = tuple[Mapping[str, Any], str]
"""Data that is refused, and a word that the refusal names."""


def utc(value: Any) -> bool:
    """Whether a value is a moment in ISO 8601 UTC."""
    return isinstance(value, str) and value.endswith("Z") and bool(datetime.fromisoformat(value))


def maybe_utc(value: Any) -> bool:
    """Whether a value is such a moment, or null."""
    return value is None or utc(value)


def misfit(value: Any, shape: Shape, path: str = "reply") -> str | None:
    """Return where a value is not of a shape, None when it is."""
    match shape:
        case dict() if ... in shape:
            if not isinstance(value, dict):
                return f"{path} is no object: {value!r}"
            return _first(misfit(v, shape[...], f"{path}.{k}") for k, v in value.items())
        case dict():
            if not isinstance(value, dict):
                return f"{path} is no object: {value!r}"
            if missing := [key for key in shape if key not in value]:
                return f"{path} lacks {missing}"
            return _first(misfit(value[k], s, f"{path}.{k}") for k, s in shape.items())
        case list():
            if not isinstance(value, list):
                return f"{path} is no list: {value!r}"
            return _first(misfit(v, shape[0], f"{path}[{i}]") for i, v in enumerate(value))
        case type() | tuple():
            fits = isinstance(value, shape) and (shape is bool or not isinstance(value, bool))
        case str():
            fits = value == shape
        case _:
            fits = shape(value)
    return None if fits else f"{path} is {value!r}"


def _first(faults: Any) -> str | None:
    return next((fault for fault in faults if fault is not None), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One event. `unknown` is data that names what does not exist, with the code that
    answers it (None: it is no error). `before` is an event that has to be emitted first."""

    name: str
    shape: Shape
    data: Mapping[str, Any] = field(default_factory=dict)
    wrong: tuple[Wrong, ...] = ()
    unknown: tuple[Mapping[str, Any], str | None] | None = None
    before: tuple[str, Mapping[str, Any]] | None = None


NUMBER = (int, float)
MAYBE_NUMBER = (int, float, type(None))
MAYBE_TEXT = (str, type(None))
ACCEPTED = {
    "request_id": str,
    "session_id": str,
    "status": "queued",
    "message": str,
    "queued": bool,
    "queue_depth": int,
    "position": int,
    "session_active": bool,
}
USAGE = {
    "input_tokens": int,
    "cache_read_tokens": int,
    "cache_write_tokens": int,
    "output_tokens": int,
    "reasoning_tokens": int,
    "total_tokens": int,
    "request_count": int,
    "avg_tokens_per_request": NUMBER,
    "cost": MAYBE_NUMBER,
    "unpriced": int,
    "estimated": int,
}
PERCENTILES = {"p50": MAYBE_NUMBER, "p95": MAYBE_NUMBER, "p99": MAYBE_NUMBER}
CIRCUIT = {
    "state": str,
    "is_open": bool,
    "recent_failures": int,
    "open_until": maybe_utc,
    "forced": MAYBE_TEXT,
    "last_success": maybe_utc,
    "reason": MAYBE_TEXT,
}
PROVIDER = {
    "provider": str,
    "config": dict,
    "circuit_breaker": CIRCUIT,
    "cooldown_until": maybe_utc,
    "stats": {
        "total_calls": int,
        "successful_calls": int,
        "failed_calls": int,
        "success_rate": MAYBE_NUMBER,
        "avg_latency_ms": MAYBE_NUMBER,
        "latency_ms": PERCENTILES,
        "ttft_ms": PERCENTILES,
        "tokens_per_s": NUMBER,
        "failures_by_kind": {...: int},
        "in_flight": int,
        "last_call": maybe_utc,
        "last_error": (dict, type(None)),
    },
}
PROVIDERS = {"total_providers": int, "available_providers": int, "providers": {...: PROVIDER}}
RETRY_STATS = {"total_retrying": int, "pending_timers": int, "policy": dict}
MCP = {
    "requests": int,
    "mcp_requests": int,
    "share": MAYBE_NUMBER,
    "tool_schema_tokens": int,
    "tool_schema_tokens_per_request": MAYBE_NUMBER,
    "cache_read_tokens": int,
    "cache_savings": MAYBE_NUMBER,
}
TOTAL_USAGE = {
    "usage": USAGE,
    "active_agents": int,
    "active_models": int,
    "active_sessions": int,
    "mcp_statistics": MCP,
    "waste": {"tokens": int, "cost": MAYBE_NUMBER, "calls": int, "seconds": NUMBER},
}
_LISTS = {
    **{name: [NUMBER] for name in ("tokens", "input", "requests", "errors")},
    **{name: [MAYBE_NUMBER] for name in ("cost", "latency_ms", "ttft_ms")},
    "unpriced": int,
}
SERIES = {
    "start": utc,
    "step_s": int,
    "last_s": NUMBER,
    "since": maybe_utc,
    "names": [str],
    "series": [{"name": str, **_LISTS}],
    "others": (dict, type(None)),
    "total": _LISTS,
}
STATUS = {
    "service_ready": bool,
    "active_completions": int,
    "status_counts": {str(state): int for state in State},
    "queues": {
        "total_sessions": int,
        "active_sessions": int,
        "total_queued": int,
        "sessions": {...: {"queue_size": int, "is_active": bool}},
    },
    "sessions": {
        "total_sessions": int,
        "locked_sessions": int,
        "active_sessions": int,
        "agents_with_sessions": int,
    },
    "providers": PROVIDERS,
    "token_usage": TOTAL_USAGE,
    "retry_manager": RETRY_STATS,
}
CAUSE = {
    "kind": str,
    "target": MAYBE_TEXT,
    "until": maybe_utc,
    "certain": bool,
    "text": str,
}
SESSION = {
    "session_id": str,
    "exists": bool,
    "completions": [
        {
            "request_id": str,
            "status": str,
            "why": MAYBE_TEXT,
            "cause": (dict, type(None)),
            "queued_at": utc,
            "started_at": maybe_utc,
            "completed_at": maybe_utc,
            "attempts": int,
        }
    ],
    "queue": {"exists": bool, "queue_size": int, "is_active": bool, "is_empty": bool},
    "session": {
        "exists": bool,
        "created_at": maybe_utc,
        "last_activity": maybe_utc,
        "request_count": int,
        "active_request": MAYBE_TEXT,
        "conversation_locked": bool,
        "lock_holder": MAYBE_TEXT,
        "lock_expiry": maybe_utc,
        "lock_request": MAYBE_TEXT,
        "agents": [str],
    },
}
REQUEST = {
    "request_id": str,
    "session_id": str,
    "status": str,
    "why": str,
    "cause": CAUSE,
    "if_nobody_acts": str,
    "queued_at": utc,
    "started_at": maybe_utc,
    "attempts": [{"attempt": int, "calls": [dict], "verdicts": [dict]}],
    "usage": (dict, type(None)),
    "text": MAYBE_TEXT,
    "timeline": [{"at": utc, "what": str, "text": str}],
}
FOUND = {
    "request_id": str,
    "session_id": str,
    "agent_id": MAYBE_TEXT,
    "status": str,
    "phase": str,
    "asked_model": str,
    "model": str,
    "provider": MAYBE_TEXT,
    "priority": str,
    "attempts": int,
    "max_attempts": int,
    "queued_at": utc,
    "started_at": maybe_utc,
    "finished_at": maybe_utc,
    "age_s": NUMBER,
    "latency_ms": MAYBE_NUMBER,
    "ttft_ms": MAYBE_NUMBER,
    "tokens": (int, type(None)),
    "estimated": bool,
    "cost": MAYBE_NUMBER,
    "unpriced": int,
    "error": (dict, type(None)),
    "why": MAYBE_TEXT,
    "by": MAYBE_TEXT,
    "reason": MAYBE_TEXT,
    "metadata": dict,
}
CHANGED = [{"request_id": str, "was": str, "changed": bool}]
RESULT = {
    "request_id": str,
    "session_id": str,
    "agent_id": MAYBE_TEXT,
    "status": str,
    "text": MAYBE_TEXT,
    "provider": MAYBE_TEXT,
    "model": MAYBE_TEXT,
    "requested_model": str,
    "attempts": int,
    "usage": (dict, type(None)),
    "cost": MAYBE_NUMBER,
    "error": (dict, type(None)),
    "queued_at": utc,
    "started_at": maybe_utc,
    "finished_at": utc,
    "latency_ms": MAYBE_NUMBER,
    "ttft_ms": MAYBE_NUMBER,
}


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Rig]:
    """Run an engine with a request of every state, a lock, and a provider that is open.

    `done` and `failed` have ended, `run` runs with `wait` behind it, `probe` waits for the
    open provider `sick`; `a7` holds the lock of session `locked`.
    """
    settings = config(
        folder,
        providers=[provider("p", "m*"), provider("spare", "m*", priority=2), provider("sick", "x")],
        retry={"max_attempts": 1},
        circuit={"fail_max": 1, "reset_timeout_s": 1000},
    )

    async def plays(up: Upstream) -> str:
        match up.prompt:
            case "hold":
                return await held(up)
            case "fail":
                return await fails(ErrorKind.INVALID_REQUEST, "not that")(up)
        return f"re: {up.prompt}"

    sick = fails(ErrorKind.PROVIDER_ERROR, "down", status=503)
    async with running(settings, scripts={"p": plays, "sick": sick}) as rig:
        await rig.submit("hi", request_id="done", session_id="s-done", agent_id="a1")
        await rig.submit("fail", request_id="failed", session_id="s-failed")
        await rig.submit("hi", request_id="opens", model="x")
        await rig.ended("done", "failed", "opens")
        await rig.submit("hold", request_id="run", session_id="s-run", agent_id="a1")
        await rig.submit("hi", request_id="wait", session_id="s-run")
        await rig.submit("hi", request_id="probe", session_id="s-probe", model="x")
        await rig.emit("conversation:acquire_lock", session_id="locked", agent_id="a7")
        await rig.state("run", State.PROCESSING)
        yield rig
