"""What the store tells: requests, sessions, sums, and what a start finds.

Values only. What is handed over to be written, and the seam itself, is in `base`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.injection.policy import Injection, QueuedTerms
from ksi_tui.engine.models import (
    Action,
    AttemptRecord,
    CallRecord,
    Lock,
    Pause,
    RequestSpec,
    State,
    Usage,
)
from ksi_tui.engine.store.injection_records import PendingFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """An unfinished request as found at start; its payload stays on disk.

    `used_tokens` is what all of its calls so far have used.
    """

    request_id: str
    session_id: str
    agent_id: str | None
    model: str
    state: State
    rank: int
    level: int
    place: int
    queued_at: float
    started_at: float | None
    retry_at: float | None
    attempts: int
    walks: int
    interruptions: int
    max_attempts: int
    timeout_s: float
    spent_s: float
    stream: bool | None
    needs_mcp: bool
    lock_timeout_s: float | None
    lock_fails: bool
    avoid: tuple[str, ...]
    error_kind: ErrorKind | None
    error_message: str | None
    used_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFound:
    """A session as found at start (those with unfinished requests or a lock) or on request."""

    session_id: str
    created_at: float
    last_activity: float
    request_count: int
    turn_count: int
    agents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageTotals:
    """Sums over calls. `requests` counts answered requests; `unpriced` calls without a price.

    `mcp_requests` are those of `requests` that ask for MCP or bring tools,
    `tool_schema_tokens` what the tools took of the input of all calls, wasted ones too.
    `cache_savings` are dollars; `unpriced_savings` calls that read from a cache without a
    known price, `unpriced_waste` wasted ones without a price: with them `cache_savings` and
    `waste_cost` are lower bounds. `failed_calls` are those of the wasted ones that failed.
    `latency_s` sums up the seconds of `timed_calls` answered calls, `ttft_s` the seconds until
    the first token of `ttft_calls` streamed ones.
    """

    usage: Usage = field(default_factory=Usage)
    requests: int = 0
    calls: int = 0
    cost: float = 0.0
    unpriced: int = 0
    estimated: int = 0
    waste_tokens: int = 0
    waste_cost: float = 0.0
    waste_calls: int = 0
    waste_s: float = 0.0
    mcp_requests: int = 0
    tool_schema_tokens: int = 0
    cache_savings: float = 0.0
    unpriced_savings: int = 0
    unpriced_waste: int = 0
    failed_calls: int = 0
    latency_s: float = 0.0
    timed_calls: int = 0
    ttft_s: float = 0.0
    ttft_calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Everything a new engine needs of the last one's memory.

    `admissions` are number, time and tokens of the calls that were last admitted, by provider.
    """

    unfinished: Sequence[Unfinished]
    sessions: Sequence[SessionFound]
    locks: Sequence[Lock]
    providers: Mapping[str, Mapping[str, Any]]
    counts: Mapping[State, int]
    next_place: int
    next_number: int
    next_finish_seq: int
    pauses: Sequence[Pause] = ()
    injections: Sequence[PendingFound] = ()
    injection_terms: Mapping[str, QueuedTerms] = field(default_factory=dict)
    admissions: Mapping[str, Sequence[tuple[int, float, int]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRequest:
    """Everything the store knows of one request. `tokens` of all its calls; None: not known."""

    spec: RequestSpec
    state: State
    place: int
    queued_at: float
    started_at: float | None
    finished_at: float | None
    finish_seq: int | None
    retry_at: float | None
    attempts: int
    walks: int
    interruptions: int
    max_attempts: int
    spent_s: float
    model: str
    avoid: tuple[str, ...]
    provider: str | None
    answered_model: str | None
    ttft_ms: float | None
    text: str | None
    result: Mapping[str, Any] | None
    error_kind: ErrorKind | None
    error_message: str | None
    by: str | None
    reason: str | None
    tokens: int | None = None
    attempt_records: Sequence[AttemptRecord] = ()
    calls: Sequence[CallRecord] = ()
    actions: Sequence[Action] = ()
    injections: Sequence[Injection] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """Which calls to sum: everything when no selector is set.

    `since` and `until` in epoch seconds, `by` one of agent, model, provider, session,
    day or None for one sum, `bucket_s` for a trend (whole minutes). `largest`: only that many
    groups, those with the most tokens, in this order. `newest`: only that many days or buckets,
    the last of time first.
    """

    agent_id: str | None = None
    model: str | None = None
    provider: str | None = None
    session_id: str | None = None
    since: float | None = None
    until: float | None = None
    by: str | None = None
    bucket_s: int | None = None
    largest: int | None = None
    newest: int | None = None
