"""Who looks at the engine: one entry for each dashboard that holds the stream of events.

Values and their list only; who counts as attached is the stream's to know.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ksi_tui.engine.clock import iso

DASHBOARD = "dashboard"
"""The kind of client that counts as attached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls: `client` tells two of one operator apart, where they say so.

    `proven`: a guard knows the operator, who then signs whatever an event says. `own_sessions`:
    the results of its requests go into the sessions that they run in, and no others.
    """

    operator: str = ""
    kind: str = ""
    client: str = ""
    proven: bool = False
    own_sessions: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Entry:
    caller: Caller
    since: float
    id: str = field(default_factory=lambda: secrets.token_hex(4))


class Attached:
    """The list of those who are attached, the first to come first."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    @contextmanager
    def entered(self, caller: Caller) -> Iterator[None]:
        """Count a caller in for as long as the block lasts."""
        entry = _Entry(caller=caller, since=time.time())
        self._entries.append(entry)
        try:
            yield
        finally:
            self._entries.remove(entry)

    def listed(self) -> list[dict[str, str | None]]:
        """Return the entries as plain JSON."""
        return [
            {
                "id": entry.id,
                "operator": entry.caller.operator,
                "kind": entry.caller.kind,
                "since": iso(entry.since),
            }
            for entry in self._entries
        ]

    def others(self, caller: Caller) -> tuple[str, ...]:
        """Return the operators attached beside a caller, who counts once if at all."""
        names = [entry.caller.operator for entry in self._entries]
        own = self._own(caller)
        if own is not None:
            del names[own]
        return tuple(names)

    def _own(self, caller: Caller) -> int | None:
        same = (n for n, entry in enumerate(self._entries) if entry.caller == caller)
        return next(same, None)
