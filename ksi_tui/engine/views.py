"""What a front end sees: one frozen snapshot of the engine, made on request.

Leaf module: values only. Texts in here may come from outside (ids, errors, names)
and are raw: whoever shows them cleans them first. Times are epoch seconds, `_s`
and `_ms` are durations; None means there is nothing to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ksi_tui.engine.advice import AttentionView, LookedAt, Remedy, SameRoot
from ksi_tui.engine.models import Cause
from ksi_tui.engine.states import AttentionKind, CircuitLook, Level, Phase, Verdict

__all__ = [
    "AttentionKind",
    "AttentionView",
    "CircuitLook",
    "Level",
    "Phase",
    "Remedy",
    "SameRoot",
    "Verdict",
]  # handed on, beside all that is defined here


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
class CallsEnded:
    """So many calls ended in this way, which is the value of an `Outcome`."""

    outcome: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTotals:
    """All calls of a provider's model since the engine began.

    `cost` and `waste_cost` are dollars, without the `unpriced` calls.
    """

    provider: str
    model: str
    ended: tuple[CallsEnded, ...]
    input: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int
    cost: float
    unpriced: int
    waste_tokens: int
    waste_cost: float


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


class Next(StrEnum):
    """What moves a request first if nobody acts."""

    FIRST_TOKEN_CLOCK = "first_token_clock"
    IDLE_CLOCK = "idle_clock"
    REPLY_CLOCK = "reply_clock"
    DEADLINE = "deadline"
    BACKOFF_ENDS = "backoff_ends"
    LOCK_EXPIRES = "lock_expires"
    PROBE = "probe"
    CIRCUIT_CLOSED = "circuit_closed"  # by hand: nothing else ends a forced state
    COOLDOWN_ENDS = "cooldown_ends"
    RATE_ALLOWS = "rate_allows"  # a limit of requests or tokens a minute
    SLOT_FREES = "slot_frees"
    PAUSE_LIFTED = "pause_lifted"
    WORKER_READY = "worker_ready"
    DISPATCHED = "dispatched"
    WAIT_ENDS = "wait_ends"  # of any other kind
    DISK_WRITABLE = "disk_writable"
    NEXT_START = "next_start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What happens to an unfinished request if nobody acts.

    `what` moves first, at `at` (None: nobody can tell, or it does not come by itself);
    `text` says both and what follows. `request_id` is whose clock that is, where it is
    another request's that this one waits for.
    """

    what: Next
    at: float | None
    text: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One request on the way from a waiting one to its root cause.

    `cause` is its own. `via` says how the link before leads here (empty for the first),
    `certain` is False where that is inferred. `omitted` requests of the session lie
    between the link before and this one and are not listed. `lock` tells of the lock that it
    needs: who holds it since when, what is left of it, how often it was extended.
    """

    request_id: str
    session_id: str
    agent_id: str | None
    status: str
    phase: Phase
    cause: Cause
    queued_s: float
    via: str = ""
    certain: bool = True
    omitted: int = 0
    lock: str = ""

    @property
    def why(self) -> str:
        """Why it is where it is, in words."""
        return self.cause.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """What a chain ends in.

    `kind`, `target` and `until` as a `Cause`'s; `occupied_by` is the request that has held
    a full slot longest, which is then inferred to be in the way (`certain` is False).
    """

    kind: str
    target: str | None
    until: float | None
    certain: bool
    text: str
    occupied_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Why a request waits, link by link, and the root cause; `text` is that in a sentence.

    `cycle`: the last link waits for one of the links before; `root` is then the lock whose
    expiry ends it. `root` None: the chain is longer than what is followed.
    """

    links: tuple[Link, ...]
    root: Root | None
    cycle: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HousekeepingView:
    """What the engine has tidied since it started, and how many results are in no file yet."""

    last_cleanup_at: float | None = None
    removed_requests: int = 0
    removed_sessions: int = 0
    unfiled: int = 0
    response_fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """One request as it runs, and its text so far.

    What stands from `remedies` on is there only where `SnapshotQuery.explain` asks for it.
    """

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
    outlook: Outlook | None = None
    chain: Chain | None = None
    moves: tuple[Outlook, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    same_root: tuple[SameRoot, ...] = ()
    same_root_requests: int = 0
    same_root_sessions: int = 0
    same_root_at_least: bool = False
    """There may be more: not every lock was followed."""
    plain: str = ""


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
    provider: str | None = None
    """Only what this provider is called for is in `active`."""
    explain: bool = False
    attention_limit: int = 20
    looked_at: LookedAt = field(default_factory=LookedAt)
    """Failures that are not new to whoever asks; they need no attention."""
    call_totals: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The engine at one moment. `active` and `attention` are worst first, `queues` oldest head
    first.
    """

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
    attention: tuple[AttentionView, ...] = ()
    attention_total: int = 0
    notices: tuple[str, ...] = field(default=())
    housekeeping: HousekeepingView = field(default_factory=HousekeepingView)
    call_totals: tuple[CallTotals, ...] = ()
    attached: tuple[str, ...] = ()
    """The operators of the other dashboards on this engine; one who has two is named twice."""
    answers: bool = True
    """Whether it was made for the question; else rows and `live` are on their way."""
