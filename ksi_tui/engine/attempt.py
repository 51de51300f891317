"""One attempt: the walk over a request's candidates, each call under the engine's clocks.

Calls providers and watches their clocks; decides nothing about retries, states or
queues. What it learns is on the `Run`; the service draws the conclusions.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ksi_tui.config import Config
from ksi_tui.engine import events
from ksi_tui.engine.admissions import Admissions
from ksi_tui.engine.candidates import Candidate
from ksi_tui.engine.circuit import Permit
from ksi_tui.engine.clock import Clock
from ksi_tui.engine.errors import POLICY, ErrorKind, ProviderFault
from ksi_tui.engine.live_call import LiveCall, Run
from ksi_tui.engine.models import (
    CallRecord,
    Message,
    Outcome,
    RequestSpec,
    Usage,
    Verdict,
    VerdictKind,
)
from ksi_tui.engine.provider_manager import ProviderManager
from ksi_tui.engine.providers.base import CallResult, CallSpec, Closed
from ksi_tui.engine.token_tracker import TokenTracker, estimate, schema_tokens

log = logging.getLogger(__name__)

Publish = Callable[[str, Mapping[str, Any]], None]


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
        admissions: Admissions,
        publish: Publish,
        on_late: Callable[[CallRecord], asyncio.Future[None]],
    ) -> None:
        self.config = config
        self.clock = clock
        self.providers = providers
        self.tokens = tokens
        self.admissions = admissions
        self.closing: set[LiveCall] = set()
        self._publish = publish
        self._on_late = on_late

    def admit(self, run: Run) -> None:
        """Take slot and permit of the first candidate that may be called: part of the dispatch.

        Who is dispatched next then sees what is left, so that nobody begins in vain. One with
        limits is asked later: how many tokens are needed is known once the request is read.
        """
        route = run.ticket.route
        if not run.calls:  # else it goes on, and has told of them
            run.verdicts.extend(self.providers.candidates(route).passed_over)
        run.left = deque(self.providers.ordered(route))
        while run.left and run.left[0].entry.limit is None:
            candidate = run.left.popleft()
            got = self.providers.admit(candidate.entry, candidate.model, self.clock())
            if not isinstance(got, Verdict):
                run.admitted = (candidate, got)
                return
            run.verdicts.append(got)

    def give_back(self, run: Run) -> None:
        """Return slot and permit of a call that was not made."""
        if run.admitted is not None:
            candidate, permit = run.admitted
            run.admitted = None
            self.providers.give_back(candidate.entry, permit, self.clock())

    async def walk(self, run: Run, spec: RequestSpec, history: Sequence[Message]) -> Answer | None:
        """Try the candidates in order; return the answer, or None with the reasons on `run`."""
        while (live := self._next_call(run, spec, history)) is not None:
            run.verdicts.append(_taken(live))
            try:
                answer = await self._call(live, spec)
            except ProviderFault as fault:
                run.faults.append(fault)
                if run.broken_stream or not POLICY[fault.kind].fails_over:
                    run.verdicts.extend(_not_reached(run.left, f"after {fault.kind}"))
                    run.left = self._in_its_place(live, fault.kind)
                continue
            run.verdicts.extend(_not_reached(run.left))
            return answer
        return None

    def _in_its_place(self, live: LiveCall, kind: ErrorKind) -> deque[Candidate]:
        """Return who may take a request that the model refused, and was not called yet."""
        run = live.run
        if run.broken_stream:
            return deque()
        called = {(each.entry.name, each.called_as) for each in run.calls}
        others = self.providers.after(live.candidate, run.ticket.route, kind)
        return deque(c for c in others if (c.entry.name, c.model) not in called)

    def _next_call(
        self, run: Run, spec: RequestSpec, history: Sequence[Message]
    ) -> LiveCall | None:
        """Return the call to be made now: as admitted at the dispatch, where that still stands."""
        now = self.clock()
        if run.admitted is not None:
            candidate, permit = run.admitted
            if self.providers.stands(candidate.entry, permit, candidate.model, now):
                run.admitted = None
                return self._open(run, candidate, permit, spec, history)
            self.give_back(run)
            run.left.appendleft(candidate)
        while run.left:
            candidate = run.left.popleft()
            need = self.admissions.need(candidate.entry, spec, history)
            got = self.providers.admit(candidate.entry, candidate.model, now, need)
            if not isinstance(got, Verdict):
                live = self._open(run, candidate, got, spec, history)
                live.admission = self.admissions.reserve(candidate.entry, need, now)
                return live
            run.verdicts.append(got)
        return None

    async def _call(self, live: LiveCall, spec: RequestSpec) -> Answer:
        run, entry = live.run, live.entry
        call = CallSpec(
            request_id=spec.request_id,
            provider=entry.name,
            model=entry.upstream_model(live.called_as),
            messages=live.messages,
            history=live.history,
            stream=live.stream,
            params=spec.params,
        )
        self.progress(live, "failing_over" if run.faults else "calling_provider")
        upstream = False
        try:
            async with asyncio.timeout(None) as live.timer:
                await self.admissions.on_disk(entry, live.admission)
                if live.stream:
                    live.arm("first token", entry.clocks.first_token_timeout_s, live.started_at)
                else:
                    live.arm("reply", entry.clocks.reply_timeout_s, live.started_at)
                upstream = True
                result = await entry.provider.call(call, live)
        except ProviderFault as fault:
            if run.stopped is not None:
                raise self._fenced(live, fault.usage, fault) from None
            raise self._failed(live, fault, closing=False) from None
        except TimeoutError:
            expired = live.timer is not None and live.timer.expired()
            raise self._failed(live, live.clock_fault(), closing=expired) from None
        except asyncio.CancelledError:
            self._given_up(live, closing=upstream)
            raise
        except Exception as error:  # the seam to a provider: its slot must come back
            log.exception("provider raised", extra={"provider": entry.name})
            unknown = ProviderFault(ErrorKind.TEMPORARY_FAILURE, f"{entry.name}: {error!r}")
            raise self._failed(live, unknown, closing=False) from error
        if run.stopped is not None:
            raise self._fenced(live, result.usage, result)
        self._answered(live, result)
        return Answer(live, result)

    def _open(
        self,
        run: Run,
        candidate: Candidate,
        permit: Permit,
        spec: RequestSpec,
        history: Sequence[Message],
    ) -> LiveCall:
        entry = candidate.entry
        streams = spec.stream is not False and entry.settings.supports_streaming
        live = LiveCall(
            run=run,
            candidate=candidate,
            permit=permit,
            ordinal=len(run.calls) + 1,
            model=entry.answering_model(candidate.model),
            asked_model=run.ticket.route.model,
            stream=streams,
            started_at=self.clock(),
            walker=self,
            messages=_messages(spec),
            history=history,
            mcp=spec.uses_mcp,
            tools=spec.params.get("tools") or (),
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
        spent = self._spent(live, result.usage, result, savings=result.cache_savings)
        record = self._record(live, Outcome.ANSWERED, now, raw_usage=result.raw_usage, **spent)
        self.providers.succeeded(
            live.entry,
            live.permit,
            now,
            latency_ms=(now - live.started_at) * 1000,
            ttft_ms=live.ttft_ms if live.stream else None,
            tokens=result.usage.output + result.usage.reasoning,
            streamed=live.tokens,
        )
        self._freed(live, record)
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
            error_kind=fault.kind,
            error_message=fault.message,
            status=fault.status,
            **self._spent(live, fault.usage, fault),
        )
        self.providers.failed(
            live.entry,
            live.permit,
            live.run.ticket.route,
            fault,
            now,
            model=live.called_as,
            latency_ms=(now - live.started_at) * 1000,
        )
        self._end(live, record, closing=closing)
        return fault

    def _given_up(self, live: LiveCall, *, closing: bool) -> None:
        now = self.clock()
        outcome = live.run.stopped or Outcome.INTERRUPTED
        fault = live.run.reported
        told = {"error_kind": fault.kind, "error_message": fault.message} if fault else {}
        record = self._record(live, outcome, now, **told)
        self.providers.gave_up(live.entry, live.permit, now)
        self._end(live, record, closing=closing)

    def _fenced(
        self, live: LiveCall, usage: Usage | None, end: CallResult | ProviderFault
    ) -> asyncio.CancelledError:
        """Book a call that was told to stop and came to an end of its own all the same.

        Whatever it brings is too late: it is waste, and neutral to the circuit.
        """
        now = self.clock()
        cost, version = end.cost, end.price_version
        if usage is not None:
            cost, version = self.tokens.price(live.model, usage, cost, version)
        outcome = live.run.stopped or Outcome.INTERRUPTED
        record = self._record(live, outcome, now, usage=usage, cost=cost, price_version=version)
        self.providers.gave_up(live.entry, live.permit, now)
        self._end(live, record, closing=False)
        return asyncio.CancelledError()

    def _end(self, live: LiveCall, record: CallRecord, *, closing: bool) -> None:
        """Book a call that did not answer: now, or when its upstream is closed."""
        if not closing:
            self._freed(live, record)
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
            usage = estimate(
                messages=[*live.history, *live.messages], text=live.text, tools=live.tools
            )
        record = replace(
            record,
            upstream_closed_ms=closed.after_ms if closed.confirmed else None,
            **self._spent(live, usage, closed),
        )
        self._freed(live, record)
        self._count(live, record)
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

    def _freed(self, live: LiveCall, record: CallRecord) -> None:
        """Give back what a call held of its provider: its slot, and the tokens it did not use."""
        self.admissions.settle(live.entry, live.admission, record, self.clock())
        self.providers.slot_freed(live.entry)

    def _book(self, live: LiveCall, record: CallRecord) -> None:
        self._count(live, record)
        live.pending = record
        live.run.records.append(record)

    def _count(self, live: LiveCall, record: CallRecord) -> None:
        """Add a call to the live sums and to its request's total, which may now be a high one."""
        self.tokens.book(record, live.tokens, self.clock())
        ticket, limit = live.run.ticket, self.config.engine.high_usage_tokens
        before = ticket.used_tokens
        ticket.used_tokens += record.usage.total if record.usage is not None else 0
        if before <= limit < ticket.used_tokens:
            told = {
                "request_id": ticket.request_id,
                "session_id": ticket.session_id,
                "agent_id": ticket.agent_id,
                "model": record.model,
                "total_tokens": ticket.used_tokens,
                "threshold": limit,
            }
            self._publish(events.HIGH_USAGE, told)

    def _spent(
        self,
        live: LiveCall,
        usage: Usage | None,
        told: CallResult | ProviderFault | Closed,
        savings: float | None = None,
    ) -> dict[str, Any]:
        """Return what a call has used and cost, as `CallRecord` names it."""
        if usage is None or not usage.plausible:
            return {"usage": None}
        cost, version = self.tokens.price(live.model, usage, told.cost, told.price_version)
        schemas = told.tool_schema_tokens
        if schemas is None or not live.tools:
            schemas = schema_tokens(live.tools)
        return {
            "usage": usage,
            "cost": cost,
            "price_version": version,
            "tool_schema_tokens": schemas,
            "cache_savings": self.tokens.savings(live.model, usage, savings),
        }

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
            mcp=live.mcp,
            **details,
        )


def _not_reached(candidates: Iterable[Candidate], detail: str = "") -> list[Verdict]:
    return [
        Verdict(provider=each.entry.name, kind=VerdictKind.NOT_REACHED, detail=detail)
        for each in candidates
    ]


def _taken(live: LiveCall) -> Verdict:
    detail = "" if live.model == live.asked_model else f"as {live.model}"
    return Verdict(provider=live.entry.name, kind=VerdictKind.TAKEN, detail=detail)


def _messages(spec: RequestSpec) -> Sequence[Message]:
    if spec.messages is not None:
        return spec.messages
    return ({"role": "user", "content": spec.prompt},)
