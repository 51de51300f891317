"""The points at which a life of the engine is ended, by name.

Only where: a function of the product, a statement, a write. Whether a round meets one is
its load's business. A name that no longer exists fails the harness at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

Trap = dict[str, Any]
_ENGINE: Final = "ksi_tui.engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Where a life ends: from the `least` nth time to the `most` that a load surely comes to."""

    name: str
    trap: Callable[[int, random.Random], Trap]
    most: int = 30
    least: int = 1

    def drawn(self, dice: random.Random) -> Trap:
        """Return a trap at one of the times that the load comes to."""
        return self.trap(dice.randint(self.least, self.most), dice)


def _call(name: str, target: str, most: int = 30, *, least: int = 1, after: bool = False) -> Point:
    def trap(nth: int, _: random.Random) -> Trap:
        return {"on": "call", "target": f"{_ENGINE}.{target}", "nth": nth, "after": after}

    return Point(name=name, trap=trap, most=most, least=least)


def _sql(name: str, match: str, most: int = 30, *, least: int = 1) -> Point:
    def trap(nth: int, _: random.Random) -> Trap:
        return {"on": "sql", "match": match, "nth": nth}

    return Point(name=name, trap=trap, most=most, least=least)


def _late_sql(name: str, match: str, most: int, longest_ms: float) -> Point:
    def trap(nth: int, dice: random.Random) -> Trap:
        delay_ms = dice.uniform(0.01, longest_ms)
        return {"on": "sql", "match": match, "nth": nth, "delay_ms": round(delay_ms, 3)}

    return Point(name=name, trap=trap, most=most)


def _in_a_checkpoint(nth: int, dice: random.Random) -> Trap:
    delay_ms = round(dice.uniform(0.01, 0.6), 3)
    return {"on": "sql", "match": "COMMIT", "nth": nth, "delay_ms": delay_ms, "log_pages": 10}


def _torn(nth: int, dice: random.Random) -> Trap:
    return {"on": "write", "nth": nth, "share": round(dice.random(), 3)}


MID_STREAM: Final = _call("mid-stream", "live_call:LiveCall.on_text", 60)
SERVED: Final = (
    _call("after accept, before the reply", "entrance:Entrance._queue"),
    _call("after the reply was made", "entrance:Entrance._reply", after=True),
    _call("before dispatch", "dispatch:Dispatcher._begin"),
    _call("after dispatch, before the call", "attempt:Walker.walk"),
    MID_STREAM,
    _call("after the answer, before its end", "endings:Endings.complete"),
    _call("between the final state and its event", "endings:Endings._on_disk"),
    _call("after the event", "endings:Endings._on_disk", after=True),
    _call("a failure concluded", "conclusions:Conclusions.unanswered", 6),
    _call("a lock given back", "lock_keeper:LockKeeper.give_back"),
    _sql("group commit: begin", "BEGIN IMMEDIATE", 40),
    _sql("group commit: a request accepted", "INSERT INTO requests"),
    _sql("group commit: a state moved", "UPDATE requests SET", 60),
    _sql("group commit: a reply", "INTO replies", 20),
    _sql("group commit: a call", "INSERT INTO calls", 20),
    _sql("group commit: sums", "INSERT INTO usage_sessions", 20),
    _sql("group commit: counters", "UPDATE counters", 60),
    _sql("group commit: commit", "COMMIT", 40),
    _late_sql("group commit: in the commit", "COMMIT", 40, 0.3),
    _call("group commit: not told", "store.writer:GroupConnection.commit", 40, after=True),
    Point(name="group commit: in a checkpoint of the log", trap=_in_a_checkpoint, most=60),
    _sql("folding: spans", "INSERT INTO usage_spans", 3),
    _sql("folding: facets", "INSERT INTO usage_facets", 12),
    _sql("folding: forgetting", "DELETE FROM usage_unfolded", 1),
    _sql("response files: marks", "INSERT INTO response_marks", 4),
    Point(name="response files: half a line", trap=_torn, most=6),
    _call("response files: written, not told", "store.response_files:ResponseFolder.complete", 2,
          after=True),
    _sql("injections: owed", "INTO injection_terms", 2),
    _sql("injections: delivered", "DELETE FROM injection_terms", 2),
)  # fmt: skip
"""While `serve` works."""

STARTING: Final = (
    _call("recovery: before it", "assembly:_take_back", 1),
    _call("recovery: one taken back", "conclusions:Conclusions.resumed", 2),
    _call("recovery: the first commit", "store.writer:GroupConnection.commit", 1),
    _call("start: the door", "completion_service:CompletionEngine._start", 1, after=True),
)
"""While an engine starts on what another left."""

ENDING: Final = (
    _call("end: draining", "dispatch:Dispatcher.drain", 1, after=True),
    _call("end: files", "upkeep.response_writer:ResponseWriter.aclose", 1),
    _late_sql("end: in the log's checkpoint", "wal_checkpoint(TRUNCATE)", 1, 3.0),
    _call("end: the database closed", "store.ownership:Ownership.release", 1),
)
"""While `serve` ends."""

MIGRATING: Final = (
    Point(
        name="migration: a statement",
        trap=lambda nth, _: {"on": "sql", "match": "", "nth": nth},
        most=140,
    ),
    Point(
        name="migration: a commit",
        trap=lambda nth, _: {"on": "sql", "match": "COMMIT", "nth": nth},
        most=8,
    ),
)
"""While an old database becomes one of today."""

PRUNING: Final = (
    _sql("a request's calls", "DELETE FROM calls", 60),
    _sql("a request", "DELETE FROM requests", 60),
    _sql("a session", "DELETE FROM sessions", 2),
    _sql("a commit", "COMMIT", 8),
    _late_sql("in a commit", "COMMIT", 8, 0.5),
)
"""While the clean-up takes away old requests."""

RESTORING: Final = (
    _call("checkpoint: collecting", "checkpoint:_queues", 1),
    _sql("checkpoint: restoring", "INSERT INTO payloads", 2),
    _call("checkpoint: on disk, not in", "provider_manager:ProviderManager.restore", 2, least=2),
    _call("checkpoint: restored, not answered", "checkpoint:Checkpoints._commit", 1, after=True),
)
"""While `checkpoint:collect` and `checkpoint:restore` are answered."""

GATEWAY: Final = (
    _call("begun, not on disk", "entrance:Entrance._queue", 12),
    MID_STREAM,
    _call("answered, not told", "endings:Endings._on_disk", 12),
)
"""While clients are answered at the gateway."""

INPUT_RUNS: Final = 4
"""In so many runs of a statement, or more, the requests of an input are written."""
RUN: Final = (
    _sql("an input half on disk", "INSERT INTO requests", INPUT_RUNS, least=2),
    _call("an input on disk, nothing dispatched", "entrance:Entrance._queue", 1),
    MID_STREAM,
    _call("between a final state and its line", "endings:Endings._on_disk", 25),
    _sql("between a line and its mark", "SELECT r.finish_seq, r.request_id", 6),
)
"""While `run` works on a file."""
