"""All that is worked out only for somebody who reads why one request waits.

Remedies, company and plain words cost more than a snapshot may: they are kept for a second.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ksi_tui.engine.core import Core
from ksi_tui.engine.lanes import Lane
from ksi_tui.engine.views import Chain, Outlook
from ksi_tui.engine.why.causes import Causes
from ksi_tui.engine.why.plain import in_plain_words
from ksi_tui.engine.why.remedies import Remedies
from ksi_tui.engine.why.same_root import SameRoots
from ksi_tui.engine.why.survey import Freshness, Surveys


class Explanations:
    """Explains one request at a time."""

    def __init__(self, core: Core, causes: Causes, surveys: Surveys) -> None:
        self._core = core
        self._remedies = Remedies(core, causes)
        self._same_roots = SameRoots(core, causes, surveys)
        self._fresh = Freshness(core)
        self._of: str | None = None
        self._explained: dict[str, Any] = {}

    def of(
        self, chain: Chain, lanes: Iterable[Lane], moves: tuple[Outlook, ...], now: float
    ) -> dict[str, Any]:
        """Return the fields of `Live` that `SnapshotQuery.explain` asks for.

        `lanes` are the sessions that wait, oldest first; `moves` those of the chain.
        """
        first = chain.links[0].request_id
        if self._fresh.over(now) or first != self._of:
            self._of = first
            company = self._same_roots.of(chain, lanes, now)
            self._explained = {
                "remedies": self._remedies.of(chain, now),
                "same_root": company.rows,
                "same_root_requests": company.requests,
                "same_root_sessions": company.sessions,
                "same_root_at_least": company.at_least,
                "plain": in_plain_words(self._core, chain, moves, now),
            }
        return self._explained
