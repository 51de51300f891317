"""What waits to be injected as plain JSON, and back: the injections' part of a checkpoint.

Terms that are owed are left out: they are injected in the next moment, and the result that
they belong to is in no checkpoint.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ksi_tui.engine.core import Core
from ksi_tui.engine.errors import InvalidRequest
from ksi_tui.engine.injection.keeper import InjectionKeeper
from ksi_tui.engine.injection.policy import (
    Injection,
    InjectionState,
    QueuedTerms,
    bounds_of,
    injection_of,
    plain,
    terms_of,
)
from ksi_tui.engine.store.base import Write
from ksi_tui.engine.store.injection_records import InjectionSaved, TermsSaved
from ksi_tui.engine.store.moment import Moment
from ksi_tui.engine.store.records import Recovery


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Injections that wait or are part of a prompt, and terms by the request that they are for."""

    injections: Sequence[Injection] = ()
    terms: Mapping[str, QueuedTerms] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.injections) + len(self.terms)

    @property
    def names(self) -> list[str]:
        """The injections' ids and the requests of the terms."""
        return [*(injection.injection_id for injection in self.injections), *self.terms]


class InjectionCheckpoint:
    """Restores pending and bound injections, and queued terms."""

    def __init__(self, core: Core, keeper: InjectionKeeper) -> None:
        self._core = core
        self._keeper = keeper

    async def known(self, waiting: Waiting) -> set[str]:
        """Return the ids of those that are here already."""
        found = await self._core.store.injections([i.injection_id for i in waiting.injections])
        terms = self._core.injections.terms
        return {i.injection_id for i in found} | {name for name in waiting.terms if name in terms}

    def take_over(self, waiting: Waiting) -> None:
        """Let wait, or be part of its prompt again, what is on disk already."""
        table = self._core.injections
        for injection in waiting.injections:
            self._keeper.keep(injection)
            if injection.request_id is not None:
                held = self._keeper.take_out(injection.injection_id)
                assert held is not None
                table.bind_again(injection.request_id, [held])
        table.terms.update(waiting.terms)


async def collected(moment: Moment, recovery: Recovery) -> dict[str, Any]:
    """Return what waits: `{pending: […], queued: […]}`, plain JSON, in order of arrival.

    `recovery` is what the same moment has loaded.
    """
    found = await moment.injections([waiting.injection_id for waiting in recovery.injections])
    return {
        "pending": [plain(injection) for injection in found],
        "queued": [
            {
                "request_id": request_id,
                "terms": plain(queued.terms),
                "bounds": None if queued.bounds is None else plain(queued.bounds),
            }
            for request_id, queued in recovery.injection_terms.items()
            if not queued.owed
        ],
    }


def read(data: Mapping[str, Any]) -> Waiting:
    """Return what `pending` collected; raises InvalidRequest for anything else."""
    try:
        return Waiting(
            injections=tuple(injection_of(item) for item in data.get("pending", ())),
            terms={item["request_id"]: _queued(item) for item in data.get("queued", ())},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidRequest(f"injections: not as checkpoint:collect wrote it: {error!r}") from None


def fitting(waiting: Waiting, known: Collection[str], requests: Collection[str]) -> Waiting:
    """Return what of it is new; what was part of a prompt that is not among `requests` waits."""
    injections = [
        injection
        if injection.request_id in requests
        else replace(injection, state=InjectionState.PENDING, request_id=None, bound_at=None)
        for injection in waiting.injections
        if injection.injection_id not in known
        and injection.state in (InjectionState.PENDING, InjectionState.BOUND)
    ]
    terms = {name: queued for name, queued in waiting.terms.items() if name not in known}
    return Waiting(injections=tuple(injections), terms=terms)


def writes(waiting: Waiting) -> list[Write]:
    """Return what keeps it on disk."""
    kept: list[Write] = [InjectionSaved(injection=injection) for injection in waiting.injections]
    kept += [TermsSaved(request_id=name, queued=q) for name, q in waiting.terms.items()]
    return kept


def _queued(item: Mapping[str, Any]) -> QueuedTerms:
    bounds = item["bounds"]
    return QueuedTerms(
        terms=terms_of(item["terms"]), bounds=None if bounds is None else bounds_of(bounds)
    )
