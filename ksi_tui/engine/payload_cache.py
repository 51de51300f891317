"""Payloads of waiting requests: a bounded part of them in memory, all of them on disk.

What is dispatched soon after it was accepted needs no read; what waits in a long queue
costs no memory. Reads of one moment share one question to the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ksi_tui.engine.models import RequestSpec
from ksi_tui.engine.store.base import Store
from ksi_tui.engine.ticket import Ticket

BUDGET_CHARS = 16_000_000
"""How many characters of payload stay in memory."""
_OVERHEAD_CHARS = 1_000


class PayloadCache:
    """Gives a ticket its payload. Owns the one task that reads for whoever waits."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._left = BUDGET_CHARS
        self._wanted: dict[str, asyncio.Future[RequestSpec]] = {}
        self._reading: set[asyncio.Task[None]] = set()

    def keep(self, ticket: Ticket, spec: RequestSpec) -> None:
        """Keep a payload with its ticket while there is room."""
        weight = _weight(spec)
        if ticket.spec is None and weight <= self._left:
            self._left -= weight
            ticket.spec = spec

    def has_room(self, spec: RequestSpec) -> bool:
        """Whether a payload would be kept."""
        return _weight(spec) <= self._left

    def forget(self, ticket: Ticket) -> None:
        """Give a payload's room back."""
        if ticket.spec is not None:
            self._left += _weight(ticket.spec)
            ticket.spec = None

    async def load(self, ticket: Ticket) -> RequestSpec:
        """Return a request's payload. Raises StoreError when it cannot be read."""
        if ticket.spec is not None:
            return ticket.spec
        waiter = self._wanted.get(ticket.request_id)
        if waiter is None:
            waiter = asyncio.get_running_loop().create_future()
            self._wanted[ticket.request_id] = waiter
            if len(self._wanted) == 1:
                task = asyncio.create_task(self._read(), name="read payloads")
                self._reading.add(task)
                task.add_done_callback(self._reading.discard)
        return await asyncio.shield(waiter)

    async def _read(self) -> None:
        await asyncio.sleep(0)  # whoever is dispatched in this turn of the loop comes along
        wanted, self._wanted = self._wanted, {}
        try:
            found: Mapping[str, RequestSpec] = await self._store.specs(list(wanted))
        except Exception as error:  # the task's boundary: those who wait get the reason
            for waiter in wanted.values():
                waiter.set_exception(error)
                waiter.exception()
            return
        for request_id, waiter in wanted.items():
            if request_id in found:
                waiter.set_result(found[request_id])
            else:
                waiter.set_exception(KeyError(request_id))
                waiter.exception()


def _weight(spec: RequestSpec) -> int:
    """Return about how many characters a payload holds."""
    chars = len(spec.prompt or "") + len(spec.system or "")
    for message in spec.messages or ():
        content = message.get("content")
        chars += len(content if isinstance(content, str) else str(content))
    return _OVERHEAD_CHARS + chars
