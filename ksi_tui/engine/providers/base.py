"""The seam between the engine and whatever answers a completion.

A provider performs single calls. It knows nothing of sessions, attempts, retries,
circuits or clocks: those are the engine's, and an engine clock ends a call by
cancelling the task that awaits it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeGuard, runtime_checkable

from ksi_tui.engine.models import Message, Usage

Deltas = Sequence[Mapping[str, Any]]
"""What chunks of a stream hold, as their API shapes it: `[{"index", "delta", "logprobs"?}]`."""
OnDeltas = Callable[[str, int, Deltas], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSpec:
    """One call, ready to send.

    `model` is the provider's own name for the model (for litellm: with its route
    prefix). `history` are the earlier turns of the session, oldest first; a provider
    drops the oldest pairs of them where the model's window asks for it. `messages`
    are sent whole. `params` are call parameters under their OpenAI names.
    `on_deltas` is there only where somebody follows the answer: what comes and is more than
    text of the first choice goes to it, in place of the observer's `on_text`.
    """

    request_id: str
    provider: str
    model: str
    messages: Sequence[Message]
    history: Sequence[Message] = ()
    stream: bool = True
    params: Mapping[str, Any] = field(default_factory=dict)
    on_deltas: OnDeltas | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """A whole answer.

    `response` is the chat.completion object as it came or was put together from its
    stream. `cost` in dollars, None when no price is known. `tool_schema_tokens` is the part
    of the input that the call's tools were, by tokenizer (None: nobody has counted);
    `cache_savings` the dollars that cache reads were cheaper than input (None: no price).
    """

    response: Mapping[str, Any]
    text: str
    usage: Usage
    raw_usage: Mapping[str, Any] | None = None
    cost: float | None = None
    price_version: str | None = None
    tool_schema_tokens: int | None = None
    cache_savings: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """What became of a call that was cancelled.

    `after_ms` runs from the cancel to the upstream's close; `confirmed` is False when
    nobody could confirm the close (the upstream may still bill). `usage` and `cost`
    are what was consumed until then (estimated), None when nothing is known;
    `tool_schema_tokens` as in `CallResult`.
    """

    after_ms: float
    confirmed: bool
    usage: Usage | None = None
    cost: float | None = None
    price_version: str | None = None
    tool_schema_tokens: int | None = None


def in_order(history: Sequence[Message], messages: Sequence[Message]) -> list[Message]:
    """Return both as they are sent: the instructions of `messages`, the history, the rest."""
    first = next((i for i, m in enumerate(messages) if m.get("role") != "system"), len(messages))
    return [*messages[:first], *history, *messages[first:]]


class Worker(Protocol):
    """A worker process as reports tell of it: its number from 1, and for how long it has run."""

    @property
    def worker(self) -> int:
        """The number."""
        ...

    @property
    def pid(self) -> int | None:
        """The process id."""
        ...

    @property
    def up_s(self) -> float | None:
        """Seconds since it was started."""
        ...


class CallObserver(Protocol):
    """Who listens to a call while it runs. Both methods return at once and never raise."""

    def on_text(self, text: str, tokens: int) -> None:
        """Take the next piece of the answer; `tokens` is how many it is believed to hold."""

    def on_closed(self, closed: Closed) -> None:
        """Learn that a cancelled call's upstream connection is closed."""


class Provider(Protocol):
    """One configured provider.

    `call` returns the answer or raises `ProviderFault`. When the task that awaits it
    is cancelled it starts closing the upstream, raises CancelledError at once and,
    sooner or later but exactly once, tells `observer.on_closed`; it does not do so
    for calls that ended in any other way.
    """

    name: str

    async def call(self, spec: CallSpec, observer: CallObserver) -> CallResult:
        """Perform one call."""
        ...

    async def aclose(self) -> None:
        """Release what the provider holds; open calls are closed."""
        ...


class ClosesAhead(Protocol):
    """A provider that can begin to close an upstream before the task that awaits it is cancelled.

    Where a thousand are cancelled at once, none has to wait for what is written down of the others.
    """

    def close_ahead(self, observer: CallObserver) -> None:
        """Begin to close the upstream of the open call that this observer listens to.

        Its task has to be cancelled next: no answer comes any more. Harmless when there is none.
        """
        ...


def closes_ahead(provider: object) -> TypeGuard[ClosesAhead]:
    """Return whether a provider is a `ClosesAhead`; an `isinstance` takes fifty times as long."""
    return hasattr(provider, "close_ahead")


@runtime_checkable
class OnWorkers(Protocol):
    """A provider whose calls are made by worker processes."""

    def worker_of(self, observer: CallObserver) -> Worker | None:
        """Return who makes the call that this observer listens to; None when nobody does yet."""
        ...
