"""One attempt: the walk over a request's candidates, each call under the engine's clocks.

Calls providers and watches their clocks; decides nothing about retries, states or
queues. What it learns is on the `Run`; the service draws the conclusions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ksi_tui.config import Config
from ksi_tui.engine import events
from ksi_tui.engine.circuit import Permit
from ksi_tui.engine.clock import Clock
from ksi_tui.engine.errors import POLICY, ErrorKind, ProviderFault
from ksi_tui.engine.live_call import LiveCall, Run
from ksi_tui.engine.models import (
    CallRecord,
    Message,
    Outcome,
    RequestSpec,
    Verdict,
    VerdictKind,
)
from ksi_tui.engine.provider_entry import Entry
from ksi_tui.engine.provider_manager import ProviderManager
from ksi_tui.engine.providers.base import CallResult, CallSpec, Closed
from ksi_tui.engine.token_tracker import TokenTracker, estimate

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

    def admit(self, run: Run) -> None:
        """Take slot and permit of the first candidate that may be called: part of the dispatch.

        Who is dispatched next then sees what is left, so that nobody begins in vain.
        """
        route = run.ticket.route
        run.verdicts.extend(self.providers.candidates(route).passed_over)
        run.left = self.providers.ordered(route)
        self._admit_next(run)

    def _admit_next(self, run: Run) -> None:
        model = run.ticket.route.model
        while run.left:
            entry = run.left.pop(0)
            got = self.providers.admit(entry, model, self.clock())
            if not isinstance(got, Verdict):
                run.admitted = (entry, got)
                return
            run.verdicts.append(got)

    def give_back(self, run: Run) -> None:
        """Return slot and permit of a call that was not made."""
        if run.admitted is not None:
            self.providers.give_back(*run.admitted, self.clock())
            run.admitted = None

    async def walk(self, run: Run, spec: RequestSpec, history: Sequence[Message]) -> Answer | None:
        """Try the candidates in order; return the answer, or None with the reasons on `run`."""
        while (admitted := self._whom_to_call(run)) is not None:
            entry, permit = admitted
            run.verdicts.append(_taken(entry, run.ticket.route.model))
            try:
                answer = await self._call(run, entry, permit, spec, history)
            except ProviderFault as fault:
                run.faults.append(fault)
                if run.broken_stream or not POLICY[fault.kind].fails_over:
                    run.verdicts.extend(_not_reached(run.left, f"after {fault.kind}"))
                    return None
                self._admit_next(run)
                continue
            run.verdicts.extend(_not_reached(run.left))
            return answer
        return None

    def _whom_to_call(self, run: Run) -> tuple[Entry, Permit] | None:
        """Return the admission to be used now; one that stands no more is asked for again."""
        model = run.ticket.route.model
        while (admitted := run.admitted) is not None:
            if self.providers.stands(*admitted, model, self.clock()):
                run.admitted = None
                return admitted
            self.give_back(run)
            run.left.insert(0, admitted[0])
            self._admit_next(run)
        return None

    async def _call(
        self,
        run: Run,
        entry: Entry,
        permit: Permit,
        spec: RequestSpec,
        history: Sequence[Message],
    ) -> Answer:
        live = self._open(run, entry, permit, spec, history)
        call = CallSpec(
            request_id=spec.request_id,
            provider=entry.name,
            model=entry.upstream_model(live.asked_model),
            messages=live.messages,
            history=live.history,
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

    def _open(
        self,
        run: Run,
        entry: Entry,
        permit: Permit,
        spec: RequestSpec,
        history: Sequence[Message],
    ) -> LiveCall:
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
            history=history,
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
        cost, version = fault.cost, fault.price_version
        if fault.usage is not None:
            cost, version = self.tokens.price(live.model, fault.usage, cost, version)
        record = self._record(
            live,
            outcome,
            now,
            usage=fault.usage,
            cost=cost,
            error_kind=fault.kind,
            error_message=fault.message,
            status=fault.status,
            price_version=version,
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
            usage = estimate(messages=[*live.history, *live.messages], text=live.text)
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
