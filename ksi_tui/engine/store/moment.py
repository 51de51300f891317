"""The part of the store's seam that tells with what an engine goes on, now or of one moment.

Questions only, as in `base`, which takes them in; a checkpoint needs no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ksi_tui.engine.models import Message, RequestSpec
from ksi_tui.engine.store.injection_records import InjectionReader
from ksi_tui.engine.store.records import Recovery, SessionFound


class SessionReader(Protocol):
    """Questions about single sessions."""

    async def session(self, session_id: str) -> SessionFound | None:
        """Return a session, or None."""
        ...


class Moment(InjectionReader, SessionReader, Protocol):
    """What is asked to go on with requests and conversations."""

    async def load(self) -> Recovery:
        """Return what an engine needs to go on. Changes nothing."""
        ...

    async def specs(self, request_ids: Sequence[str]) -> Mapping[str, RequestSpec]:
        """Return the payloads of the given requests."""
        ...

    async def turns(self, session_id: str, max_chars: int) -> Sequence[Message]:
        """Return the session's newest whole pairs of turns within `max_chars`, oldest first."""
        ...


class Memory(Moment, Protocol):
    """The same of a store that goes on changing, whose single moments can be looked at."""

    def moment(self) -> AbstractAsyncContextManager[Moment]:
        """Let all that is asked inside be answered from one state of the store, the first's."""
        ...
