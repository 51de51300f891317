"""The shapes of the engine's replies, as far as the screens read them.

A bundle may come from a stranger, or from another version: each answer in it is fitted to
its shape before a screen sees it. A test holds these against what the engine answers.
"""

from typing import Final, NotRequired, TypedDict

from ksi_tui.engine.models import Priority, State
from ksi_tui.engine.states import Phase
from ksi_tui.incident.fitting import Time
from ksi_tui.incident.record_shapes import Cause, Fault, Labels, Record


class Row(TypedDict):
    """A request in `completion:requests`."""

    request_id: str
    session_id: str
    agent_id: str | None
    status: State
    phase: Phase | None
    asked_model: str | None
    model: str | None
    provider: str | None
    priority: Priority
    attempts: int
    max_attempts: int
    queued_at: Time
    started_at: Time | None
    finished_at: Time | None
    age_s: float
    latency_ms: float | None
    ttft_ms: float | None
    tokens: int | None
    estimated: bool
    cost: float | None
    unpriced: int
    error: Fault | None
    why: str | None
    by: str | None
    reason: str | None
    metadata: Labels


# --- a session ------------------------------------------------------------------------------


class Completion(TypedDict):
    request_id: str
    status: State
    why: str | None
    cause: Cause | None
    queued_at: Time
    started_at: Time | None
    completed_at: Time | None
    attempts: int
    max_attempts: int
    phase: Phase | None
    agent_id: str | None
    asked_model: str | None
    model: str | None
    provider: str | None
    error_kind: str | None
    ttft_ms: float | None
    tokens: int | None
    estimated: bool
    cost: float | None
    by: str | None
    reason: str | None


class Queue(TypedDict):
    exists: bool
    queue_size: int
    is_active: bool
    is_empty: bool


class Pause(TypedDict):
    scope: str
    id: str | None
    by: str | None
    reason: str | None
    since: Time


class Known(TypedDict):
    exists: bool
    created_at: Time | None
    last_activity: Time | None
    request_count: int
    active_request: str | None
    conversation_locked: bool
    lock_holder: str | None
    lock_expiry: Time | None
    lock_granted: Time | None
    lock_extended: int
    turn_count: int
    lock_request: str | None
    paused: Pause | None
    agents: list[str]


class Turn(TypedDict):
    role: str | None
    text: str
    chars: int


class History(TypedDict):
    pairs: int
    chars: int
    estimated_tokens: int
    limited_to_chars: int
    turns: list[Turn]


class Session(TypedDict):
    """The reply of `completion:session_status`."""

    session_id: str
    exists: bool
    completions: list[Completion]
    queue: Queue
    session: Known
    history: NotRequired[History]


# --- a provider -----------------------------------------------------------------------------


class Config(TypedDict):
    kind: str
    models: list[str]
    model: NotRequired[str]
    api_base: NotRequired[str]
    api_key_env: NotRequired[str]
    priority: NotRequired[int]
    max_concurrency: NotRequired[int]
    catch_all: NotRequired[bool]
    rpm: NotRequired[int]
    tpm: NotRequired[int]
    supports_streaming: NotRequired[bool]
    supports_mcp: NotRequired[bool]
    first_token_timeout_s: NotRequired[float]
    idle_timeout_s: NotRequired[float]
    reply_timeout_s: NotRequired[float]


class Circuit(TypedDict):
    state: str
    is_open: bool
    recent_failures: int
    open_until: Time | None
    forced: str | None
    forced_by: str | None
    forced_until: Time | None
    last_success: Time | None
    reason: str | None


class Limits(TypedDict):
    rpm: int | None
    rpm_used: int
    tpm: int | None
    tpm_used: int


class Percentiles(TypedDict):
    p50: float | None
    p95: float | None
    p99: float | None


class LastError(TypedDict):
    at: Time
    kind: str
    message: str | None


class Stats(TypedDict):
    total_calls: int
    successful_calls: int
    failed_calls: int
    success_rate: float | None
    avg_latency_ms: float | None
    latency_ms: Percentiles
    ttft_ms: Percentiles
    tokens_per_s: float | None
    failures_by_kind: dict[str, int]
    last_call: Time | None
    last_error: LastError | None
    in_flight: int


class Provider(TypedDict):
    """The reply of `completion:provider_status` for one."""

    provider: str
    config: Config
    circuit_breaker: Circuit
    paused: Pause | None
    cooldown_until: Time | None
    cooldowns: dict[str, Time]
    limits: Limits | None
    stats: Stats


# --- sums and charts ------------------------------------------------------------------------


class Sums(TypedDict):
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    total_tokens: int
    request_count: int
    avg_tokens_per_request: float
    cost: float | None
    unpriced: int
    estimated: int


class Waste(TypedDict):
    tokens: int
    cost: float | None
    calls: int
    seconds: float
    unpriced: NotRequired[int]


class Mcp(TypedDict):
    requests: int
    mcp_requests: int
    share: float
    tool_schema_tokens: int
    tool_schema_tokens_per_request: float
    cache_read_tokens: int
    cache_savings: float | None


class Group(TypedDict):
    agent: NotRequired[str | None]
    model: NotRequired[str | None]
    provider: NotRequired[str | None]
    session: NotRequired[str | None]
    day: NotRequired[str]
    hour: NotRequired[Time]
    minute: NotRequired[Time]
    usage: Sums
    waste: Waste
    errors: int
    latency_ms: float | None
    ttft_ms: float | None


class Usage(TypedDict):
    """The reply of `completion:token_usage`."""

    session_id: NotRequired[str]
    usage: Sums
    active_agents: NotRequired[int]
    active_models: NotRequired[int]
    mcp_statistics: NotRequired[Mcp]
    waste: NotRequired[Waste]
    active_sessions: NotRequired[int]
    groups: NotRequired[list[Group]]


class Lists(TypedDict):
    tokens: list[float]
    input: list[float]
    requests: list[float]
    errors: list[float]
    cost: list[float | None]
    unpriced: int
    latency_ms: list[float | None]
    ttft_ms: list[float | None]


class Named(Lists):
    name: str


class Others(Lists):
    names: int


class Series(TypedDict):
    """The reply of `completion:series`."""

    start: Time
    step_s: int
    last_s: float
    names: list[str]
    series: list[Named]
    others: Others | None
    total: Lists
    since: Time | None


# --- the journal ----------------------------------------------------------------------------


class Entry(TypedDict):
    """A rare happening in `system:journal`."""

    seq: int
    at: Time
    name: str
    data: Labels


RECORD_OF_ROW: Final = tuple(
    name for name in Record.__annotations__ if name in Row.__annotations__ and name != "attempts"
)
"""What a line of a list tells of a record."""
COMPLETION_OF_ROW: Final = tuple(
    name for name in Completion.__annotations__ if name in Row.__annotations__
)
"""What a line of a list tells of a request of a session."""
