"""One attempt: the walk over a request's candidates, each call under the engine's clocks.

Calls providers and watches their clocks; decides nothing about retries, states or
queues. What it learns is on the `Run`; the service draws the conclusions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ksi_tui.config import Config
from ksi_tui.engine import events
from ksi_tui.engine.circuit import Permit
from ksi_tui.engine.clock import Clock
from ksi_tui.engine.errors import POLICY, ErrorKind, ProviderFault
from ksi_tui.engine.models import (
    AttemptRecord,
    CallRecord,
    Message,
    Outcome,
    RequestSpec,
    Verdict,
    VerdictKind,
)
from ksi_tui.engine.provider_manager import Entry, ProviderManager
from ksi_tui.engine.providers.base import CallResult, CallSpec, Closed
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.token_tracker import TokenTracker, estimate

log = logging.getLogger(__name__)

Publish = Callable[[str, Mapping[str, Any]], None]


@dataclass(slots=True, kw_only=True, eq=False)
class LiveCall:
    """One call while it runs. It is the call's observer and moves its clocks."""

    run: Run
    entry: Entry
    permit: Permit
    ordinal: int
    model: str
    asked_model: str
    stream: bool
    started_at: float
    walker: Walker
    messages: Sequence[Message]
    parts: list[str] = field(default_factory=list)
    length: int = 0
    tokens: int = 0
    first_token_at: float | None = None
    last_token_at: float | None = None
    idle_at: float | None = None
    clock_name: str = ""
    timer: asyncio.Timeout | None = None
    closed: Closed | None = None
    pending: CallRecord | None = None

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
        if self.run.stopped or self.pending is not None or self._clock_is_over:
            return
        now = self.walker.clock()
        self.parts.append(text)
        self.length += len(text)
        self.tokens += tokens
        self.last_token_at = now
        if self.first_token_at is None:
            self.first_token_at = now
            self.walker.progress(self, "first_token")
        self.walker.tokens.stream(tokens, now)
        self.entry.health.stream(tokens, now)
        self.arm("idle", self.walker.config.engine.idle_timeout_s, now)

    @property
    def _clock_is_over(self) -> bool:
        return self.timer is not None and self.timer.expired()

    def on_closed(self, closed: Closed) -> None:
        """Learn that the upstream of this cancelled call is closed; book it now."""
        if self.closed is not None:
            return
        self.closed = closed
        if self.pending is not None:
            self.walker.close(self)

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
        settings, name = self.walker.config.engine, self.entry.name
        ticket = self.run.ticket
        match self.clock_name:
            case "deadline":
                text = f"not answered within timeout_s = {ticket.timeout_s:g} s, over all attempts"
                return ProviderFault(ErrorKind.DEADLINE_EXCEEDED, text)
            case "first token":
                text = f"{name}: no first token in {settings.first_token_timeout_s:g} s"
            case "idle":
                text = f"{name}: no further token in {settings.idle_timeout_s:g} s"
            case _:
                text = f"{name}: no reply in {settings.reply_timeout_s:g} s"
        return ProviderFault(ErrorKind.TIMEOUT, text)


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """One attempt of one request while it runs. `stopped` says who ended it from outside."""

    ticket: Ticket
    attempt: int
    started_at: float
    task: asyncio.Task[None] | None = None
    calls: list[LiveCall] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    faults: list[ProviderFault] = field(default_factory=list)
    records: list[CallRecord] = field(default_factory=list)
    broken_stream: bool = False
    stopped: Outcome | None = None

    @property
    def call(self) -> LiveCall | None:
        """The call that runs now, or the last one."""
        return self.calls[-1] if self.calls else None

    def record(self, now: float, *, retry_at: float | None = None, spent: bool) -> AttemptRecord:
        """Return this attempt for the record."""
        return AttemptRecord(
            request_id=self.ticket.request_id,
            attempt=self.attempt,
            started_at=self.started_at,
            finished_at=now,
            verdicts=tuple(self.verdicts),
            error_kind=self.faults[-1].kind if self.faults else None,
            retry_at=retry_at,
            spent=spent,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """The call that answered, and what it said."""

    live: LiveCall
    result: CallResult


class Walker:
    """Walks requests over their candidates. `on_late` books calls that outlive their run."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        providers: ProviderManager,
        tokens: TokenTracker,
        publish: Publish,
        on_late: Callable[[CallRecord], asyncio.Future[None]],
    ) -> None:
        self.config = config
        self.clock = clock
        self.providers = providers
        self.tokens = tokens
        self.closing: set[LiveCall] = set()
        self._publish = publish
        self._on_late = on_late

    async def walk(self, run: Run, spec: RequestSpec, history: Sequence[Message]) -> Answer | None:
        """Try the candidates in order; return the answer, or None with the reasons on `run`."""
        route = run.ticket.route
        run.verdicts.extend(self.providers.candidates(route).passed_over)
        order = self.providers.ordered(route)
        for index, entry in enumerate(order):
            got = self.providers.admit(entry, route.model, self.clock())
            if isinstance(got, Verdict):
                run.verdicts.append(got)
                continue
            run.verdicts.append(_taken(entry, route.model))
            try:
                answer = await self._call(run, entry, got, spec, history)
            except ProviderFault as fault:
                run.faults.append(fault)
                if not run.broken_stream and POLICY[fault.kind].fails_over:
                    continue
                run.verdicts.extend(_not_reached(order[index + 1 :], f"after {fault.kind}"))
                return None
            run.verdicts.extend(_not_reached(order[index + 1 :]))
            return answer
        return None

    async def _call(
        self,
        run: Run,
        entry: Entry,
        permit: Permit,
        spec: RequestSpec,
        history: Sequence[Message],
    ) -> Answer:
        live = self._open(run, entry, permit, spec)
        call = CallSpec(
            request_id=spec.request_id,
            provider=entry.name,
            model=entry.upstream_model(live.asked_model),
            messages=live.messages,
            history=history,
            stream=live.stream,
            params=spec.params,
        )
        self.progress(live, "failing_over" if run.faults else "calling_provider")
        try:
            async with asyncio.timeout(None) as live.timer:
                settings = self.config.engine
                if live.stream:
                    live.arm("first token", settings.first_token_timeout_s, live.started_at)
                else:
                    live.arm("reply", settings.reply_timeout_s, live.started_at)
                result = await entry.provider.call(call, live)
        except ProviderFault as fault:
            raise self._failed(live, fault, closing=False) from None
        except TimeoutError:
            expired = live.timer is not None and live.timer.expired()
            raise self._failed(live, live.clock_fault(), closing=expired) from None
        except asyncio.CancelledError:
            self._given_up(live)
            raise
        except Exception as error:  # the seam to a provider: its slot must come back
            log.exception("provider raised", extra={"provider": entry.name})
            unknown = ProviderFault(ErrorKind.TEMPORARY_FAILURE, f"{entry.name}: {error!r}")
            raise self._failed(live, unknown, closing=False) from error
        self._answered(live, result)
        return Answer(live, result)

    def _open(self, run: Run, entry: Entry, permit: Permit, spec: RequestSpec) -> LiveCall:
        model = run.ticket.route.model
        streams = spec.stream is not False and entry.settings.supports_streaming
        live = LiveCall(
            run=run,
            entry=entry,
            permit=permit,
            ordinal=len(run.calls) + 1,
            model=entry.answering_model(model),
            asked_model=model,
            stream=streams,
            started_at=self.clock(),
            walker=self,
            messages=_messages(spec),
        )
        run.calls.append(live)
        return live

    def progress(self, live: LiveCall, status: str) -> None:
        """Tell subscribers how far a call is."""
        ticket = live.run.ticket
        self._publish(
            events.PROGRESS,
            {
                "request_id": ticket.request_id,
                "session_id": ticket.session_id,
                "status": status,
                "provider": live.entry.name,
                "model": live.model,
                "attempt": live.run.attempt,
            },
        )

    # --- ends ----------------------------------------------------------------------------

    def _answered(self, live: LiveCall, result: CallResult) -> None:
        now = self.clock()
        if live.first_token_at is None:
            live.first_token_at = now
        live.last_token_at = now
        cost, version = self.tokens.price(
            live.model, result.usage, result.cost, result.price_version
        )
        record = self._record(
            live,
            Outcome.ANSWERED,
            now,
            usage=result.usage,
            raw_usage=result.raw_usage,
            cost=cost,
            price_version=version,
        )
        self.providers.succeeded(
            live.entry,
            live.permit,
            now,
            latency_ms=(now - live.started_at) * 1000,
            ttft_ms=live.ttft_ms if live.stream else None,
            tokens=result.usage.output + result.usage.reasoning,
            streamed=live.tokens,
        )
        self.providers.slot_freed(live.entry)
        self._book(live, record)

    def _failed(self, live: LiveCall, fault: ProviderFault, *, closing: bool) -> ProviderFault:
        now = self.clock()
        if live.first_token_at is not None and self.config.engine.on_broken_stream == "fail":
            live.run.broken_stream = True
        policy = POLICY[fault.kind]
        outcome = Outcome.INTERRUPTED if policy.interruption else Outcome.FAILED
        record = self._record(
            live,
            outcome,
            now,
            usage=fault.usage,
            cost=fault.cost,
            error_kind=fault.kind,
            error_message=fault.message,
            status=fault.status,
            price_version=fault.price_version,
        )
        self.providers.failed(
            live.entry,
            live.permit,
            live.run.ticket.route,
            fault,
            now,
            latency_ms=(now - live.started_at) * 1000,
        )
        self._end(live, record, closing=closing)
        return fault

    def _given_up(self, live: LiveCall) -> None:
        now = self.clock()
        outcome = live.run.stopped or Outcome.INTERRUPTED
        record = self._record(live, outcome, now)
        self.providers.gave_up(live.entry, live.permit, now)
        self._end(live, record, closing=True)

    def _end(self, live: LiveCall, record: CallRecord, *, closing: bool) -> None:
        """Book a call that did not answer: now, or when its upstream is closed."""
        if not closing:
            self.providers.slot_freed(live.entry)
            self._book(live, record)
            return
        live.pending = record
        if live.closed is not None:
            self.close(live)
        else:
            self.closing.add(live)

    def close(self, live: LiveCall) -> None:
        """Book a cancelled call: its upstream is closed, or nobody could confirm it."""
        record, closed = live.pending, live.closed
        if record is None or closed is None:
            return
        self.closing.discard(live)
        usage = closed.usage
        if usage is None and live.length:
            usage = estimate(messages=live.messages, text=live.text)
        cost, version = closed.cost, closed.price_version
        if usage is not None:
            cost, version = self.tokens.price(live.model, usage, cost, version)
        record = replace(
            record,
            usage=usage,
            cost=cost,
            price_version=version,
            upstream_closed_ms=closed.after_ms if closed.confirmed else None,
        )
        self.providers.slot_freed(live.entry)
        self.tokens.book(record, live.tokens, self.clock())
        told = {
            "request_id": record.request_id,
            "session_id": record.session_id,
            "provider": record.provider,
            "after_ms": round(closed.after_ms, 1),
            "confirmed": closed.confirmed,
        }
        self._on_late(record).add_done_callback(
            lambda _: self._publish(events.UPSTREAM_CLOSED, told)
        )

    def close_unconfirmed(self) -> None:
        """Book the calls whose upstreams nobody has told to be closed: the engine ends."""
        now = self.clock()
        for live in list(self.closing):
            ended_at = live.pending.finished_at if live.pending is not None else now
            live.on_closed(Closed(after_ms=(now - ended_at) * 1000, confirmed=False))

    def _book(self, live: LiveCall, record: CallRecord) -> None:
        self.tokens.book(record, live.tokens, self.clock())
        live.pending = record
        live.run.records.append(record)

    def _record(self, live: LiveCall, outcome: Outcome, now: float, **details: Any) -> CallRecord:
        ticket = live.run.ticket
        return CallRecord(
            request_id=ticket.request_id,
            attempt=live.run.attempt,
            ordinal=live.ordinal,
            provider=live.entry.name,
            model=live.model,
            asked_model=live.asked_model,
            agent_id=ticket.agent_id,
            session_id=ticket.session_id,
            started_at=live.started_at,
            finished_at=now,
            outcome=outcome,
            first_token_at=live.first_token_at,
            last_token_at=live.last_token_at,
            partial_text=None if outcome is Outcome.ANSWERED else live.text or None,
            **details,
        )


def _not_reached(entries: Sequence[Entry], detail: str = "") -> list[Verdict]:
    return [
        Verdict(provider=entry.name, kind=VerdictKind.NOT_REACHED, detail=detail)
        for entry in entries
    ]


def _taken(entry: Entry, model: str) -> Verdict:
    answering = entry.answering_model(model)
    detail = "" if answering == model else f"as {answering}"
    return Verdict(provider=entry.name, kind=VerdictKind.TAKEN, detail=detail)


def _messages(spec: RequestSpec) -> Sequence[Message]:
    if spec.messages is not None:
        return spec.messages
    return ({"role": "user", "content": spec.prompt},)
