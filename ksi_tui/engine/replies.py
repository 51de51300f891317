"""Answers questions: the status events of the contract, as plain JSON.

Reads only. Times leave as ISO 8601 UTC, and nothing here ever contains a key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from heapq import nlargest
from typing import Any

from ksi_tui.engine.causes import Causes
from ksi_tui.engine.circuit import CircuitState
from ksi_tui.engine.clock import iso
from ksi_tui.engine.continuity import history_report
from ksi_tui.engine.core import Core
from ksi_tui.engine.errors import NotFound
from ksi_tui.engine.models import Cause, State
from ksi_tui.engine.payloads import Results, SessionStatus, TokenUsage
from ksi_tui.engine.provider_entry import Entry
from ksi_tui.engine.request_report import request_report
from ksi_tui.engine.store.base import StoredRequest, UsageQuery, UsageTotals
from ksi_tui.engine.ticket import Ticket

STATUS_SESSIONS = 100
"""How many sessions `completion:status` lists, deepest first (contract section 2)."""
SESSION_REQUESTS = 200
"""How many of a session's newest requests `completion:session_status` lists."""


class Replies:
    """Answers the status events."""

    def __init__(self, core: Core, causes: Causes) -> None:
        self._core = core
        self._causes = causes

    # --- everything --------------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        """Answer `completion:status`."""
        core = self._core
        active = [lane for lane in core.queue.lanes() if lane.running is not None]
        deepest = nlargest(STATUS_SESSIONS, core.queue.lanes(), key=lambda lane: len(lane.waiting))
        return {
            "service_ready": not core.draining,
            "active_completions": {
                lane.running.request_id: self._brief(lane.running)
                for lane in active
                if lane.running is not None
            },
            "status_counts": {str(state): count for state, count in core.counts.items()},
            "queues": {
                "total_sessions": core.queue.session_count,
                "active_sessions": len(active),
                "total_queued": core.queue.waiting_count,
                "sessions": {
                    lane.session_id: {
                        "queue_size": len(lane.waiting),
                        "is_active": lane.running is not None,
                    }
                    for lane in deepest
                },
                "sessions_limited_to": STATUS_SESSIONS,
            },
            "sessions": {
                "total_sessions": len(core.sessions),
                "locked_sessions": len(core.locks),
                "active_sessions": len(active),
                "agents_with_sessions": core.sessions.agent_count,
            },
            "providers": self.providers(),
            "token_usage": await self.token_usage(TokenUsage()),
            "retry_manager": self.retries()["stats"],
            "database": {"fault": core.store.fault},
            "recovery": {"unfinished": core.recovered, "cursor": core.recovery_cursor},
        }

    def _brief(self, ticket: Ticket) -> dict[str, Any]:
        call = ticket.run.call if ticket.run is not None else None
        return {
            "session_id": ticket.session_id,
            "status": str(ticket.state),
            "provider": call.entry.name if call else None,
            "model": call.model if call else ticket.route.model,
            "started_at": iso(ticket.started_at),
        }

    # --- one request, one session ------------------------------------------------------------

    async def request(self, request_id: str) -> dict[str, Any]:
        """Answer `completion:request_status`."""
        core = self._core
        stored, ticket = await self._both(request_id)
        if stored is None:
            raise NotFound(f"no request {request_id!r}")
        report = request_report(stored, ticket)
        if ticket is None and not stored.state.final:
            report["why"] = "left by an earlier run; goes on when an engine resumes it"
        if ticket is not None and not ticket.state.final:
            now = core.clock()
            cause = self._causes.cause(ticket, now)
            report |= {
                "why": cause.text,
                "cause": _cause(cause),
                "if_nobody_acts": self._causes.if_nobody_acts(ticket, now),
                "position": core.queue.position(ticket),
                "deadline_left_s": round(ticket.timeout_s - ticket.deadline_spent(now), 1),
            }
        return report

    async def _both(self, request_id: str) -> tuple[StoredRequest | None, Ticket | None]:
        """Return what the store and the queue know of a request, of one and the same moment."""
        tickets = self._core.tickets
        while True:
            ticket = tickets.get(request_id)
            stored = await self._core.store.request(request_id)
            if tickets.get(request_id) is ticket:
                return stored, ticket

    async def session(self, data: SessionStatus) -> dict[str, Any]:
        """Answer `completion:session_status`; an unknown session is no error."""
        core, session_id = self._core, data.session_id
        known = await core.store.session(session_id) or core.sessions.get(session_id)
        stored = await core.store.session_requests(session_id, SESSION_REQUESTS)
        lane, lock = core.queue.lane(session_id), core.locks.get(session_id)
        size = len(lane.waiting) if lane else 0
        running = lane.running if lane else None
        return {
            "session_id": session_id,
            "exists": known is not None,
            "completions": [self._completion(request) for request in stored],
            "queue": {
                "exists": lane is not None,
                "queue_size": size,
                "is_active": running is not None,
                "is_empty": size == 0,
            },
            "session": {
                "exists": known is not None,
                "created_at": iso(known.created_at) if known else None,
                "last_activity": iso(known.last_activity) if known else None,
                "request_count": known.request_count if known else 0,
                "active_request": running.request_id if running else None,
                "conversation_locked": lock is not None,
                "lock_holder": lock.holder if lock else None,
                "lock_expiry": iso(lock.expires_at) if lock else None,
                "agents": sorted(known.agents) if known else [],
            },
            **({"history": await history_report(session_id, core.store)} if data.history else {}),
        }

    def _completion(self, stored: StoredRequest) -> dict[str, Any]:
        ticket = self._core.tickets.get(stored.spec.request_id)
        why, cause = stored.error_message, None
        if ticket is not None and not ticket.state.final:
            found = self._causes.cause(ticket, self._core.clock())
            why, cause = found.text, _cause(found)
        return {
            "request_id": stored.spec.request_id,
            "status": str(ticket.state if ticket else stored.state),
            "why": why,
            "cause": cause,
            "queued_at": iso(stored.queued_at),
            "started_at": iso(stored.started_at),
            "completed_at": iso(stored.finished_at),
            "attempts": ticket.attempts if ticket else stored.attempts,
        }

    async def results(self, data: Results) -> dict[str, Any]:
        """Answer `completion:results`: final requests in the order in which they finished."""
        store = self._core.store
        if data.request_ids is not None:
            found = await store.results_of(data.request_ids)
            return {"results": [dict(record) for _, record in found], "next": data.after}
        rows = await store.results(
            after=data.after,
            session_id=data.session_id,
            state=State(data.status) if data.status else None,
            limit=data.limit,
        )
        return {
            "results": [dict(record) for _, record in rows],
            "next": rows[-1][0] if rows else data.after,
        }

    # --- providers and retries ---------------------------------------------------------------

    def providers(self) -> dict[str, Any]:
        """Answer `completion:provider_status` for all."""
        entries = self._core.providers.entries()
        now = self._core.clock()
        available = [e.name for e in entries if e.circuit.admits(now) and not e.full]
        return {
            "total_providers": len(entries),
            "available_providers": available,
            "providers": {entry.name: self._provider(entry, now) for entry in entries},
        }

    def provider(self, name: str) -> dict[str, Any]:
        """Answer `completion:provider_status` for one."""
        entry = self._core.providers.get(name)
        if entry is None:
            names = ", ".join(self._core.providers.names)
            raise NotFound(f"no provider {name!r}; configured: {names}")
        return self._provider(entry, self._core.clock())

    def _provider(self, entry: Entry, now: float) -> dict[str, Any]:
        look, stats, settings = entry.circuit.look(now), entry.health.stats(now), entry.settings
        cooling = [until for until in entry.cooldowns.values() if until > now]
        return {
            "provider": entry.name,
            "config": settings.model_dump(
                mode="json", exclude={"params", "circuit", "name"}, exclude_none=True
            ),
            "circuit_breaker": {
                "state": str(look.state),
                "is_open": look.state is CircuitState.OPEN,
                "recent_failures": look.failures,
                "open_until": iso(look.open_until),
                "forced": str(look.forced) if look.forced else None,
                "forced_by": look.forced_by,
                "last_success": iso(look.last_success),
                "reason": look.reason or None,
            },
            "cooldown_until": iso(max(cooling)) if cooling else None,
            "stats": {
                **asdict(stats),
                "failures_by_kind": {str(k): n for k, n in stats.failures_by_kind.items()},
                "in_flight": entry.in_flight,
                "last_call": iso(stats.last_call),
                "last_error": {
                    "at": iso(stats.last_error.at),
                    "kind": str(stats.last_error.kind),
                    "message": stats.last_error.message,
                }
                if stats.last_error
                else None,
            },
        }

    def retries(self) -> dict[str, Any]:
        """Answer `completion:retry_status`."""
        core = self._core
        now = core.clock()
        retrying = [t for t in core.tickets.values() if t.state is State.RETRYING]
        settings = core.config.retry
        return {
            "retry_manager": "active",
            "stats": {
                "total_retrying": len(retrying),
                "pending_timers": core.alarms.count("backoff"),
                "policy": settings.model_dump(),
            },
            "retrying_requests": [
                {
                    "request_id": ticket.request_id,
                    "retry_attempt": ticket.attempts,
                    "max_retries": ticket.max_attempts - 1,
                    "last_error": ticket.error_message,
                    "next_retry_in": round(max(0.0, (ticket.retry_at or now) - now), 3),
                    "created_at": iso(ticket.queued_at),
                }
                for ticket in retrying
            ],
        }

    # --- tokens ------------------------------------------------------------------------------

    async def token_usage(self, data: TokenUsage) -> dict[str, Any]:
        """Answer `completion:token_usage`."""
        selectors = {
            "agent_id": data.agent_id,
            "model": data.model,
            "session_id": data.session_id,
            "provider": data.provider,
        }
        chosen = {name: value for name, value in selectors.items() if value is not None}
        since = None if data.hours is None else self._core.clock() - data.hours * 3600
        query = UsageQuery(
            agent_id=data.agent_id,
            model=data.model,
            session_id=data.session_id,
            provider=data.provider,
            since=since,
        )
        totals = dict(await self._core.store.usage(query)).get("", UsageTotals())
        reply: dict[str, Any] = {**chosen, "usage": usage_reply(totals)}
        if not chosen:
            reply |= await self._everybody(since, totals)
        if data.bucket_minutes is not None:
            buckets = await self._core.store.usage(
                replace(query, bucket_s=data.bucket_minutes * 60)
            )
            reply["trend"] = [{"at": iso(float(at)), **usage_reply(sums)} for at, sums in buckets]
        return reply

    async def _everybody(self, since: float | None, totals: UsageTotals) -> dict[str, Any]:
        store = self._core.store
        agents = await store.usage(UsageQuery(by="agent", since=since))
        models = await store.usage(UsageQuery(by="model", since=since))
        return {
            "active_agents": _named(agents),
            "active_models": _named(models),
            "active_sessions": len(self._core.sessions),
            "waste": {
                "tokens": totals.waste_tokens,
                "cost": round(totals.waste_cost, 6),
                "calls": totals.waste_calls,
                "seconds": round(totals.waste_s, 3),
            },
        }


def usage_reply(totals: UsageTotals) -> dict[str, Any]:
    """Return sums as `completion:token_usage` gives them."""
    usage = totals.usage
    return {
        "input_tokens": usage.input,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write,
        "output_tokens": usage.output,
        "reasoning_tokens": usage.reasoning,
        "total_tokens": usage.total,
        "request_count": totals.requests,
        "avg_tokens_per_request": round(usage.total / totals.requests, 1) if totals.requests else 0,
        "cost": None if totals.unpriced and not totals.cost else round(totals.cost, 8),
        "unpriced": totals.unpriced,
        "estimated": totals.estimated,
    }


def _named(groups: Sequence[tuple[str, UsageTotals]]) -> Mapping[str, Any]:
    return {name: usage_reply(totals) for name, totals in groups if name}


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "kind": str(cause.kind),
        "target": cause.target,
        "until": iso(cause.until),
        "certain": cause.certain,
        "text": cause.text,
    }
