"""Whether a failed attempt is made again, and when.

Pure policy: no clock, no timers, no I/O. Which kinds may be retried is
`errors.POLICY`'s to say; waking what is due is the dispatcher's.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ksi_tui.config import RetrySettings
from ksi_tui.engine.errors import POLICY, ErrorKind

MAX_INTERRUPTIONS = 10
"""Interruptions that a request survives (contract section 3); the next one fails it."""

_RETRYABLE = frozenset(
    kind for kind, policy in POLICY.items() if policy.retried and not policy.interruption
)

CallError = tuple[ErrorKind, float | None]
"""How one call of a walk failed, and its Retry-After in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The attempt is made again in `delay_s` seconds, because of an error of this kind."""

    delay_s: float
    kind: ErrorKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """The request fails with this kind; `message` says in words why it is not tried again."""

    kind: ErrorKind
    message: str


class RetryPolicy:
    """Contract section 4's retry rule. `rng` draws the jitter."""

    def __init__(self, settings: RetrySettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng

    def delay_s(self, attempt: int, retry_after_s: float | None = None) -> float:
        """Return the seconds to wait after attempt number `attempt` (from 1).

        Exponential from `initial_delay_s`, spread by ± `jitter`, never over `max_delay_s`.
        A Retry-After is a floor and may exceed that.
        """
        settings = self._settings
        try:
            grown = settings.initial_delay_s * settings.multiplier ** (attempt - 1)
        except OverflowError:
            grown = settings.max_delay_s
        spread = 1 + settings.jitter * self._rng.uniform(-1, 1)
        delay = min(min(grown, settings.max_delay_s) * spread, settings.max_delay_s)
        return max(delay, retry_after_s or 0.0)

    def decide(
        self,
        *,
        kinds: Sequence[CallError],
        spent: int,
        max_attempts: int,
        interruptions: int,
        deadline_left_s: float,
    ) -> Retry | Fail:
        """Say what follows from a walk whose calls failed as `kinds`, in their order.

        `spent` and `interruptions` count this walk already. An interruption ends its walk, so
        only the last error can be one. A delay that would pass the deadline fails at once
        with the kind of the error that asked for it: the deadline has not passed, and that
        error is what somebody can act upon. Only a deadline that has passed is
        `deadline_exceeded`. Raises ValueError without any error to judge.
        """
        if not kinds:
            raise ValueError("a walk that called nobody has nothing to decide")
        last = kinds[-1][0]
        if POLICY[last].interruption:
            return _after_interruption(last, interruptions, deadline_left_s)
        retryable = [error for error in kinds if error[0] in _RETRYABLE]
        if not retryable:
            return Fail(kind=last, message=f"{last} is not retried")
        kind = retryable[-1][0]
        if deadline_left_s <= 0:
            return _too_late(kind)
        if spent >= max_attempts:
            return Fail(kind=kind, message=f"{spent} of {max_attempts} attempts failed")
        delay_s = self.delay_s(max(1, spent), _floor_s(retryable))
        if delay_s >= deadline_left_s:
            return Fail(
                kind=kind,
                message=f"the next attempt would begin in {delay_s:.1f} s, "
                f"after the deadline in {deadline_left_s:.1f} s",
            )
        return Retry(delay_s=delay_s, kind=kind)


def _after_interruption(kind: ErrorKind, interruptions: int, left_s: float) -> Retry | Fail:
    if interruptions >= MAX_INTERRUPTIONS:
        return Fail(kind=kind, message=f"interrupted {interruptions} times")
    return _too_late(kind) if left_s <= 0 else Retry(delay_s=0.0, kind=kind)


def _too_late(kind: ErrorKind) -> Fail:
    return Fail(
        kind=ErrorKind.DEADLINE_EXCEEDED, message=f"the deadline has passed, last error {kind}"
    )


def _floor_s(errors: Sequence[CallError]) -> float | None:
    """Return the Retry-After that the next walk has to respect, in seconds.

    A rate limit's is kept by its own cooldown, during which the walk passes that provider
    by: it holds the walk up only when every way that may be retried is so limited, and then
    the earliest counts. Anybody else's holds always.
    """
    others = [wait for kind, wait in errors if not POLICY[kind].cools_down]
    if others:
        return max((wait for wait in others if wait is not None), default=None)
    return min((wait or 0.0 for _, wait in errors), default=None)
