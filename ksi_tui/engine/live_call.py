"""What is known of a run and its calls while they run: text, tokens, times, clocks.

State that the walk (`attempt`) moves and that causes, reports and snapshots read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from ksi_tui.engine.call_timers import CallTimer
from ksi_tui.engine.candidates import Candidate
from ksi_tui.engine.circuit import Permit
from ksi_tui.engine.clock import Clock
from ksi_tui.engine.errors import ErrorKind, ProviderFault
from ksi_tui.engine.models import AttemptRecord, CallRecord, Message, Outcome, Verdict
from ksi_tui.engine.provider_entry import Entry
from ksi_tui.engine.providers.base import Closed, Deltas, closes_ahead
from ksi_tui.engine.rate_limit import Admission
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.token_tracker import TokenTracker


class Watcher(Protocol):
    """Who hears of a call's progress: the bookkeeper."""

    clock: Clock
    tokens: TokenTracker

    def progress(self, live: LiveCall, status: str) -> None:
        """Tell subscribers how far a call is."""
        ...

    def delta(self, live: LiveCall, text: str, deltas: Deltas | None) -> None:
        """Hand a piece of the answer to those who follow its request."""
        ...

    def close(self, live: LiveCall) -> None:
        """Book a cancelled call whose upstream is closed."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class LiveCall:
    """One call while it runs. It is the call's observer and moves its clocks.

    `entry` is the candidate's provider, `asked_model` the request's, `model` what answers.
    `diverted_from` is the provider that would have been called but for its circuit.
    """

    run: Run
    candidate: Candidate
    entry: Entry
    permit: Permit
    ordinal: int
    model: str
    asked_model: str
    stream: bool
    started_at: float
    watcher: Watcher
    messages: Sequence[Message]
    mcp: bool = False
    tools: Sequence[Any] = ()
    history: Sequence[Message] = ()
    parts: list[str] = field(default_factory=list)
    tokens: int = 0
    first_token_at: float | None = None
    last_token_at: float | None = None
    streaming: bool = False
    idle_at: float | None = None
    clock_name: str = ""
    timer: CallTimer | None = None
    closed: Closed | None = None
    pending: CallRecord | None = None
    admission: Admission | None = None
    diverted_from: str | None = None

    @property
    def called_as(self) -> str:
        """The model that the provider is asked for."""
        return self.candidate.model

    @property
    def text(self) -> str:
        """What has arrived so far."""
        if len(self.parts) > 1:
            self.parts[:] = ["".join(self.parts)]
        return self.parts[0] if self.parts else ""

    @property
    def ttft_ms(self) -> float | None:
        """Time to first token, in ms."""
        if self.first_token_at is None:
            return None
        return (self.first_token_at - self.started_at) * 1000

    def on_text(self, text: str, tokens: int) -> None:
        """Take a piece of the answer and set the idle clock anew."""
        self._take(text, tokens, None)

    def on_deltas(self, text: str, tokens: int, deltas: Deltas) -> None:
        """As `on_text`, of a piece that holds more than text of the first choice."""
        self._take(text, tokens, deltas)

    def _take(self, text: str, tokens: int, deltas: Deltas | None) -> None:
        if self.run.stopped or self.pending is not None or self._clock_is_over:
            return
        now = self.watcher.clock()
        self.parts.append(text)
        self.tokens += tokens
        self.last_token_at = now
        if self.first_token_at is None:
            self.first_token_at = now
            self.watcher.progress(self, "first_token")
        elif not self.streaming:
            self.streaming = True
            self.watcher.progress(self, "streaming")
        self.watcher.tokens.stream(tokens, now)
        self.entry.health.stream(tokens, now)
        self.watcher.delta(self, text, deltas)
        self.arm("idle", self.entry.clocks.idle_timeout_s, now)

    @property
    def _clock_is_over(self) -> bool:
        return self.timer is not None and self.timer.expired()

    def on_closed(self, closed: Closed) -> None:
        """Learn that the upstream of this cancelled call is closed; book it now."""
        if self.closed is not None:
            return
        self.closed = closed
        if self.pending is not None:
            self.watcher.close(self)

    def close_ahead(self) -> None:
        """Have the upstream closed now: this call's task is cancelled next."""
        if self.pending is None and closes_ahead(provider := self.entry.provider):
            provider.close_ahead(self)

    def arm(self, name: str, limit_s: float, now: float) -> None:
        """Let the named clock end the call in `limit_s`, or the deadline where that is sooner."""
        if self.timer is None:
            return
        self.idle_at = now + limit_s
        deadline = self.run.ticket.deadline_at()
        if deadline is not None and deadline <= self.idle_at:
            self.clock_name, self.idle_at = "deadline", deadline
        else:
            self.clock_name = name
        loop_now = asyncio.get_running_loop().time()
        self.timer.reschedule(loop_now + max(0.0, self.idle_at - now))

    def clock_fault(self) -> ProviderFault:
        """Return the fault of the clock that has just ended this call."""
        clocks, name = self.entry.clocks, self.entry.name
        ticket = self.run.ticket
        match self.clock_name:
            case "deadline":
                text = f"not answered within timeout_s = {ticket.timeout_s:g} s, over all attempts"
                return ProviderFault(ErrorKind.DEADLINE_EXCEEDED, text)
            case "first token":
                text = f"{name}: no first token in {clocks.first_token_timeout_s:g} s"
            case "idle":
                text = f"{name}: no further token in {clocks.idle_timeout_s:g} s"
            case _:
                text = f"{name}: no reply in {clocks.reply_timeout_s:g} s"
        return ProviderFault(ErrorKind.TIMEOUT, text)


class Admitted(NamedTuple):
    """Leave to make the next call: slot and permit are taken, its place in the limits too."""

    candidate: Candidate
    permit: Permit
    admission: Admission | None


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """One attempt of one request while it runs. `stopped` says who ended it from outside.

    `answer` is the call that answered, which is written down with the request's end.
    `reported` is the failure that somebody reported, for which its call is stopped.
    An attempt that has to wait for a busy candidate is laid by and goes on later;
    `earlier` counts the calls that it had made by then.
    `admitted` is the call that may be made next; `left` are the candidates after it.
    """

    ticket: Ticket
    attempt: int
    started_at: float
    task: asyncio.Task[None] | None = None
    calls: list[LiveCall] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    faults: list[ProviderFault] = field(default_factory=list)
    answer: CallRecord | None = None
    left: deque[Candidate] = field(default_factory=deque)
    admitted: Admitted | None = None
    broken_stream: bool = False
    stopped: Outcome | None = None
    reported: ProviderFault | None = None
    earlier: int = 0

    @property
    def call(self) -> LiveCall | None:
        """The call that runs now, or the last one since the attempt began or went on."""
        return self.calls[-1] if len(self.calls) > self.earlier else None

    def note_effect(self, effect: str) -> None:
        """Write beside the verdict of the call that has just failed what that did."""
        if self.verdicts and effect:
            last = self.verdicts[-1]
            detail = f"{last.detail}, {effect}" if last.detail else effect
            self.verdicts[-1] = replace(last, detail=detail)

    def note_walk(self) -> None:
        """Count an attempt that called somebody."""
        if self.calls:
            self.ticket.walks = self.attempt

    def lay_by(self) -> None:
        """Let the attempt wait: its calls so far are booked."""
        self.task = None
        self.earlier = len(self.calls)

    def let_go(self) -> None:
        """Drop the calls of a run that is over: run and calls hold each other, and would stay
        in memory, ten thousand objects a second, until the collector walks by.
        """
        if self.task is None or self.task.done():
            self.calls.clear()

    def report(self, kind: ErrorKind, message: str) -> None:
        """Note that somebody reports this attempt as failed: its call is to be stopped."""
        self.stopped = Outcome.FAILED
        self.reported = ProviderFault(kind, message)

    def waits_s(self) -> list[tuple[ErrorKind, float | None]]:
        """Return how each call failed and the Retry-After to be obeyed; a report has none."""
        called = zip(self.calls, self.faults, strict=False)
        waits = [(f.kind, live.entry.wait_s(f)) for live, f in called if f is not self.reported]
        return waits if self.reported is None else [*waits, (self.reported.kind, None)]

    def record(
        self,
        now: float,
        *,
        kind: ErrorKind | None = None,
        retry_at: float | None = None,
        spent: bool,
    ) -> AttemptRecord:
        """Return this attempt for the record. `kind` is what it came to, else the last call's."""
        return AttemptRecord(
            request_id=self.ticket.request_id,
            attempt=self.attempt,
            started_at=self.started_at,
            finished_at=now,
            verdicts=tuple(self.verdicts),
            error_kind=kind or (self.faults[-1].kind if self.faults else None),
            retry_at=retry_at,
            spent=spent,
        )
