"""An engine's door over a bundle: the same screens look at what was, and step through time.

What it answers to questions is `answering`'s; everything that would act is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from ksi_tui.client import Event, Snapshot, SnapshotQuery, Subscription
from ksi_tui.codec import CodecError, rebuilt
from ksi_tui.engine.events import matches as fits
from ksi_tui.engine.views import ActiveView, Live
from ksi_tui.in_sight import live_in_sight
from ksi_tui.incident.answering import Answering
from ksi_tui.incident.bundle import Bundle, parsed
from ksi_tui.incident.errors import BundleError
from ksi_tui.incident.recorder import snapshot_of

Data = Mapping[str, Any]
Reply = dict[str, Any]

_MOST_EVENTS: Final = 20_000


class BundleClient:
    """An `EngineClient` that shows a bundle at one of its moments, first the last one.

    Raises BundleError where none of them can be read, or where a list is damaged.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._answering = Answering(bundle)
        self._events = [_event(each, n) for n, each in enumerate(bundle.events, start=1)]
        self._lives = {str(live.get("request_id")): live for live in bundle.lives}
        last = len(bundle.frames) - 1
        self._index, self._shown, self.passed_over = self._nearest(range(last, -1, -1))
        self._last, self._made_at = self._index, self._shown.at

    # --- time ------------------------------------------------------------------------------

    def step(self, frames: int) -> str:
        """Go on by so many moments, back where negative; it ends at the first and the last.

        Damaged moments are passed over: returns in words which, else nothing. Raises
        BundleError, and stays where it was, where no moment on that way can be read.
        """
        count, way = len(self.bundle.frames), 1 if frames > 0 else -1
        wanted = max(0, min(count - 1, self._index + frames))
        if wanted == self._index:
            return ""
        beyond = range(wanted, count if way > 0 else -1, way)
        between = range(wanted - way, self._index, -way)
        self._index, self._shown, passed = self._nearest([*beyond, *between])
        return passed

    def _nearest(self, indices: Sequence[int]) -> tuple[int, Snapshot, str]:
        """Return the first of these moments that can be read, and in words which could not."""
        wrong: list[str] = []
        for index in indices:
            try:
                found = self._frame(index)
            except BundleError as error:
                wrong.append(str(error))
                continue
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            return index, found, f"passed over: {wrong[0]}{more}" if wrong else ""
        more = f", as are {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise BundleError(f"no moment can be shown: {wrong[0]}{more}")

    @property
    def position(self) -> tuple[int, int]:
        """Which moment is shown, counted from 1, and how many there are."""
        return self._index + 1, len(self.bundle.frames)

    @property
    def day(self) -> str:
        """The date of the shown moment, UTC."""
        return f"{datetime.fromtimestamp(self._shown.at, UTC):%Y-%m-%d}"

    @property
    def records_at(self) -> float | None:
        """Of when the records are, in epoch seconds, where another moment is shown; else None."""
        return None if self._index == self._last else self._made_at

    def _frame(self, index: int) -> Snapshot:
        where = f"frame {index + 1}"
        return snapshot_of(parsed(self.bundle.frames[index], where), where)

    # --- the client ------------------------------------------------------------------------

    def snapshot(self, query: SnapshotQuery | None = None) -> Snapshot:
        """Return the picture of the shown moment, as far as `query` asks and the bundle holds."""
        asked = query or SnapshotQuery()
        whole = self._shown
        active, total = whole.active, whole.active_total
        if asked.provider is not None:
            active = tuple(_called_for(active, asked.provider))
            total = len(active)
        first, queue_first = asked.active_offset, asked.queue_offset
        return dataclasses.replace(
            whole,
            active=active[first : first + asked.active_limit],
            active_total=total,
            queues=whole.queues[queue_first : queue_first + asked.queue_limit],
            locks=whole.locks[: asked.lock_limit],
            pauses=whole.pauses[: asked.pause_limit],
            attention=whole.attention[: asked.attention_limit],
            live=self._live(asked.request_id) if asked.request_id else None,
        )

    def _live(self, request_id: str) -> Live | None:
        """Return what was known of a request when the bundle was made, else what is in sight."""
        held = self._lives.get(request_id)
        if held is not None and self._index == self._last:
            try:
                found: Live = rebuilt(Live, held, "a live view")
            except CodecError:
                return None
            return found
        return live_in_sight(request_id, self._shown.active)

    async def emit(self, name: str, data: Data | None = None) -> Reply:
        """Answer a question from the bundle; everything else is refused."""
        return self._answering.answer(name, data or {})

    def subscribe(self, pattern: str = "*") -> Subscription:
        """Return the recorded events that fit, and then no more."""
        subscription = Subscription(pattern, _MOST_EVENTS, lambda _: None)
        for event in self._events:
            if fits(pattern, event.name):
                subscription.push(event)
        return subscription


def _called_for(views: Sequence[ActiveView], provider: str) -> Iterator[ActiveView]:
    return (view for view in views if view.provider == provider and view.phase.running)


def _event(recorded: Data, number: int) -> Event:
    name, data, at = recorded.get("name"), recorded.get("data"), recorded.get("at")
    if not (isinstance(name, str) and isinstance(data, dict) and isinstance(at, int | float)):
        raise BundleError(f"events.jsonl, line {number}: no event")
    return Event(number, name, data, float(at))
