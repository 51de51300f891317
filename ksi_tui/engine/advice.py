"""What needs somebody, and what somebody can do about it: values of a snapshot.

Leaf module: values only, handed out by `views`. Texts in here may come from outside and are
raw. What they say is worked out in `attention` and `why`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ksi_tui.engine.states import AttentionKind, CircuitLook, Phase

__all__ = ["AttentionKind"]  # beside all that is defined here


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedAt:
    """Failures that somebody has looked at: all until a moment, and single requests' until theirs.

    Times in epoch seconds.
    """

    until: float = 0.0
    single: Mapping[str, float] = field(default_factory=dict)

    def has(self, request_id: str, failed_at: float) -> bool:
        """Whether the failure of a request at a time was looked at."""
        return failed_at <= max(self.until, self.single.get(request_id, 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionView:
    """One thing that needs attention: what, its state, for how long, why, and what it hits.

    `look` is whose glyph the state has; None: that of its kind. `action` is the best key, as
    an id of the registry of actions, and `action_label` what it does here. `key` names the row.
    """

    kind: AttentionKind
    what: str
    look: Phase | CircuitLook | None
    state: str
    for_s: float | None
    why: str
    hits: str
    action: str
    action_label: str
    request_id: str | None
    session_id: str | None
    provider: str | None
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """Something that somebody could do about a request that waits.

    `action`: elsewhere, probe, retry (end its backoff), force_lock, cancel, resume,
    force_circuit, or "" for one that would free nothing. `freed` are the requests that begin
    at once when it is done, as far as that is certain; `frees` says that and the rest in words.
    `request_id`, `session_id`, `provider` and `lock_session` are what it is done to; of
    `elsewhere` the provider is who takes the request, as `model` where that is another.
    `scope` is a pause's. `cut` marks the cheapest edge of a cycle.
    """

    action: str
    what: str
    frees: str = ""
    also_hits: str = ""
    undo: str = ""
    request_id: str | None = None
    session_id: str | None = None
    provider: str | None = None
    lock_session: str | None = None
    model: str | None = None
    scope: str | None = None
    freed: tuple[str, ...] = ()
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SameRoot:
    """A session whose requests wait for the same root; `path` says how it leads there."""

    session_id: str
    requests: int
    oldest_s: float
    head_id: str
    path: str
