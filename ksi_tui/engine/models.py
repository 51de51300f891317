"""The engine's values: what travels between its parts.

Leaf module: frozen values and enums only, no I/O, no clock, no policy. All times
are seconds since the epoch (UTC) as floats; ISO 8601 appears at the event edge only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.injection.policy import ChainBounds, InjectionTerms

Message = Mapping[str, Any]
"""One chat message as the providers' APIs take it: at least `role` and `content`."""


class State(StrEnum):
    """A request's state: `queued → processing → final`, and `processing ⇄ retrying`."""

    QUEUED = "queued"
    PROCESSING = "processing"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more happens to the request unless somebody asks."""
        return self in _FINAL


_FINAL = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})


class Priority(StrEnum):
    """How urgent a request is. INJECT is given by `completion:inject`, never by a caller."""

    CRITICAL = "critical"
    HIGH = "high"
    INJECT = "inject"
    NORMAL = "normal"
    LOW = "low"
    BACKGROUND = "background"

    @property
    def rank(self) -> int:
        """Order inside a session; lower goes first."""
        return _RANK[self]

    @property
    def level(self) -> int:
        """Class among sessions, 0 (critical) to 4 (background); INJECT counts as NORMAL."""
        return _LEVEL[self]


_RANK = {p: i for i, p in enumerate(Priority)}
_LEVEL = {
    Priority.CRITICAL: 0,
    Priority.HIGH: 1,
    Priority.INJECT: 2,
    Priority.NORMAL: 2,
    Priority.LOW: 3,
    Priority.BACKGROUND: 4,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one or more calls in five disjoint buckets; their sum is the total."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    estimated: bool = False

    @property
    def total(self) -> int:
        """All tokens."""
        return self.input + self.cache_read + self.cache_write + self.output + self.reasoning

    @property
    def plausible(self) -> bool:
        """Whether a provider can mean it: no bucket below 0, no more than 10^12 tokens in all."""
        buckets = (self.input, self.cache_read, self.cache_write, self.output, self.reasoning)
        return min(buckets) >= 0 and self.total <= 10**12

    def plain(self) -> dict[str, int | bool]:
        """Return the buckets as plain JSON; `Usage(**plain)` is the same usage."""
        return {
            "input": self.input,
            "cache_read": self.cache_read,
            "cache_write": self.cache_write,
            "output": self.output,
            "reasoning": self.reasoning,
            "estimated": self.estimated,
        }

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input=self.input + other.input,
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
            output=self.output + other.output,
            reasoning=self.reasoning + other.reasoning,
            estimated=self.estimated or other.estimated,
        )


class CauseKind(StrEnum):
    """What an unfinished request waits for, or what it is doing."""

    BEHIND = "behind"  # target: the request ahead of it in its session
    LOCK = "lock"  # target: the agent that holds the session's lock
    ENGINE = "engine"  # every engine slot is taken
    SLOT = "slot"  # target: a provider that is at its max_concurrency
    CIRCUIT = "circuit"  # target: a provider whose circuit is open
    COOLDOWN = "cooldown"  # target: a provider that asked for a pause (429)
    RATE = "rate"  # target: a provider that has had its requests or tokens of this minute
    BACKOFF = "backoff"
    PAUSE = "pause"  # target: the paused scope
    WORKER = "worker"  # a provider worker is starting
    NO_TOKEN = "no_token"  # target: a provider that went silent in mid-stream
    RUNNING = "running"  # target: the provider that is answering
    NEXT = "next"  # nothing holds it; it is dispatched in this instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a request is where it is: one edge of the chain from it to its root cause.

    `until` is when the cause ends by itself (None: not known), `certain` is False
    for an inferred edge, `text` the same in words, rendered for the time it was asked.
    `forced`: a person made it so, and `until` is when that ends.
    """

    kind: CauseKind
    text: str
    target: str | None = None
    until: float | None = None
    certain: bool = True
    forced: bool = False


class OnConflict(StrEnum):
    """What a request does when another agent holds its session's lock."""

    WAIT = "wait"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockTerms:
    """The lock that a request takes at dispatch, held for `timeout_s` seconds at a time."""

    timeout_s: float
    on_conflict: OnConflict = OnConflict.WAIT


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSpec:
    """What a caller asked for, as accepted. Kept on disk as the request's payload.

    Exactly one of `prompt` and `messages` is set; `system` goes with a prompt, ahead of the
    session's earlier turns. `stream` None: stream where the provider can. `params` holds the
    remaining call parameters (temperature, max_tokens, tools …) under their OpenAI names.
    `injection` says where the result goes, `chain` bounds that, and `injected` marks a
    completion that an injection became.
    """

    request_id: str
    session_id: str
    model: str
    prompt: str | None = None
    system: str | None = None
    messages: tuple[Message, ...] | None = None
    agent_id: str | None = None
    client_id: str | None = None
    priority: Priority = Priority.NORMAL
    stream: bool | None = None
    history: bool = True
    timeout_s: float = 900.0
    max_attempts: int = 3
    lock: LockTerms | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    injection: InjectionTerms | None = None
    chain: ChainBounds | None = None
    injected: bool = False

    @property
    def own_messages(self) -> Sequence[Message]:
        """The messages of the request itself, without the session's earlier turns."""
        if self.messages is not None:
            return self.messages
        asked: Message = {"role": "user", "content": self.prompt}
        if self.system is None:
            return (asked,)
        return ({"role": "system", "content": self.system}, asked)

    @property
    def needs_mcp(self) -> bool:
        """Whether the call needs a provider that can run MCP servers."""
        extra = self.params.get("extra_body")
        if not extra:
            return False
        ksi = extra.get("ksi") if isinstance(extra, Mapping) else None
        return bool(isinstance(ksi, Mapping) and ksi.get("mcp_config_path"))

    @property
    def uses_mcp(self) -> bool:
        """Whether the request counts as one with MCP: it asks for it, or brings tools."""
        return self.needs_mcp or bool(self.params.get("tools"))


class VerdictKind(StrEnum):
    """What routing decided about one candidate in one attempt."""

    TAKEN = "taken"
    OPEN = "open"
    COOLING = "cooling"
    FULL = "full"
    LIMITED = "limited"  # it has had its requests or tokens of this minute
    PAUSED = "paused"
    WORKER = "worker"  # its provider worker is starting
    AVOIDED = "avoided"
    UNSUITED = "unsuited"  # cannot stream, cannot run MCP
    NOT_REACHED = "not_reached"  # an earlier candidate answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why one candidate was taken or skipped in one attempt."""

    provider: str
    kind: VerdictKind
    detail: str = ""
    until: float | None = None


class Outcome(StrEnum):
    """How one call ended."""

    ANSWERED = "answered"
    FAILED = "failed"
    CANCELLED = "cancelled"  # its request was cancelled
    SENT_ELSEWHERE = "sent_elsewhere"  # an operator moved its request on
    INTERRUPTED = "interrupted"  # the engine or its worker ended


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One call of one provider, as booked.

    `ordinal` counts calls inside the attempt from 1. `usage` None: nothing is known.
    `cost` None: unpriced. `waste` is True when the call did not become the answer.
    `raw_usage` is the provider's own usage object, untouched. Times are epoch seconds.
    `mcp` is `RequestSpec.uses_mcp`; `tool_schema_tokens` the part of the input that the
    request's tools were (0 where no usage is known: then it is not known that they were read).
    `cache_savings` are the dollars that cache reads were cheaper than input; None: no price.
    """

    request_id: str
    attempt: int
    ordinal: int
    provider: str
    model: str
    agent_id: str | None
    session_id: str
    started_at: float
    finished_at: float
    outcome: Outcome
    asked_model: str = ""
    first_token_at: float | None = None
    last_token_at: float | None = None
    error_kind: ErrorKind | None = None
    error_message: str | None = None
    status: int | None = None
    usage: Usage | None = None
    raw_usage: Mapping[str, Any] | None = None
    cost: float | None = None
    price_version: str | None = None
    partial_text: str | None = None
    upstream_closed_ms: float | None = None
    mcp: bool = False
    tool_schema_tokens: int = 0
    cache_savings: float | None = None

    @property
    def waste(self) -> bool:
        """Whether the call did not become the answer."""
        return self.outcome is not Outcome.ANSWERED

    @property
    def unpriced(self) -> bool:
        """Whether no price is known for what it used: its usage is known, or it answered.

        A failed call that nothing is known to have been used by (refused, 401, 429) is not
        unpriced: it would put a `≥` before a total that is exact.
        """
        return self.cost is None and (self.usage is not None or not self.waste)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One walk over the candidates, with every verdict in the order in which it was made."""

    request_id: str
    attempt: int
    started_at: float
    finished_at: float | None = None
    verdicts: tuple[Verdict, ...] = ()
    error_kind: ErrorKind | None = None
    retry_at: float | None = None
    spent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A conversation lock. `request_id` is set when a request took it at dispatch."""

    session_id: str
    holder: str
    granted_at: float
    expires_at: float
    hold_s: float
    extended: int = 0
    request_id: str | None = None


class PauseScope(StrEnum):
    """How far a pause reaches."""

    ENGINE = "engine"
    SESSION = "session"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Something that a person has paused. `id` is the session or provider, None: the engine."""

    scope: PauseScope
    since: float
    id: str | None = None
    by: str | None = None
    reason: str | None = None

    @property
    def target(self) -> str:
        """What is paused, as one name: `engine`, `session:acme`, `provider:openai`."""
        return str(self.scope) if self.id is None else f"{self.scope}:{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something a person or program did to a request, lock or provider, for the record."""

    at: float
    name: str
    target: str
    by: str | None = None
    reason: str | None = None
    detail: str | None = None
