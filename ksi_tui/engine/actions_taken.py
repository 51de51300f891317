"""What people do, for the record: who did what to whom and why, kept and told in one place.

A deed on one thing is one action: kept with what it changes, in the journal, and published as
`action:<what>`. A deed on many requests is kept with each of them, for their timelines, but the
journal and the subscribers are told of it once. What a deed changes is its doer's business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from ksi_tui.engine.core import Core
from ksi_tui.engine.models import Action
from ksi_tui.engine.store.base import ActionTaken
from ksi_tui.engine.store.journal import ACTION, EntryKept, of_action

SAMPLE: Final = 20
"""So many requests of a deed are named in the journal."""


def taken(core: Core, action: Action, session_id: str | None = None) -> ActionTaken:
    """Tell of an action and return the write that keeps it.

    `session_id`: the session of the request that it is on, if it is on one.
    """
    entry = of_action(action, session_id)
    core.publish(entry.name, dict(entry.data))
    return ActionTaken(action=action, session_id=session_id)


@dataclass(slots=True)
class _Tally:
    """What one kind of action did so far. `session_id` is None once it is not one session's."""

    detail: str | None
    session_id: str | None
    count: int = 0
    sample: list[str] = field(default_factory=list)


class Deed:
    """An action on many requests, while it goes on; leaving its `with` tells of what was done.

    It tells also where the rest was given up: what was done before stays done.
    """

    def __init__(self, core: Core, by: str | None, reason: str | None) -> None:
        self._core = core
        self._by, self._reason = by, reason
        self._tallies: dict[str, _Tally] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name, tally in self._tallies.items():
            self._tell(name, tally)

    def taken(self, action: Action, session_id: str) -> ActionTaken:
        """Count one request's action in and return the write that keeps it with the request."""
        tally = self._tallies.get(action.name)
        if tally is None:
            tally = self._tallies[action.name] = _Tally(action.detail, session_id)
        tally.count += 1
        if tally.session_id != session_id:
            tally.session_id = None
        if len(tally.sample) < SAMPLE:
            tally.sample.append(action.target)
        return ActionTaken(action=action, session_id=session_id, told=False)

    def _tell(self, name: str, tally: _Tally) -> None:
        one = tally.count == 1
        data: dict[str, Any] = {
            "by": self._by,
            "reason": self._reason,
            "target": tally.sample[0] if one else f"{tally.count:,} requests",
            "detail": tally.detail,
            "count": tally.count,
            "requests": tally.sample,
        }
        request_id = tally.sample[0] if one else None
        ids = {"request_id": request_id, "session_id": tally.session_id}
        data |= {each: value for each, value in ids.items() if value is not None}
        self._core.publish(f"{ACTION}{name}", data)
        self._core.store.write(
            EntryKept(at=self._core.clock(), name=f"{ACTION}{name}", data=data, **ids)
        )
