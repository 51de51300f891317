"""Failures that others report: `completion:failed`.

Decides what a report means to the request it names. Whether a failure is made good is the
kind's own (`errors.POLICY`), when is the retry rule's, and what becomes of a running
request is drawn in `conclusions`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ksi_tui.engine.actions_taken import taken
from ksi_tui.engine.control_payloads import ReportedFailure
from ksi_tui.engine.core import Core
from ksi_tui.engine.endings import Endings
from ksi_tui.engine.errors import POLICY, Conflict
from ksi_tui.engine.intake import Intake
from ksi_tui.engine.intervene import Interventions
from ksi_tui.engine.live_call import Run
from ksi_tui.engine.models import Action, State
from ksi_tui.engine.payloads import Retry
from ksi_tui.engine.ticket import Ticket

SCHEDULED = "retry_scheduled"
NOT_RETRYABLE = "not_retryable"
NOT_FOUND = "not_found"
UNAVAILABLE = "retry_unavailable"


class Reports:
    """Takes reports in. Each that changes something is recorded with its message."""

    def __init__(
        self, core: Core, endings: Endings, intake: Intake, interventions: Interventions
    ) -> None:
        self._core = core
        self._endings = endings
        self._intake = intake
        self._interventions = interventions

    async def failed(self, data: ReportedFailure) -> dict[str, Any]:
        """Answer `completion:failed`, once what follows from it is on disk."""
        core, request_id = self._core, data.request_id
        await core.entered(request_id)
        finishing = core.finishing.get(request_id)
        if finishing is not None:
            await asyncio.wait([finishing])
        ticket = core.tickets.get(request_id)
        if ticket is None:
            return await self._not_live(data)
        if ticket.run is not None:
            return await self._running(ticket, ticket.run, data)
        if POLICY[data.reason].retried:
            return _reply(data, SCHEDULED, f"it is {ticket.state} and goes on by itself")
        self._record(data)
        self._endings.fail(ticket, data.reason, data.message)
        await self._on_disk(request_id)
        return _reply(data, NOT_RETRYABLE, f"{data.reason} is not retried; it has failed")

    def _record(self, data: ReportedFailure) -> None:
        core, ticket = self._core, self._core.tickets.get(data.request_id)
        action = Action(
            at=core.clock(),
            name="report failure",
            target=data.request_id,
            reason=data.message,
            detail=str(data.reason),
        )
        core.store.write(taken(core, action, ticket.session_id if ticket else None))

    async def _on_disk(self, request_id: str) -> None:
        future = self._core.finishing.get(request_id) or self._core.store.write()
        await asyncio.wait([future])

    # --- one that runs -----------------------------------------------------------------------

    async def _running(self, ticket: Ticket, run: Run, data: ReportedFailure) -> dict[str, Any]:
        """Stop the call, and let the usual rule say what follows from its failure."""
        task = run.task
        if run.stopped is None and task is not None:
            self._record(data)
            run.report(data.reason, data.message)
            task.cancel()
        state, error = await _after(ticket, task)
        await self._on_disk(ticket.request_id)
        if not state.final:
            return _reply(data, SCHEDULED, f"its call was stopped; it is {state}")
        if state is State.FAILED and not POLICY[data.reason].retried:
            return _reply(data, NOT_RETRYABLE, f"{data.reason} is not retried; it has failed")
        why = f": {error}" if state is State.FAILED else ""
        return _reply(data, UNAVAILABLE, f"it is {state}{why}")

    # --- one that does not -------------------------------------------------------------------

    async def _not_live(self, data: ReportedFailure) -> dict[str, Any]:
        state = (await self._core.store.states([data.request_id])).get(data.request_id)
        if state is None:
            return await self._unknown(data)
        if not POLICY[data.reason].retried:
            return _reply(data, NOT_RETRYABLE, f"{data.reason} is not retried; it stays {state}")
        if not state.final:
            return _reply(data, UNAVAILABLE, "it was left by an earlier run, not resumed here")
        if state is State.COMPLETED:
            return _reply(data, UNAVAILABLE, "it has completed")
        try:
            await self._interventions.retry(Retry(request_id=data.request_id, reason=data.message))
        except Conflict as conflict:
            return _reply(data, SCHEDULED, str(conflict))
        return _reply(data, SCHEDULED, f"it was {state} and goes again")

    async def _unknown(self, data: ReportedFailure) -> dict[str, Any]:
        if data.completion_data is None:
            return _reply(data, NOT_FOUND, "no such request; completion_data would bring it")
        if not POLICY[data.reason].retried:
            return _reply(data, NOT_RETRYABLE, f"{data.reason} is not retried; nothing was taken")
        asked = {**data.completion_data, "request_id": data.request_id}
        await self._intake.completion(asked, inject=False)
        self._record(data)
        await self._on_disk(data.request_id)
        return _reply(data, SCHEDULED, "it was taken as a new request")


async def _after(ticket: Ticket, task: asyncio.Task[None] | None) -> tuple[State, str | None]:
    """Return a request's state and error as they are when its run ends.

    Whoever merely waits for that end may find that it has gone again and been answered.
    """
    found: list[tuple[State, str | None]] = []
    if task is not None:
        task.add_done_callback(lambda _: found.append((ticket.state, ticket.error_message)))
        await asyncio.wait([task])
    return found[0] if found else (ticket.state, ticket.error_message)


def _reply(data: ReportedFailure, status: str, detail: str) -> dict[str, Any]:
    return {"request_id": data.request_id, "status": status, "detail": detail}
