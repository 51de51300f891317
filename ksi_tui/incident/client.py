"""An engine's door over a bundle: the same screens look at what was, and step through time.

It answers questions from what the bundle holds and refuses everything else by name.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ksi_tui.client import Event, Snapshot, SnapshotQuery, Subscription
from ksi_tui.engine.events import matches as fits
from ksi_tui.engine.filter import Facts, Filter, FilterError, matches, parse
from ksi_tui.engine.models import Priority, State
from ksi_tui.engine.views import Live, Phase
from ksi_tui.incident.bundle import Bundle
from ksi_tui.incident.codec import rebuilt
from ksi_tui.incident.errors import BundleError
from ksi_tui.incident.gather import key_of
from ksi_tui.incident.recorder import snapshot_of

Data = Mapping[str, Any]
Reply = dict[str, Any]

_MOST_EVENTS = 10_000
_SORTS: dict[str, Callable[[Data], Any]] = {
    "queued": lambda row: row.get("queued_at"),
    "finished": lambda row: row.get("finished_at"),
    "age": lambda row: row.get("age_s"),
    "session": lambda row: row.get("session_id"),
    "agent": lambda row: row.get("agent_id"),
    "model": lambda row: row.get("model"),
    "provider": lambda row: row.get("provider"),
    "status": lambda row: row.get("status"),
    "attempts": lambda row: row.get("attempts"),
    "tokens": lambda row: row.get("tokens"),
    "cost": lambda row: row.get("cost"),
    "latency": lambda row: row.get("latency_ms"),
    "ttft": lambda row: row.get("ttft_ms"),
}


class BundleClient:
    """An `EngineClient` that shows a bundle at one of its moments, first the last one.

    Raises BundleError where that one is damaged.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._index = len(bundle.frames) - 1
        self._shown = (self._index, self._frame(self._index))
        self._records = {str(record.get("request_id")): record for record in bundle.records}
        self._lives = {str(live.get("request_id")): live for live in bundle.lives}
        self._questions: dict[str, Callable[[Data], Reply]] = {
            "completion:request_status": self._request,
            "completion:requests": self._requests,
            "completion:names": self._names,
            "system:journal": self._journal,
        }

    # --- time ------------------------------------------------------------------------------

    def step(self, frames: int) -> None:
        """Go on by so many moments, back where negative; it ends at the first and the last.

        Raises BundleError, and stays where it was, where that moment is damaged.
        """
        index = max(0, min(len(self.bundle.frames) - 1, self._index + frames))
        self._shown = (index, self._frame(index))
        self._index = index

    @property
    def position(self) -> tuple[int, int]:
        """Which moment is shown, counted from 1, and how many there are."""
        return self._index + 1, len(self.bundle.frames)

    def _frame(self, index: int) -> Snapshot:
        return snapshot_of(self.bundle.frames[index], f"frame {index + 1}")

    # --- the client ------------------------------------------------------------------------

    def snapshot(self, query: SnapshotQuery | None = None) -> Snapshot:
        """Return the picture of the shown moment, as far as `query` asks and the bundle holds."""
        asked = query or SnapshotQuery()
        whole = self._shown[1]
        first, queue_first = asked.active_offset, asked.queue_offset
        return dataclasses.replace(
            whole,
            active=whole.active[first : first + asked.active_limit],
            queues=whole.queues[queue_first : queue_first + asked.queue_limit],
            locks=whole.locks[: asked.lock_limit],
            pauses=whole.pauses[: asked.pause_limit],
            live=self._live(asked.request_id) if asked.request_id else None,
        )

    def _live(self, request_id: str) -> Live | None:
        """Return what was known of a request when the bundle was made; at that moment only."""
        held = self._lives.get(request_id)
        if held is None or self._index < len(self.bundle.frames) - 1:
            return None
        try:
            found: Live = rebuilt(Live, held, "a live view")
        except BundleError:
            return None
        return found

    async def emit(self, name: str, data: Data | None = None) -> Reply:
        """Answer a question from the bundle; everything else is refused."""
        asked = dict(data or {})
        answer = self._questions.get(name)
        if answer is not None:
            try:
                return answer(asked)
            except (TypeError, ValueError, AttributeError):  # a value of another shape than ours
                return {"error": f"{name}: the recording is damaged there", "code": "not_found"}
        held = self.bundle.answers.get(key_of(name, asked))
        if held is not None:
            return held
        said = f"{name}: this is a recording; it holds no answer to that, and nothing can be done"
        return {"error": said, "code": "not_found"}

    def subscribe(self, pattern: str = "*") -> Subscription:
        """Return the recorded events that fit, and then no more."""
        subscription = Subscription(pattern, _MOST_EVENTS, lambda _: None)
        for recorded in self.bundle.events:
            if fits(pattern, str(recorded.get("name"))):
                subscription.push(_event(recorded))
        return subscription

    # --- questions -------------------------------------------------------------------------

    def _request(self, data: Data) -> Reply:
        request_id = str(data.get("request_id"))
        record = self._records.get(request_id)
        if record is None:
            said = f"the recording does not hold the record of {request_id}"
            return {"error": said, "code": "not_found"}
        return dict(record)

    def _requests(self, data: Data) -> Reply:
        try:
            wanted = parse(str(data.get("filter") or ""))
        except FilterError as error:
            refused = {"error": error.message, "code": "invalid_request"}
            return refused | {"position": error.position}
        found = self._fitting(wanted)
        if data.get("ids_only"):
            return {"ids": [row["request_id"] for row in found], "total": len(found)}
        sort = str(data.get("sort") or "queued")
        descending = bool(data.get("descending", True))
        ordered = _ordered(found, _SORTS.get(sort, _SORTS["queued"]), descending)
        offset, limit = int(data.get("offset") or 0), int(data.get("limit") or 100)
        return {
            "requests": ordered[offset : offset + limit],
            "total": len(found),
            "offset": offset,
            "sort": sort,
            "descending": descending,
        }

    def _fitting(self, wanted: Filter) -> list[Data]:
        return [row for row in self.bundle.requests if matches(wanted, _facts(row))]

    def _names(self, data: Data) -> Reply:
        field, prefix = str(data.get("field")), str(data.get("prefix") or "").lower()
        column = {"session": "session_id", "agent": "agent_id"}.get(field, field)
        if field.startswith("meta."):
            found = {str((row.get("metadata") or {}).get(field[5:], "")) for row in self._rows}
        elif field == "meta":
            found = {str(key) for row in self._rows for key in row.get("metadata") or {}}
        elif field == "error":
            found = {str((row.get("error") or {}).get("kind", "")) for row in self._rows}
        else:
            found = {str(row.get(column) or "") for row in self._rows}
        names = sorted(name for name in found if name and name.lower().startswith(prefix))
        return {"names": names[: int(data.get("limit") or 20)]}

    @property
    def _rows(self) -> Sequence[Data]:
        return self.bundle.requests

    def _journal(self, data: Data) -> Reply:
        before = float(data.get("before") or math.inf)
        found = [
            entry
            for entry in self.bundle.journal
            if fits(str(data.get("pattern") or "*"), str(entry.get("name")))
            and float(entry.get("seq", 0)) < before
            and all(
                data.get(name) in (None, (entry.get("data") or {}).get(name))
                for name in ("provider", "session_id", "request_id")
            )
        ]
        limit = int(data.get("limit") or 100)
        return {"entries": found[:limit], "more": len(found) > limit}


def _ordered(rows: Sequence[Data], by: Callable[[Data], Any], descending: bool) -> list[Data]:
    """Return the rows by a column; those without a value stand last either way."""
    known = [row for row in rows if by(row) is not None]
    return [
        *sorted(known, key=by, reverse=descending),
        *(row for row in rows if by(row) is None),
    ]


def _event(recorded: Data) -> Event:
    data = recorded.get("data")
    return Event(
        int(recorded.get("seq") or 0),
        str(recorded.get("name")),
        data if isinstance(data, Mapping) else {},
        float(recorded.get("at") or 0.0),
    )


def _facts(row: Data) -> Facts:
    error = row.get("error") or {}
    return Facts(
        request_id=str(row.get("request_id")),
        session_id=str(row.get("session_id")),
        agent_id=row.get("agent_id"),
        asked_model=row.get("asked_model"),
        model=row.get("model"),
        provider=row.get("provider"),
        status=State(str(row.get("status"))),
        phase=Phase(str(row["phase"])) if row.get("phase") else None,
        error_kind=error.get("kind"),
        error_message=error.get("message"),
        why=row.get("why"),
        priority=Priority(str(row.get("priority"))),
        metadata=row.get("metadata") or {},
        age_s=row.get("age_s"),
        tokens=row.get("tokens"),
        cost=row.get("cost"),
        attempts=row.get("attempts"),
        latency_s=_seconds(row.get("latency_ms")),
        ttft_s=_seconds(row.get("ttft_ms")),
    )


def _seconds(milliseconds: Any) -> float | None:
    return None if milliseconds is None else float(milliseconds) / 1000


def moment_of(about: Mapping[str, Any]) -> str:
    """Return when a bundle was made, as its name on the screen; empty where it does not say."""
    try:
        made = datetime.fromisoformat(str(about.get("made_at")))
    except ValueError:
        return ""
    return f"{made:%Y-%m-%d}"
