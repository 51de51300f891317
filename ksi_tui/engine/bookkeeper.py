"""Takes down how each call ended: to its provider, to the sums, on disk.

Tells what was used and wasted, and gives back what the call held. Whether a request goes
on after it is not decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ksi_tui.config import Config
from ksi_tui.engine import events
from ksi_tui.engine.admissions import Admissions
from ksi_tui.engine.call_effects import effect
from ksi_tui.engine.clock import Clock
from ksi_tui.engine.diversions import Diversions
from ksi_tui.engine.errors import POLICY, ProviderFault, StoreUnavailable
from ksi_tui.engine.events import Router
from ksi_tui.engine.live_call import LiveCall
from ksi_tui.engine.models import CallRecord, Outcome, Usage
from ksi_tui.engine.provider_manager import ProviderManager
from ksi_tui.engine.providers.base import CallResult, Closed, Deltas
from ksi_tui.engine.token_tracker import TokenTracker, estimate, schema_tokens

Write = Callable[[CallRecord], "asyncio.Future[None]"]


class Bookkeeper:
    """Books calls. `write` puts one on disk that is not its request's answer."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        providers: ProviderManager,
        tokens: TokenTracker,
        admissions: Admissions,
        diversions: Diversions,
        router: Router,
        write: Write,
    ) -> None:
        self.config = config
        self.clock = clock
        self.providers = providers
        self.tokens = tokens
        self.admissions = admissions
        self.diversions = diversions
        self.closing: set[LiveCall] = set()
        self._router = router
        self._publish = router.publish
        self._write = write

    def opened(self, live: LiveCall) -> None:
        """Note a call that is to be made: it may be in the place of a provider that is sick."""
        usable = self.providers.candidates(live.run.ticket.route).usable
        live.diverted_from = self.diversions.moved(live.candidate, usable, live.started_at)

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

    def delta(self, live: LiveCall, text: str, deltas: Deltas | None) -> None:
        """Hand a piece of the answer to those who follow its request; mostly that is nobody."""
        ticket = live.run.ticket
        if not self._router.follows(ticket.request_id) or not (text or deltas):
            return
        told = {
            "request_id": ticket.request_id,
            "session_id": ticket.session_id,
            "provider": live.entry.name,
            "model": live.model,
            "attempt": live.run.attempt,
            "call": live.ordinal,
            "choices": deltas or [{"index": 0, "delta": {"content": text}}],
        }
        self._router.tell(ticket.request_id, events.DELTA, told)

    def follows(self, request_id: str) -> bool:
        """Return whether anybody follows this request."""
        return self._router.follows(request_id)

    def answered(self, live: LiveCall, result: CallResult) -> None:
        """Book an answer; it is written down with its request's end."""
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
        self._count(live, record)
        live.pending = record
        live.run.answer = record

    def failed(self, live: LiveCall, fault: ProviderFault, *, closing: bool) -> ProviderFault:
        """Book a failure, and return it; `closing`: its upstream is still to be closed."""
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
        stood = live.entry.circuit.stands(live.permit)
        self.providers.failed(
            live.entry,
            live.permit,
            live.run.ticket.route,
            fault,
            now,
            model=live.called_as,
            latency_ms=(now - live.started_at) * 1000,
        )
        if stood:
            fail_max = self.config.circuit_of(live.entry.settings).fail_max
            live.run.note_effect(effect(live.entry, live.permit, fault, fail_max, now))
        self._end(live, record, closing=closing)
        return fault

    def given_up(self, live: LiveCall, *, closing: bool) -> None:
        """Book a call that was told to stop; `closing`: its upstream is still to be closed."""
        now = self.clock()
        outcome = live.run.stopped or Outcome.INTERRUPTED
        fault = live.run.reported
        told = {"error_kind": fault.kind, "error_message": fault.message} if fault else {}
        record = self._record(live, outcome, now, **told)
        self.providers.gave_up(live.entry, live.permit, now)
        self._end(live, record, closing=closing)

    def fenced(
        self, live: LiveCall, usage: Usage | None, end: CallResult | ProviderFault
    ) -> asyncio.CancelledError:
        """Book a call that was told to stop and came to an end of its own all the same.

        Whatever it brings is too late: it is waste, and neutral to the circuit.
        """
        now = self.clock()
        outcome = live.run.stopped or Outcome.INTERRUPTED
        record = self._record(live, outcome, now, **self._spent(live, usage, end))
        self.providers.gave_up(live.entry, live.permit, now)
        self._end(live, record, closing=False)
        return asyncio.CancelledError()

    def _end(self, live: LiveCall, record: CallRecord, *, closing: bool) -> None:
        """Book a call that did not answer: now, or when its upstream is closed."""
        live.pending = record
        if not closing:
            self._freed(live, record)
            self._count(live, record)
            self._write(record)
            return
        self.closing.add(live)
        if live.closed is not None:
            self.close(live)

    def close(self, live: LiveCall) -> None:
        """Book a cancelled call: its upstream is closed, or nobody could confirm it."""
        record, closed = live.pending, live.closed
        if record is None or closed is None:
            return
        usage = closed.usage
        if usage is None and live.text:
            usage = estimate(
                messages=[*live.history, *live.messages], text=live.text, tools=live.tools
            )
        record = live.pending = replace(
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

        def written(future: asyncio.Future[None]) -> None:
            self.closing.discard(live)
            refused = not future.cancelled() and isinstance(future.exception(), StoreUnavailable)
            if not refused:  # else nobody has heard of its request
                self._publish(events.UPSTREAM_CLOSED, told)

        self._write(record).add_done_callback(written)

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

    def _count(self, live: LiveCall, record: CallRecord) -> None:
        """Add a call to the live sums and to its request's total, which may now be a high one."""
        self.tokens.book(record, live.tokens, self.clock())
        if live.diverted_from is not None:
            self._compare(live.diverted_from, live, record)
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

    def _compare(self, name: str, live: LiveCall, record: CallRecord) -> None:
        """Note what a diverted call cost more than it would have where it should have gone."""
        entry = self.providers.get(name)
        if entry is None or record.usage is None or record.cost is None:
            return
        model = entry.answering_model(live.asked_model)
        there = self.tokens.expected_cost(name, model, record.usage)
        if there is not None:
            self.diversions.cost(name, record.cost - there)

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
