"""The shape of the reply of `completion:request_status`; those of the others are in `shapes`."""

from typing import NotRequired, TypedDict

from ksi_tui.engine.models import State
from ksi_tui.incident.fitting import Plain, Time

Labels = dict[str, Plain]


class Fault(TypedDict):
    kind: str | None
    message: str | None
    status: NotRequired[int | None]


class Cause(TypedDict):
    kind: str
    target: str | None
    until: Time | None
    certain: bool
    text: str


class Root(Cause):
    occupied_by: str | None


class Outlook(TypedDict):
    what: str
    at: Time | None
    text: str
    request_id: str | None


class Link(TypedDict):
    request_id: str
    session_id: str
    agent_id: str | None
    status: str
    phase: str
    why: str
    cause: Cause
    queued_s: float
    via: str
    certain: bool
    omitted: int


class Tokens(TypedDict):
    input: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int
    estimated: bool
    cost: NotRequired[float | None]


class Worker(TypedDict):
    worker: int
    pid: int | None
    up_s: float | None


class Call(TypedDict):
    ordinal: int
    provider: str
    model: str
    asked_model: str | None
    outcome: str
    started_at: Time
    finished_at: Time | None
    duration_ms: float | None
    first_token_at: Time | None
    last_token_at: Time | None
    ttft_ms: float | None
    error: Fault | None
    usage: Tokens | None
    raw_usage: Plain
    cost: float | None
    price_version: str | None
    mcp: bool
    tool_schema_tokens: int
    cache_savings: float | None
    waste: bool
    partial_text: str | None
    upstream_closed_ms: float | None
    closing: bool
    stream: NotRequired[bool]
    tokens_so_far: NotRequired[int]
    clock: NotRequired[str | None]
    clock_ends_at: NotRequired[Time | None]
    estimate: NotRequired[Tokens]
    worker: NotRequired[Worker | None]


class Verdict(TypedDict):
    provider: str
    kind: str
    detail: str | None
    until: Time | None


class Attempt(TypedDict):
    attempt: int
    started_at: Time
    finished_at: Time | None
    error_kind: str | None
    retry_at: Time | None
    spent: bool
    verdicts: list[Verdict]
    calls: list[Call]


class Moment(TypedDict):
    at: Time | None
    what: str
    text: str | None
    by: NotRequired[str | None]
    reason: NotRequired[str | None]
    detail: NotRequired[str | None]


class Place(TypedDict):
    at: int
    of: int


class Message(TypedDict):
    role: str
    content: Plain
    tool_calls: NotRequired[Plain]
    tool_call_id: NotRequired[str | None]
    name: NotRequired[str | None]


class Sent(TypedDict):
    begun: bool
    known: bool
    history: list[Message]
    messages: list[Message]
    turns: int
    history_tokens: int
    estimated_tokens: int


class Params(TypedDict):
    temperature: NotRequired[float | None]
    max_tokens: NotRequired[int | None]
    tools: NotRequired[list[Labels] | None]
    extra_body: NotRequired[Plain]
    max_completion_tokens: NotRequired[Plain]
    n: NotRequired[Plain]
    reasoning_effort: NotRequired[Plain]
    response_format: NotRequired[Plain]
    seed: NotRequired[Plain]
    stop: NotRequired[Plain]
    tool_choice: NotRequired[Plain]
    top_p: NotRequired[Plain]
    user: NotRequired[Plain]


class NotServing(TypedDict):
    model: str
    providers: list[str]


class Injections(TypedDict):
    received: list[Labels]
    sent: list[Labels]


class Record(TypedDict):
    """The reply of `completion:request_status`."""

    request_id: str
    session_id: str
    agent_id: str | None
    client_id: str | None
    status: State
    why: str | None
    cause: Cause | None
    if_nobody_acts: str | None
    outlook: Outlook | None
    chain: list[Link]
    root: Root | None
    cycle: bool
    chain_text: str | None
    moves: list[Outlook]
    priority: str
    requested_model: str | None
    model: str | None
    provider: str | None
    avoid: list[str]
    queued_at: Time
    started_at: Time | None
    finished_at: Time | None
    retry_at: Time | None
    ttft_ms: float | None
    attempts: list[Attempt]
    attempts_spent: int
    max_attempts: int
    interruptions: int
    timeout_s: float | None
    injected: bool
    error: Fault | None
    prompt: str | None
    system: str | None
    messages: list[Message] | None
    history: str | None
    params: Params
    metadata: Labels
    text: str | None
    result: Plain
    usage: Tokens | None
    cost: float | None
    unpriced: int
    by: str | None
    reason: str | None
    injection_config: Labels | None
    circuit_breaker_config: Labels | None
    injections: Injections
    timeline: list[Moment]
    position: NotRequired[int | None]
    session_position: NotRequired[Place]
    deadline_left_s: NotRequired[float | None]
    deadline_at: NotRequired[Time | None]
    sent: NotRequired[Sent]
    not_serving: NotRequired[NotServing]
