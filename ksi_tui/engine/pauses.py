"""What is paused: the engine, sessions, providers.

Pure policy: no I/O, no clock. Who stands in line is the queue's, whether a deadline runs is
the dispatcher's, and `controls` writes down what changes here.
"""

from __future__ import annotations

from collections.abc import Iterator

from ksi_tui.engine.deeds import deed
from ksi_tui.engine.models import Cause, CauseKind, Pause, PauseScope

_Key = tuple[PauseScope, str | None]


class PauseTable:
    """At most one pause a scope and id: whoever paused it first is named until it is resumed."""

    def __init__(self) -> None:
        self._pauses: dict[_Key, Pause] = {}
        self._providers = 0

    def __iter__(self) -> Iterator[Pause]:
        """The pauses, the longest first."""
        return iter(self._pauses.values())

    def __len__(self) -> int:
        return len(self._pauses)

    @property
    def engine(self) -> Pause | None:
        """The pause of everything, or None."""
        return self.get(PauseScope.ENGINE, None)

    @property
    def any_provider(self) -> bool:
        """Whether some provider is paused."""
        return self._providers > 0

    def session(self, session_id: str) -> Pause | None:
        """Return the pause of a session, or None."""
        return self.get(PauseScope.SESSION, session_id)

    def provider(self, name: str) -> Pause | None:
        """Return the pause of a provider, or None."""
        return self.get(PauseScope.PROVIDER, name) if self._providers else None

    def get(self, scope: PauseScope, id: str | None) -> Pause | None:
        """Return the pause of a scope and id, or None."""
        return self._pauses.get((scope, id)) if self._pauses else None

    def add(self, pause: Pause) -> bool:
        """Pause something; False and no change when it is paused already."""
        key = (pause.scope, pause.id)
        if key in self._pauses:
            return False
        self._pauses[key] = pause
        self._providers += pause.scope is PauseScope.PROVIDER
        return True

    def remove(self, scope: PauseScope, id: str | None) -> Pause | None:
        """End a pause; returns it, or None when there is none."""
        pause = self._pauses.pop((scope, id), None)
        self._providers -= pause is not None and scope is PauseScope.PROVIDER
        return pause


def pause_cause(pause: Pause) -> Cause:
    """Return a pause as the cause of a wait."""
    return Cause(kind=CauseKind.PAUSE, target=pause.target, text=paused(pause))


def paused(pause: Pause) -> str:
    """Return a pause in words: `paused by op1: deploy`."""
    return deed("paused", pause.by, pause.reason)
