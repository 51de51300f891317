"""The part of the store's seam that concerns injections: writes, finds and questions.

Values only, as in `base`, which takes them in; kept apart since nothing else needs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ksi_tui.engine.injection.policy import Chain, Injection, InjectionState, QueuedTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectionSaved:
    """A new injection, in whatever state. One whose id is known changes nothing."""

    injection: Injection


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectionMoved:
    """An injection's new state, and the request that it is now part of (None: of none).

    One given by hand, or whose source is gone, is forgotten when it expires or is cleared.
    """

    injection_id: str
    state: InjectionState
    at: float
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TermsSaved:
    """Terms were queued for a request, or are owed by it now."""

    request_id: str
    queued: QueuedTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class TermsGone:
    """A request's terms were fulfilled or taken back."""

    request_id: str


InjectionWrite = InjectionSaved | InjectionMoved | TermsSaved | TermsGone


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingFound:
    """A pending or bound injection as found at start; its text stays on disk."""

    injection_id: str
    session_id: str
    chars: int
    expires_at: float | None
    request_id: str | None


class InjectionReader(Protocol):
    """Questions about injections. Each answers from an index."""

    async def injections(self, injection_ids: Sequence[str]) -> Sequence[Injection]:
        """Return those of the given injections that exist, in order of arrival."""
        ...

    async def direct_of(self, request_ids: Sequence[str]) -> Sequence[str]:
        """Return those of the given requests that are injections of their own."""
        ...

    async def chain(self, request_id: str) -> Chain | None:
        """Return a request's chain with all tokens that it has spent; None for no request."""
        ...
