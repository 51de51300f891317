"""What waits to be injected as plain JSON, and back: the injections' part of a checkpoint.

Terms that are owed are left out: they are injected in the next moment, and the result that
they belong to is in no checkpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ksi_tui.engine.core import Core
from ksi_tui.engine.errors import InvalidRequest
from ksi_tui.engine.injection import (
    Injection,
    InjectionState,
    QueuedTerms,
    bounds_of,
    injection_of,
    plain,
    terms_of,
)
from ksi_tui.engine.injection_keeper import InjectionKeeper
from ksi_tui.engine.store.base import Write
from ksi_tui.engine.store.injection_records import TermsSaved


class InjectionCheckpoint:
    """Collects and restores pending and bound injections, and queued terms."""

    def __init__(self, core: Core, keeper: InjectionKeeper) -> None:
        self._core = core
        self._keeper = keeper

    async def pending(self) -> dict[str, Any]:
        """Return what waits: `{pending: […], queued: […]}`, plain JSON, in order of arrival."""
        table, store = self._core.injections, self._core.store
        found = await store.injections([*table.bound_ids(), *table.ids()])
        return {
            "pending": [plain(injection) for injection in found],
            "queued": [
                {
                    "request_id": request_id,
                    "terms": plain(queued.terms),
                    "bounds": None if queued.bounds is None else plain(queued.bounds),
                }
                for request_id, queued in table.terms.items()
                if not queued.owed
            ],
        }

    async def restore(self, data: Mapping[str, Any]) -> dict[str, list[str]]:
        """Bring back what `pending` returned; answers the ids in `restored` and in `skipped`.

        Restore the requests first: what was part of a prompt is bound to it again where that
        is unfinished, and else waits. Skipped is what exists, has expired or has no room.
        Raises InvalidRequest for anything that `pending` does not return.
        """
        try:
            injections = [injection_of(item) for item in data.get("pending", ())]
            terms = {item["request_id"]: _queued(item) for item in data.get("queued", ())}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidRequest(f"injections are not as collected: {error!r}") from None
        known = await self._core.store.injections([each.injection_id for each in injections])
        exist = {each.injection_id for each in known}
        writes: list[Write] = []
        restored: list[str] = []
        for injection in injections:
            if injection.injection_id not in exist and self._has_place(injection):
                writes.append(self._kept(injection))
                restored.append(injection.injection_id)
        for request_id, queued in terms.items():
            if request_id not in self._core.injections.terms:
                self._core.injections.terms[request_id] = queued
                writes.append(TermsSaved(request_id=request_id, queued=queued))
                restored.append(request_id)
        await asyncio.shield(self._core.store.write(*writes))
        asked = [*(each.injection_id for each in injections), *terms]
        done = set(restored)
        return {"restored": restored, "skipped": [each for each in asked if each not in done]}

    def _has_place(self, injection: Injection) -> bool:
        now, alive = self._core.clock(), (InjectionState.PENDING, InjectionState.BOUND)
        if injection.state not in alive:
            return False
        if injection.state is InjectionState.PENDING and (injection.expires_at or now + 1) <= now:
            return False
        return self._core.injections.room(injection.session_id, injection.chars) is None

    def _kept(self, injection: Injection) -> Write:
        core, request_id = self._core, injection.request_id
        ticket = core.tickets.get(request_id) if request_id is not None else None
        if ticket is None:
            return self._keeper.keep(
                replace(injection, state=InjectionState.PENDING, request_id=None, bound_at=None)
            )
        write = self._keeper.keep(injection)
        held = self._keeper.take_out(injection.injection_id)
        assert held is not None
        core.injections.bind_again(ticket.request_id, [held])
        return write


def _queued(item: Mapping[str, Any]) -> QueuedTerms:
    bounds = item["bounds"]
    return QueuedTerms(
        terms=terms_of(item["terms"]), bounds=None if bounds is None else bounds_of(bounds)
    )
