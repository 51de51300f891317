"""The pictures of a distant engine: which are held, what a question gets, which is fetched next.

Pure, with the time handed in. A question never waits: it gets the last picture made for it,
else what others show of it. One picture is fetched at a time and only what was asked for a
moment ago, so that a slow line shows fewer pictures and never a pile of them.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Final, TypeVar

from ksi_tui.codec import plain
from ksi_tui.engine.views import Live, Snapshot, SnapshotQuery
from ksi_tui.in_sight import live_in_sight

ASKED_LATELY_S: Final = 1.0
"""A question is kept up to date for so long after it was last asked."""
_MOST: Final = 64
_Row = TypeVar("_Row")


@dataclass(slots=True, kw_only=True)
class _Held:
    """A question and its picture, `of` the time when that was asked for.

    `wanted_at`: when it was first asked since then; `asked_at`: when it was asked last; `since`:
    when it was first asked after nobody had for a while, from when on a picture answers it.
    """

    query: SnapshotQuery
    asked_at: float
    since: float = 0.0
    wanted_at: float = 0.0
    wanted: bool = True
    tried_at: float | None = None
    picture: Snapshot | None = None
    of: float = float("-inf")


class Pictures:
    """Holds what was seen last, for each of the last few questions. `period_s`: between two."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._held: dict[str, _Held] = {}
        self._newest: _Held | None = None
        self._lead_s = 0.0
        self._tried_at = float("-inf")

    # --- asking ------------------------------------------------------------------------

    def ask(self, query: SnapshotQuery, now: float) -> bool:
        """Note that this is wanted; returns whether it was not, or no longer, wanted already."""
        key = _key(query)
        held = self._held.pop(key, None) or _Held(query=query, asked_at=now, wanted=False)
        self._held[key] = held  # the last asked stands last
        anew = now - held.asked_at > ASKED_LATELY_S
        if anew:
            held.since = now
        new = not held.wanted or anew
        held.wanted, held.asked_at = True, now
        if new:
            held.wanted_at = now
        if len(self._held) > _MOST:
            del self._held[next(iter(self._held))]
        return new

    def of(self, query: SnapshotQuery) -> Snapshot | None:
        """Return what is known for a question; None before any picture has come.

        Rows and the rest of what is asked for come from its own last picture, else from the
        one that shows most of it; what is not about rows from the newest of all.
        """
        newest = self._newest
        if newest is None or newest.picture is None:
            return None
        own = self._held.get(_key(query))
        if own is not None and own.picture is not None:
            found = own.picture
            if own is not newest:
                found = _with_rows(newest.picture, found, found.live)
            return found if own.of >= own.since else dataclasses.replace(found, answers=False)
        best = max(
            (held for held in self._held.values() if held.picture is not None),
            key=lambda held: (_covered(held.query, query), held.of),
            default=newest,
        )
        assert best.picture is not None
        rows = _cut(best.picture, best.query, query)
        return dataclasses.replace(
            _with_rows(newest.picture, rows, self._live(query.request_id)), answers=False
        )

    def _live(self, request_id: str | None) -> Live | None:
        """Return what the newest picture that shows a request says of it."""
        if request_id is None:
            return None
        pictures = [held.picture for held in reversed(self._held.values()) if held.picture]
        for picture in pictures:
            if picture.live is not None and picture.live.request_id == request_id:
                return picture.live
        return live_in_sight(request_id, (row for picture in pictures for row in picture.active))

    @property
    def newest_of(self) -> float | None:
        """When the newest picture was asked for; None before any has come."""
        return self._newest.of if self._newest is not None else None

    # --- fetching ----------------------------------------------------------------------

    def next(self, now: float, *, news: bool = False) -> tuple[SnapshotQuery, float] | None:
        """Return which question to send next, and when; None while nothing is wanted.

        One that has no picture goes at once. Any other goes so late that its picture comes
        just before it is looked at again: a picture that waits is an older one. With `news`
        the one asked last goes once more, so that whoever looks because of them sees them.
        """
        lately = [h for h in self._held.values() if now - h.asked_at <= ASKED_LATELY_S]
        wanted = [h for h in lately if h.wanted]
        if not wanted:
            if not (news and lately):
                return None
            return lately[-1].query, max(now, self._tried_at + self._period_s)
        held = min(wanted, key=_longest_waiting)
        if held.tried_at is None:
            return held.query, now
        wait_s = max(0.0, self._period_s - self._lead_s)
        # Less than a period after the last: one that came late must not make all others late.
        soonest = self._tried_at + max(wait_s, self._period_s / 2)
        return held.query, max(held.wanted_at + wait_s, soonest)

    def trying(self, query: SnapshotQuery, now: float) -> None:
        """Note that a question goes out: what is asked from now on is wanted anew."""
        self._tried_at = now
        held = self._held.get(_key(query))
        if held is not None:
            held.wanted, held.tried_at = False, now

    def took(self, query: SnapshotQuery, picture: Snapshot, began: float, now: float) -> None:
        """Keep a picture that was asked for at `began`."""
        self._lead_s = min(2 * (now - began), 10.0)
        held = self._held.setdefault(
            _key(query), _Held(query=query, asked_at=now, wanted=False, tried_at=began)
        )
        held.picture, held.of = picture, began
        self._newest = held


def _longest_waiting(held: _Held) -> tuple[float, float]:
    """Order by when it was sent last; of those that never were, what is looked at now is first."""
    tried_at = held.tried_at if held.tried_at is not None else float("-inf")
    return tried_at, -held.asked_at


def _key(query: SnapshotQuery) -> str:
    return json.dumps(plain(query), separators=(",", ":"))


def _with_rows(newest: Snapshot, rows: Snapshot, live: Live | None) -> Snapshot:
    """Return the newest picture with the rows of another: older for a moment, and never none."""
    return dataclasses.replace(
        newest,
        active=rows.active,
        active_total=rows.active_total,
        queues=rows.queues,
        locks=rows.locks,
        pauses=rows.pauses,
        attention=rows.attention,
        tokens=rows.tokens,
        live=live,
    )


def _covered(had: SnapshotQuery, asked: SnapshotQuery) -> int:
    """Return how many of the rows that are asked for a picture may show."""
    same = had.provider in (None, asked.provider)
    active = _overlap(had.active_offset, had.active_limit, asked.active_offset, asked.active_limit)
    return (
        (active if same else -1)
        + _overlap(had.queue_offset, had.queue_limit, asked.queue_offset, asked.queue_limit)
        + min(had.lock_limit, asked.lock_limit)
        + min(had.pause_limit, asked.pause_limit)
        + min(had.attention_limit, asked.attention_limit)
        + min(had.trend_points, asked.trend_points)
    )


def _overlap(had: int, had_limit: int, asked: int, asked_limit: int) -> int:
    if had > asked:  # rows before the first that is had cannot be left out
        return 0
    return max(0, min(had + had_limit, asked + asked_limit) - asked)


def _cut(picture: Snapshot, had: SnapshotQuery, asked: SnapshotQuery) -> Snapshot:
    """Return a picture as far as another question would have got the same."""
    active, total = picture.active, picture.active_total
    if asked.provider != had.provider:
        whole = had.provider is None and had.active_offset == 0
        mine = [v for v in active if v.provider == asked.provider and v.phase.running]
        active = tuple(mine) if whole else ()
        total = len(active)
    return dataclasses.replace(
        picture,
        active=_rows(active, had.active_offset, asked.active_offset, asked.active_limit),
        active_total=total,
        queues=_rows(picture.queues, had.queue_offset, asked.queue_offset, asked.queue_limit),
        locks=picture.locks[: asked.lock_limit],
        pauses=picture.pauses[: asked.pause_limit],
        attention=picture.attention[: asked.attention_limit],
    )


def _rows(rows: tuple[_Row, ...], had: int, asked: int, limit: int) -> tuple[_Row, ...]:
    return rows[asked - had : asked - had + limit] if asked >= had else ()
