"""What is asked when requests are looked for by a filter, and what is found. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.filter import Filter
from ksi_tui.engine.models import Priority, State


class SortBy(StrEnum):
    """What found requests are ordered by."""

    QUEUED = "queued"
    SESSION = "session"
    AGENT = "agent"
    MODEL = "model"
    PROVIDER = "provider"
    STATUS = "status"
    ATTEMPTS = "attempts"
    TOKENS = "tokens"
    COST = "cost"
    LATENCY = "latency"
    TTFT = "ttft"
    AGE = "age"
    FINISHED = "finished"
    WORST = "worst"  # unfinished, the oldest on top; then failed, then the rest, newest on top

    @property
    def by_name(self) -> bool:
        """Whether it orders by names, from A on; numbers and times begin at the largest."""
        return self in _NAMES


_NAMES = frozenset({SortBy.SESSION, SortBy.AGENT, SortBy.MODEL, SortBy.PROVIDER, SortBy.STATUS})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningNow:
    """What is only in memory of a request that runs: it outweighs what is on disk.

    `place` names it. `holds`: whether those terms hold that look at what changes while it runs
    (`finding.changing`). `sort_value` is what it is ordered by; None: what is on disk.
    """

    place: int
    holds: bool
    sort_value: str | float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    """Which requests to find. `now` is epoch seconds.

    `waiting`: a JSON array of the places of the unfinished requests for which the terms hold that
    no disk knows (`finding.in_memory`); None where the filter has none of these.
    """

    wanted: Filter
    now: float
    sort: SortBy = SortBy.QUEUED
    descending: bool = True
    offset: int = 0
    limit: int = 100
    ids_only: bool = False
    running: Sequence[RunningNow] = ()
    waiting: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRequest:
    """A request as a list shows it, as far as it is on disk. Times are epoch seconds.

    `tokens`, `cost` (dollars) and how many calls are `unpriced` or `estimated` are of all its
    calls that are booked; None where nothing is known.
    """

    request_id: str
    session_id: str
    agent_id: str | None
    asked_model: str
    model: str
    state: State
    priority: Priority
    queued_at: float
    started_at: float | None
    finished_at: float | None
    attempts: int
    max_attempts: int
    provider: str | None
    ttft_ms: float | None
    error_kind: ErrorKind | None
    error_message: str | None
    by: str | None
    reason: str | None
    tokens: int | None
    cost: float | None
    unpriced: int
    estimated: int
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One page of what was found, and how many there are in all. `ids` where only they were asked.

    Page and total are of one state of the database.
    """

    total: int
    requests: Sequence[FoundRequest] = ()
    ids: Sequence[str] = ()


class NamesOf(StrEnum):
    """Whose names are known to the store. META are the keys of metadata; one's values have none."""

    SESSION = "session"
    AGENT = "agent"
    MODEL = "model"
    PROVIDER = "provider"
    META = "meta"
    ERROR = "error"
