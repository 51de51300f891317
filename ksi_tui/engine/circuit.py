"""The circuit of one provider: who may call it now, and what an outcome means to it.

pybreaker is the state machine; it is made right for calls that overlap by tickets.
A call is admitted at once and gets a permit that carries the state's epoch; the call
runs outside pybreaker; its outcome is replayed into pybreaker only while the epoch
still stands. Neutral outcomes are never replayed (pybreaker would take them for a
success or a failure). pybreaker reads the wall clock for the end of the open time,
so that end is kept here, on the caller's clock.

Pure policy: no clock, no I/O. Cooldowns after a 429 concern one model of the
provider and are not the circuit's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from pybreaker import CircuitBreaker, CircuitMemoryStorage

from ksi_tui.config import CircuitSettings
from ksi_tui.engine.circuit_memory import CircuitState, Memory, kept, number, remembered
from ksi_tui.engine.deeds import deed
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.failure_rate import FailureRate

REASON_LIMIT = 300
"""Characters kept of a reason: it may be a provider's error text, and is saved with the state."""
MOST_FAILURES = 10_000
"""How many failures in a row are brought back after a restart."""


class Settled(StrEnum):
    """What a call's end means to the circuit; the last three are `CircuitEffect`'s."""

    SUCCESS = "success"
    NEUTRAL = "neutral"
    COUNTS = "counts"
    OPENS = "opens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """Leave to make one call; settle it exactly once. `probe`: it is the only one of its time."""

    epoch: int
    probe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitStatus:
    """A circuit at one moment. Times are epoch seconds.

    `since` is when the state began (0: it never had another), `outage_since` when the
    circuit last left closed (None while closed), `open_until` when a probe may go (None: not
    open, or forced without an end), `probe_ready` whether the next call is let through as
    the probe. `failures` counts failures in a row. `forced` is the state that was forced, by
    `forced_by` until `forced_until` (None: until somebody ends it). `opened_by` is the error
    kind that opened it (None while closed, or when a person did).
    """

    state: CircuitState
    since: float
    outage_since: float | None
    open_until: float | None
    probe_ready: bool
    failures: int
    forced: CircuitState | None
    forced_by: str | None
    forced_until: float | None
    last_success: float | None
    reason: str
    opened_by: ErrorKind | None

    @property
    def forced_text(self) -> str:
        """Who forced it into which state and why, in words; empty when nobody did."""
        if self.forced is None:
            return ""
        return deed(f"forced {self.forced}", self.forced_by, self.reason)


class _CallFailed(Exception):
    """Stands for a call's failure while it is replayed into pybreaker."""


def _answered() -> None:
    """Stand for a call's success while it is replayed into pybreaker."""


def _failed() -> NoReturn:
    raise _CallFailed


def _ignore(_was: str, _now: str, _reason: str) -> None:
    """Tell nobody."""


class Circuit:
    """One provider's circuit (contract section 5).

    `on_change` is called with (from, to, reason) after each change of state; it returns at
    once and does not raise. Forcing the state that it is in anyway is no change.
    """

    def __init__(
        self, settings: CircuitSettings, *, on_change: Callable[[str, str, str], None] = _ignore
    ) -> None:
        self._settings = settings
        self._on_change = on_change
        self._longest_s = max(settings.reset_timeout_s, settings.max_reset_timeout_s)
        self._epoch = 0
        self._rate = FailureRate(settings)
        self._start(Memory(), failures=0)

    def _start(self, memory: Memory, *, failures: int) -> None:
        storage = CircuitMemoryStorage(memory.state.replace("_", "-"))
        for _ in range(failures):
            storage.increment_counter()
        self._breaker = CircuitBreaker(
            fail_max=self._settings.fail_max,
            state_storage=storage,
            throw_new_error_on_trip=False,
        )
        self._memory = memory
        self._rate.clear()
        self._next_epoch()

    def _next_epoch(self) -> None:
        """Make every permit that is out stale."""
        self._epoch += 1
        self._probe_out = False
        self._shared = Permit(epoch=self._epoch, probe=False)
        self._note_plain()

    def _note_plain(self) -> None:
        plain = self._memory.state is CircuitState.CLOSED and self._memory.forced is None
        self._plain = self._shared if plain else None

    # --- admission ----------------------------------------------------------------------

    def admits(self, now: float) -> bool:
        """Return whether `admit` would give a permit; changes nothing."""
        forced = self._forced_at(now)
        if forced is not None:
            return forced is CircuitState.CLOSED
        return self._memory.state is CircuitState.CLOSED or self._probe_ready(now)

    def admit(self, now: float) -> Permit | None:
        """Return a permit for one call, or None; the only permit of a probe is thereby taken."""
        if self._plain is not None:
            return self._plain
        self._end_force(now)
        if self._memory.forced is CircuitState.OPEN:
            return None
        if self._memory.state is CircuitState.CLOSED:
            return self._shared
        if not self._probe_ready(now):
            return None
        if self._memory.state is CircuitState.OPEN:
            self._half_open(now, "its open time is over: one probe")
        self._probe_out = True
        return Permit(epoch=self._epoch, probe=True)

    def stands(self, permit: Permit) -> bool:
        """Whether nothing has changed since the permit was given."""
        return permit.epoch == self._epoch

    def allow_probe(self, now: float) -> bool:
        """Let the next call through as the probe before its time.

        Return whether it will be: not while closed, forced, or while a probe is under way.
        """
        self._end_force(now)
        state = self._memory.state
        if self._memory.forced or state is CircuitState.CLOSED or self._probe_out:
            return False
        if state is CircuitState.OPEN:
            self._half_open(now, "a probe was asked for")
        return True

    def _half_open(self, now: float, reason: str) -> None:
        self._breaker.half_open()
        self._follow(now, reason)

    def _probe_ready(self, now: float) -> bool:
        state, until = self._memory.state, self._memory.open_until
        if state is CircuitState.OPEN:
            return until is not None and self._over(until, now)
        return state is CircuitState.HALF_OPEN and not self._probe_out

    def _over(self, until: float, now: float) -> bool:
        """Whether a span that began with this state is over.

        A clock set back by more than the span ends it too, else it could last for hours.
        """
        since = self._memory.since
        return now >= until or now < since - (until - since)

    @property
    def shut(self) -> bool:
        """Whether it is not closed: it admits nobody, or a probe only."""
        return self._memory.state is not CircuitState.CLOSED

    @property
    def epoch(self) -> int:
        """Another number after each change of state."""
        return self._epoch

    # --- outcomes -----------------------------------------------------------------------

    def settle(
        self,
        permit: Permit,
        outcome: Settled,
        now: float,
        *,
        reason: str = "",
        kind: ErrorKind | None = None,
        last_candidate: bool = False,
    ) -> None:
        """Book the end of an admitted call; `reason` says in words how it failed.

        A permit from before the last change of state is ignored. `last_candidate`: no
        other provider could serve the call's model, so a failure rate does not open.
        """
        if not self.stands(permit):
            return
        if outcome is Settled.SUCCESS:
            self._succeed(now)
        elif outcome is not Settled.NEUTRAL:
            self._fail(outcome, now, reason=reason, kind=kind, last_candidate=last_candidate)
        elif permit.probe:
            self._next_epoch()

    def _succeed(self, now: float) -> None:
        self._memory.last_success = now
        if self._memory.forced is not None:
            return
        self._rate.add(now, failed=False)
        if self._plain is not None and not self._breaker.fail_counter:
            return
        self._breaker.call(_answered)
        self._follow(now, "the probe was answered")

    def _fail(
        self,
        outcome: Settled,
        now: float,
        *,
        reason: str,
        kind: ErrorKind | None,
        last_candidate: bool,
    ) -> None:
        self._end_force(now)
        if self._memory.forced is not None:
            return
        probe = self._memory.state is CircuitState.HALF_OPEN
        why = reason or str(kind or "failed")
        if outcome is Settled.OPENS:
            self._breaker.open()
        else:
            with suppress(_CallFailed):
                self._breaker.call(_failed)
            if not probe:
                self._rate.add(now, failed=True)
                rate = None if last_candidate else self._rate.verdict(now)
                if self._breaker.current_state == "open":
                    why = f"{self._breaker.fail_counter} failures in a row, last {why}"
                elif rate is not None:
                    why = f"{rate}, last {why}"
                    self._breaker.open()
        if self._breaker.current_state == "open":
            self._open(now, f"probe failed: {why}" if probe else why, kind, again=probe)

    def _open(self, now: float, reason: str, kind: ErrorKind | None, *, again: bool) -> None:
        memory, first_s = self._memory, self._settings.reset_timeout_s
        memory.open_for_s = min(memory.open_for_s * 2, self._longest_s) if again else first_s
        memory.open_until = now + memory.open_for_s
        memory.opened_by = kind
        self._follow(now, reason)

    def _follow(self, now: float, reason: str) -> None:
        """Take over the state that pybreaker is in now, and tell of it when it is another."""
        memory, state = self._memory, CircuitState(self._breaker.current_state.replace("-", "_"))
        if state is memory.state:
            return
        was, memory.state = memory.state, state
        memory.since, memory.reason = now, reason[:REASON_LIMIT]
        if state is CircuitState.CLOSED:
            memory.outage_since = memory.opened_by = None
            self._rate.clear()
        elif was is CircuitState.CLOSED:
            memory.outage_since = now
        if state is not CircuitState.OPEN:
            memory.open_until = None
        self._next_epoch()
        self._on_change(was.value, state.value, memory.reason)

    # --- by hand ------------------------------------------------------------------------

    def force_open(
        self, now: float, *, reason: str, by: str | None, for_s: float | None = None
    ) -> None:
        """Admit nobody until closed or reset by hand, or for `for_s` seconds; then a probe goes."""
        self._breaker.open()
        self._memory.open_for_s = self._settings.reset_timeout_s
        self._memory.opened_by = None
        self._force(CircuitState.OPEN, now, reason=reason, by=by, for_s=for_s)

    def force_close(
        self, now: float, *, reason: str, by: str | None, for_s: float | None = None
    ) -> None:
        """Admit everybody, whatever fails, until opened or reset by hand, or for `for_s`."""
        self._breaker.close()
        self._force(CircuitState.CLOSED, now, reason=reason, by=by, for_s=for_s)

    def _force(
        self, state: CircuitState, now: float, *, reason: str, by: str | None, for_s: float | None
    ) -> None:
        memory = self._memory
        memory.forced, memory.forced_by = state, by
        memory.forced_until = None if for_s is None else now + for_s
        memory.open_until = memory.forced_until if state is CircuitState.OPEN else None
        self._follow(now, reason)
        memory.reason, memory.since = reason[:REASON_LIMIT], now
        self._next_epoch()

    def _forced_at(self, now: float) -> CircuitState | None:
        if self._memory.forced_until is not None and self._over(self._memory.forced_until, now):
            return None
        return self._memory.forced

    def _end_force(self, now: float) -> None:
        memory = self._memory
        if memory.forced is not None and self._forced_at(now) is None:
            memory.forced = memory.forced_by = memory.forced_until = None
            self._note_plain()

    def reset(self, now: float) -> None:
        """Forget everything: closed, not forced, nothing counted."""
        was = self._memory.state
        self._start(Memory(since=now, reason="reset"), failures=0)
        if was is not CircuitState.CLOSED:
            self._on_change(was.value, CircuitState.CLOSED.value, "reset")

    # --- reading ------------------------------------------------------------------------

    def look(self, now: float) -> CircuitStatus:
        """Return the circuit as it is at `now`; changes nothing."""
        memory, forced = self._memory, self._forced_at(now)
        return CircuitStatus(
            state=memory.state,
            since=memory.since,
            outage_since=memory.outage_since,
            open_until=memory.open_until,
            probe_ready=forced is None and self._probe_ready(now),
            failures=int(self._breaker.fail_counter),
            forced=forced,
            forced_by=memory.forced_by if forced else None,
            forced_until=memory.forced_until if forced else None,
            last_success=memory.last_success,
            reason=memory.reason,
            opened_by=memory.opened_by,
        )

    def blank(self) -> Circuit:
        """Return a new circuit of the same settings, which tells nobody of its changes."""
        return Circuit(self._settings)

    @property
    def untouched(self) -> bool:
        """Whether it never had another state than its first."""
        return self._memory.since == 0.0

    def dump(self) -> dict[str, Any]:
        """Return the state as plain JSON, for `restore`. The failure rate's window is not kept."""
        return {**kept(self._memory), "failures": int(self._breaker.fail_counter)}

    def restore(self, state: Mapping[str, Any], now: float) -> None:
        """Take what `dump` returned. A probe that was under way is given back.

        Permits given out before are stale. Tells nobody: it is no change. Raises KeyError,
        TypeError or ValueError on anything that `dump` did not write.
        """
        failures = min(max(0, int(number(state["failures"]))), MOST_FAILURES)
        memory = remembered(state)
        memory.open_for_s = min(memory.open_for_s, self._longest_s)
        if (ahead := memory.since - now) > 0:  # the clock was set back while nobody ran
            memory.since = now
            memory.open_until = None if memory.open_until is None else memory.open_until - ahead
            memory.forced_until = (
                None if memory.forced_until is None else memory.forced_until - ahead
            )
        if memory.state is CircuitState.CLOSED:
            failures = min(failures, self._settings.fail_max - 1)
        self._start(memory, failures=failures)
