"""The last hour of what the screen was fed, kept small: a frame every few seconds, compressed.

Measured with 200 rows in every pane: 4 ms to take a frame, 6 KB to keep it. Frames hold no
prompt and no reply: those stand in the view of a single request, which is not asked for.
"""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Iterator
from typing import Any

from ksi_tui.client import Snapshot, SnapshotQuery
from ksi_tui.codec import CodecError, plain, rebuilt
from ksi_tui.incident.errors import BundleError

EVERY_S = 5.0
"""Seconds between two frames."""
KEPT_S = 3600.0
"""Seconds that are kept."""
MOST_BYTES = 16_000_000
"""What all frames together may take; over it the oldest go first."""
QUERY = SnapshotQuery(
    active_limit=200,
    queue_limit=200,
    lock_limit=200,
    pause_limit=200,
    attention_limit=50,
    trend_points=180,
)
"""What a frame shows."""


class Recorder:
    """A bounded memory of snapshots, oldest first."""

    def __init__(self, *, every_s: float = EVERY_S, kept_s: float = KEPT_S) -> None:
        self._every_s = every_s
        self._frames: deque[tuple[float, bytes]] = deque(maxlen=max(1, int(kept_s / every_s)))
        self._bytes = 0
        self._next_at = float("-inf")

    def due(self, now: float) -> bool:
        """Return whether the next frame is to be taken at `now`, by the caller's own clock."""
        return now >= self._next_at

    def record(self, snapshot: Snapshot, now: float) -> None:
        """Keep a snapshot, taken at `now` by the caller's own clock."""
        self._next_at = now + self._every_s
        packed = zlib.compress(frame_text(snapshot).encode(), 6)
        if len(self._frames) == self._frames.maxlen:
            self._drop()
        self._frames.append((snapshot.at, packed))
        self._bytes += len(packed)
        while self._bytes > MOST_BYTES and len(self._frames) > 1:
            self._drop()

    def _drop(self) -> None:
        self._bytes -= len(self._frames.popleft()[1])

    def __len__(self) -> int:
        return len(self._frames)

    def since(self, at: float) -> Iterator[str]:
        """Yield the frames from `at` (epoch seconds) on, oldest first, as JSON.

        Which these are is settled at once; each is unpacked when it is asked for, by whom and
        in which thread ever.
        """
        wanted = [packed for taken, packed in self._frames if taken >= at]
        return (zlib.decompress(packed).decode() for packed in wanted)


def frame_text(snapshot: Snapshot) -> str:
    """Return a snapshot as JSON that has no space but within strings."""
    return json.dumps(plain(snapshot), separators=(",", ":"))


def snapshot_of(frame: Any, where: str) -> Snapshot:
    """Return a frame as the snapshot it was; BundleError names `where` it is wrong."""
    try:
        found: Snapshot = rebuilt(Snapshot, frame, where)
    except CodecError as error:
        raise BundleError(str(error)) from None
    return found
