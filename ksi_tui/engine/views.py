"""What a front end sees: one frozen snapshot of the engine, made on request.

Leaf module: values only. Texts in here may come from outside (ids, errors, names)
and are raw: whoever shows them cleans them first. Times are epoch seconds, `_s`
and `_ms` are durations; None means there is nothing to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Phase(StrEnum):
    """What a request is doing, in the words of the screen."""

    QUEUED = "queued"
    WAITING = "waiting"  # on something named
    RETRYING = "retrying"
    CONNECTING = "connecting"
    FIRST_TOKEN = "first token"
    STREAMING = "streaming"
    NO_TOKEN = "no token"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def running(self) -> bool:
        """Whether a provider is being called."""
        return self in (Phase.CONNECTING, Phase.FIRST_TOKEN, Phase.STREAMING, Phase.NO_TOKEN)


class CircuitLook(StrEnum):
    """A provider's state, worst of circuit and cooldown."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"
    COOLING = "cooling"


class Level(StrEnum):
    """The verdict in one word."""

    STARTING = "STARTING"
    OK = "OK"
    DEGRADED = "DEGRADED"
    DOWN = "DOWN"
    PAUSED = "PAUSED"
    READ_ONLY = "READ-ONLY"
    STOPPING = "STOPPING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How the engine is, and the one cause of it."""

    level: Level
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveView:
    """A request that runs, is in backoff, or ended a moment ago."""

    request_id: str
    session_id: str
    agent_id: str | None
    asked_model: str
    model: str
    provider: str | None
    phase: Phase
    age_s: float
    ttft_s: float | None
    tokens: int
    tokens_per_s: float | None
    attempt: int
    max_attempts: int
    why: str

    @property
    def substituted(self) -> bool:
        """Whether another model than the one asked for answers."""
        return self.model != self.asked_model


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """A session with unfinished requests; `why` speaks of its head."""

    session_id: str
    depth: int
    oldest_s: float
    phase: Phase
    head_id: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderView:
    """A provider's health. `per_minute`: calls ended in each of the last 15 min, oldest first.

    `forced`: a person holds the circuit in its state. `paused`: a person has paused it.
    """

    name: str
    kind: str
    circuit: CircuitLook
    since_s: float | None
    ok_rate: float | None
    per_minute: tuple[int, ...]
    p50_ms: float | None
    p95_ms: float | None
    ttft_ms: float | None
    tokens_per_s: float
    in_flight: int
    max_concurrency: int | None
    cost_per_h: float | None
    unpriced: bool
    now: str
    forced: bool = False
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LockView:
    """A conversation lock, who waits for it and what its holder does."""

    session_id: str
    holder: str
    left_s: float
    extended: int
    waiting: int
    doing: str
    doing_phase: Phase | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseView:
    """Something that is paused. `waiting`: the requests it holds; None where none can tell.

    `scope` is engine, session or provider, `id` the session or provider.
    """

    scope: str
    id: str | None
    by: str | None
    reason: str | None
    since_s: float
    waiting: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """Today's tokens of one provider. `cost` None: everything in it is unpriced."""

    provider: str
    input: int
    output: int
    cache_share: float | None
    cost: float | None
    unpriced: int
    estimated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """Tokens per second, oldest first in steps of `step_s`, and today's totals by provider."""

    trend: tuple[float, ...]
    step_s: float
    rows: tuple[TokenRow, ...]
    waste_tokens: int
    waste_share: float | None
    waste_cost: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The numbers of the second line."""

    active: int
    capacity: int
    queued: int
    queued_sessions: int
    retrying: int
    failed_new: int
    ttft_p50_s: float | None
    tokens_per_s: float
    cost_today: float
    unpriced_today: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """One request as it runs: its text so far from `text_offset` on."""

    request_id: str
    phase: Phase
    why: str
    provider: str | None
    model: str
    attempt: int
    max_attempts: int
    tokens: int
    ttft_s: float | None
    tokens_per_s: float | None
    text: str
    text_length: int
    if_nobody_acts: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotQuery:
    """What a screen shows now, so that a snapshot holds no more than that."""

    active_offset: int = 0
    active_limit: int = 50
    queue_offset: int = 0
    queue_limit: int = 50
    lock_limit: int = 50
    pause_limit: int = 50
    trend_points: int = 96
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The engine at one moment. `active` is ordered worst first, `queues` oldest head first."""

    at: float
    verdict: Verdict
    totals: Totals
    simulated_only: bool = False
    active: tuple[ActiveView, ...] = ()
    active_total: int = 0
    queues: tuple[QueueView, ...] = ()
    queues_total: int = 0
    providers: tuple[ProviderView, ...] = ()
    locks: tuple[LockView, ...] = ()
    locks_total: int = 0
    pauses: tuple[PauseView, ...] = ()
    pauses_total: int = 0
    tokens: TokenView | None = None
    live: Live | None = None
    notices: tuple[str, ...] = field(default=())
