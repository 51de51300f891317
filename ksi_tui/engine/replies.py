"""Answers questions: the status events of the contract, as plain JSON.

Reads only. Times leave as ISO 8601 UTC, and nothing here ever contains a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from heapq import nlargest
from typing import Any

from ksi_tui.engine.clock import iso
from ksi_tui.engine.control_replies import paused_reply
from ksi_tui.engine.core import Core
from ksi_tui.engine.errors import NotFound
from ksi_tui.engine.journal import journal_page
from ksi_tui.engine.live_call import LiveCall
from ksi_tui.engine.models import CauseKind, PauseScope, State
from ksi_tui.engine.not_serving import not_serving
from ksi_tui.engine.payloads import RequestStatus, Results, SessionStatus, TokenUsage
from ksi_tui.engine.provider_report import provider_report
from ksi_tui.engine.request_report import request_report
from ksi_tui.engine.sent import sent_report
from ksi_tui.engine.session_report import session_report
from ksi_tui.engine.store.records import StoredRequest
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.upkeep.response_writer import unfiled_count
from ksi_tui.engine.usage_groups import usage_groups
from ksi_tui.engine.usage_payloads import JournalPage, Series
from ksi_tui.engine.usage_report import usage_report
from ksi_tui.engine.usage_series import series_report
from ksi_tui.engine.why.causes import Causes
from ksi_tui.engine.why.chain import Chains
from ksi_tui.engine.why.outlook import Outlooks
from ksi_tui.engine.why.report import left_behind, outlook_reply, why_reply

END_AWAITED_S = 1.0
"""How long a report waits for an end that is on its way to disk, to tell it with its result."""
STATUS_SESSIONS = 100
"""How many sessions `completion:status` lists, deepest first (contract section 2)."""


class Replies:
    """Answers the status events. `closing`: the stopped calls that are not on disk yet."""

    def __init__(self, core: Core, causes: Causes, closing: Iterable[LiveCall]) -> None:
        self._core = core
        self._causes = causes
        self._closing = closing
        self._chains = Chains(core, causes)
        self._outlooks = Outlooks(core, causes)

    # --- everything --------------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        """Answer `completion:status`."""
        core = self._core
        active = list(core.queue.running_lanes())
        deepest = nlargest(STATUS_SESSIONS, core.queue.lanes(), key=lambda lane: len(lane.waiting))
        return {
            "service_ready": not core.draining,
            "active_completions": len(active),
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
            "pauses": {
                "paused": paused_reply(core.pauses),
                "hold_everything": self._pauses_hold_everything(),
            },
            "database": {"fault": core.store.fault, "damaged": core.store.damaged},
            "injections": {
                "pending": core.injections.pending,
                "blocked": core.injections.counts.blocked,
            },
            "housekeeping": self._housekeeping(),
            "recovery": {"unfinished": core.recovered, "cursor": core.recovery_cursor},
        }

    def _pauses_hold_everything(self) -> bool:
        """Whether something waits and nothing will go on until somebody resumes it.

        Costs what there are routes and pauses, whatever waits.
        """
        core = self._core
        sessions = core.queue.session_count
        if not len(core.pauses) or core.queue.running_count or not sessions:
            return False
        if core.pauses.engine is not None:
            return True
        now = core.clock()
        held = sum(
            pause.scope is PauseScope.SESSION and core.queue.lane(pause.id or "") is not None
            for pause in core.pauses
        )
        for line in core.queue.lines(sessions):
            if self._causes.of_line(line, now).kind is not CauseKind.PAUSE:
                return False
            held += line.sessions
        return held == sessions

    def _housekeeping(self) -> dict[str, Any]:
        upkeep = self._core.upkeep
        return {
            "last_cleanup_at": iso(upkeep.last_cleanup_at),
            "removed": {
                "requests": upkeep.removed_requests,
                "sessions": upkeep.removed_sessions,
            },
            "response_files": {
                "pending": unfiled_count(self._core),
                "fault": upkeep.response_fault,
            },
        }

    # --- one request, one session ------------------------------------------------------------

    async def request(self, data: RequestStatus) -> dict[str, Any]:
        """Answer `completion:request_status`."""
        core, request_id = self._core, data.request_id
        stored, ticket, closing = await self._known(request_id)
        if stored is None:
            raise NotFound(f"no request {request_id!r}")
        report = request_report(stored, ticket, closing)
        model = ticket.route.model if ticket is not None else stored.model
        report["not_serving"] = not_serving(model, core.providers)
        if ticket is None and not stored.state.final:
            report |= left_behind()
        if ticket is not None and not ticket.state.final:
            now = core.clock()
            chain = self._chains.chain(ticket, now)
            report |= {
                **why_reply(chain, self._outlooks.outlook(ticket, now)),
                "moves": [outlook_reply(each) for each in self._outlooks.moves(chain, now)],
                "position": core.queue.position(ticket),
                "session_position": self._session_position(ticket),
                "deadline_left_s": round(ticket.timeout_s - ticket.deadline_spent(now), 1),
                "deadline_at": iso(ticket.deadline_at()),
            }
        if data.sent:
            report["sent"] = await sent_report(stored, ticket, core.store)
        return report

    def _session_position(self, ticket: Ticket) -> dict[str, int]:
        """Return its place among the unfinished of its session, the running one first."""
        queue = self._core.queue
        lane = queue.lane(ticket.session_id)
        running = int(lane is not None and lane.running is not None)
        place = queue.position(ticket)
        return {
            "at": place + running if place else 1,
            "of": queue.depth(ticket.session_id) + running,
        }

    async def _known(
        self, request_id: str
    ) -> tuple[StoredRequest | None, Ticket | None, list[LiveCall]]:
        """Return what store, queue and books know of a request, of one and the same moment."""
        tickets, waited = self._core.tickets, False
        while True:
            ticket = tickets.get(request_id)
            # Before the disk is read: a call that is written meanwhile would be in neither.
            closing = [call for call in self._closing if call.run.ticket.request_id == request_id]
            stored = await self._core.store.request(request_id)
            if tickets.get(request_id) is not ticket:
                continue
            finishing = self._core.finishing.get(request_id)
            if finishing is None or waited:
                return stored, ticket, closing
            waited = True
            await asyncio.wait([finishing], timeout=END_AWAITED_S)

    async def session(self, data: SessionStatus) -> dict[str, Any]:
        """Answer `completion:session_status`; an unknown session is no error."""
        return await session_report(self._core, self._causes, data)

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
        pauses = self._core.pauses
        available = sum(
            e.circuit.admits(now) and not e.full and pauses.provider(e.name) is None
            for e in entries
        )
        return {
            "total_providers": len(entries),
            "available_providers": available,
            "providers": {entry.name: provider_report(entry, pauses, now) for entry in entries},
        }

    def provider(self, name: str) -> dict[str, Any]:
        """Answer `completion:provider_status` for one."""
        core = self._core
        return provider_report(core.providers.known(name), core.pauses, core.clock())

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
        core, now = self._core, self._core.clock()
        if data.by is None:
            return await usage_report(core.store, data, now, len(core.sessions))
        groups = await usage_groups(core.store, data, now)
        return {**await usage_report(core.store, data, now, len(core.sessions)), "groups": groups}

    async def series(self, data: Series) -> dict[str, Any]:
        """Answer `completion:series`."""
        return await series_report(self._core.store, data, self._core.clock())

    async def journal(self, data: JournalPage) -> dict[str, Any]:
        """Answer `system:journal`."""
        return await journal_page(self._core.store, data)
