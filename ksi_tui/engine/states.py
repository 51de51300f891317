"""The states that a front end tells apart, each in the word it shows, and the verdict.

Leaf module, apart from `views` since the first frame needs the words and not the values:
making the classes of `views` and `models` takes longer than all of our widgets.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """What a request is doing, in the words of the screen."""

    QUEUED = "queued"
    WAITING = "waiting"  # on something named
    RETRYING = "retrying"
    CONNECTING = "connecting"
    FIRST_TOKEN = "first token"
    STREAMING = "streaming"
    NO_TOKEN = "no token"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def running(self) -> bool:
        """Whether a provider is being called."""
        return self in (Phase.CONNECTING, Phase.FIRST_TOKEN, Phase.STREAMING, Phase.NO_TOKEN)


class CircuitLook(StrEnum):
    """A provider's state, worst of circuit and cooldown."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"
    COOLING = "cooling"


class Level(StrEnum):
    """The verdict in one word."""

    STARTING = "STARTING"
    OK = "OK"
    DEGRADED = "DEGRADED"
    DOWN = "DOWN"
    PAUSED = "PAUSED"
    READ_ONLY = "READ-ONLY"
    STOPPING = "STOPPING"
    STALE = "STALE"


class AttentionKind(StrEnum):
    """What a row of Attention tells of."""

    CIRCUIT = "circuit"
    WAIT = "wait"
    NO_TOKEN = "no_token"
    FAILURE = "failure"
    PAUSE = "pause"
    LOCK = "lock"
    WORKER = "worker"
    FAULT = "fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How the engine is, and the one cause of it; `short` is that for little room, or empty."""

    level: Level
    cause: str
    short: str = ""
