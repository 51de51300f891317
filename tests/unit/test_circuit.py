"""The circuit against a model written from the contract, and its single rules."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ksi_tui.config import CircuitSettings
from ksi_tui.engine.circuit import REASON_LIMIT, Circuit, Permit, Settled
from ksi_tui.engine.circuit_memory import CircuitState
from ksi_tui.engine.errors import CircuitEffect, ErrorKind

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
SUCCESS, NEUTRAL, COUNTS, OPENS = Settled.SUCCESS, Settled.NEUTRAL, Settled.COUNTS, Settled.OPENS
T0 = 1_000_000.0


def circuit(**keys: object) -> Circuit:
    return Circuit(CircuitSettings.model_validate(keys))


def call(subject: Circuit, outcome: Settled, now: float = T0) -> None:
    """Make one call that must be admitted."""
    permit = subject.admit(now)
    assert permit is not None
    subject.settle(permit, outcome, now, reason="it broke", kind=ErrorKind.PROVIDER_ERROR)


def opened(now: float = T0, **keys: object) -> Circuit:
    subject = circuit(**{"fail_max": 1, "reset_timeout_s": 30, **keys})
    call(subject, COUNTS, now)
    assert subject.look(now).state is OPEN
    return subject


# --- against a model ----------------------------------------------------------------------


@dataclass
class Model:
    """Contract section 5, as literally as possible."""

    fail_max: int = 3
    first_s: float = 30.0
    longest_s: float = 100.0
    state: CircuitState = CLOSED
    streak: int = 0
    until: float | None = None
    span: float = 0.0
    probe_out: bool = False
    forced: CircuitState | None = None
    forced_until: float | None = None
    generation: int = 0
    changes: list[tuple[str, str]] = field(default_factory=list)

    def to(self, state: CircuitState) -> None:
        if state is not self.state:
            self.changes.append((self.state.value, state.value))
        self.state = state
        self.probe_out = False
        self.generation += 1
        if state is CLOSED:
            self.streak, self.until = 0, None
        if state is HALF_OPEN:
            self.until = None

    def tick(self, now: float) -> None:
        if self.forced_until is not None and now >= self.forced_until:
            self.forced = self.forced_until = None

    def admits(self, now: float) -> bool:
        self.tick(now)
        if self.forced:
            return self.forced is CLOSED
        if self.state is OPEN:
            return self.until is not None and now >= self.until
        return self.state is CLOSED or not self.probe_out

    def admit(self, now: float) -> None:
        if self.forced is None and self.state is not CLOSED:
            if self.state is OPEN:
                self.to(HALF_OPEN)
            self.probe_out = True

    def settle(self, outcome: Settled, now: float) -> None:
        self.tick(now)
        if self.forced:
            return
        if outcome is NEUTRAL:
            if self.state is HALF_OPEN:
                self.probe_out = False
        elif outcome is SUCCESS:
            self.streak = 0
            if self.state is HALF_OPEN:
                self.to(CLOSED)
        elif self.state is HALF_OPEN:
            self.open(now, min(self.span * 2, self.longest_s))
        else:
            self.streak += outcome is COUNTS
            if outcome is OPENS or self.streak >= self.fail_max:
                self.open(now, self.first_s)

    def open(self, now: float, span: float) -> None:
        self.to(OPEN)
        self.span, self.until = span, now + span


class CircuitMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.changes: list[tuple[str, str]] = []
        self.now = T0
        self.out: list[tuple[Permit, int]] = []
        self.subject = self.build()

    def build(self) -> Circuit:
        model = self.model
        return Circuit(
            CircuitSettings(
                fail_max=model.fail_max,
                reset_timeout_s=model.first_s,
                max_reset_timeout_s=model.longest_s,
            ),
            on_change=lambda was, to, _reason: self.changes.append((was, to)),
        )

    @rule(by_s=st.sampled_from([0.5, 7.0, 30.0, 60.0, 100.0, 5000.0]))
    def pass_time(self, by_s: float) -> None:
        self.now += by_s

    @rule()
    def admit(self) -> None:
        expected = self.model.admits(self.now)
        assert self.subject.admits(self.now) is expected
        permit = self.subject.admit(self.now)
        assert (permit is not None) is expected
        if permit is not None:
            self.model.admit(self.now)
            self.out.append((permit, self.model.generation))
            assert permit.probe is (self.model.state is HALF_OPEN)

    @precondition(lambda self: self.out)
    @rule(outcome=st.sampled_from(list(Settled)), data=st.data())
    def settle(self, outcome: Settled, data: st.DataObject) -> None:
        permit, generation = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        before = self.subject.dump()
        self.subject.settle(permit, outcome, self.now, kind=ErrorKind.TIMEOUT)
        if generation == self.model.generation:
            self.model.settle(outcome, self.now)
        else:
            assert self.subject.dump() == before
        if outcome is NEUTRAL:
            assert self.subject.dump() == before

    @rule(outcomes=st.lists(st.sampled_from([COUNTS, COUNTS, SUCCESS, OPENS]), max_size=4))
    def calls_one_by_one(self, outcomes: list[Settled]) -> None:
        for outcome in outcomes:
            if self.model.admits(self.now):
                self.admit()
                permit, _ = self.out.pop()
                self.subject.settle(permit, outcome, self.now, kind=ErrorKind.TIMEOUT)
                self.model.settle(outcome, self.now)

    @rule(for_s=st.sampled_from([None, 20.0]))
    def force_open(self, for_s: float | None) -> None:
        self.subject.force_open(self.now, reason="repairs", by="op1", for_s=for_s)
        until = None if for_s is None else self.now + for_s
        self.model.to(OPEN)
        self.model.span, self.model.until = self.model.first_s, until
        self.model.forced, self.model.forced_until = OPEN, until

    @rule(for_s=st.sampled_from([None, 20.0]))
    def force_close(self, for_s: float | None) -> None:
        self.subject.force_close(self.now, reason="it is well", by="op1", for_s=for_s)
        self.model.to(CLOSED)
        self.model.forced = CLOSED
        self.model.forced_until = None if for_s is None else self.now + for_s

    @rule()
    def allow_probe(self) -> None:
        self.model.tick(self.now)
        model = self.model
        expected = model.forced is None and model.state is not CLOSED and not model.probe_out
        assert self.subject.allow_probe(self.now) is expected
        if expected and model.state is OPEN:
            model.to(HALF_OPEN)

    @rule()
    def reset(self) -> None:
        self.subject.reset(self.now)
        self.model.to(CLOSED)
        self.model.forced = self.model.forced_until = None

    @rule()
    def restart(self) -> None:
        stored = json.loads(json.dumps(self.subject.dump()))
        self.subject = self.build()
        self.subject.restore(stored, self.now)
        assert self.subject.dump() == stored
        self.out.clear()
        self.model.generation += 1
        self.model.probe_out = False

    @invariant()
    def agrees_and_reading_changes_nothing(self) -> None:
        self.model.tick(self.now)
        before = self.subject.dump()
        look = self.subject.look(self.now)
        assert self.subject.admits(self.now) is self.model.admits(self.now)
        assert self.subject.dump() == before
        assert (look.state, look.forced) == (self.model.state, self.model.forced)
        assert look.open_until == self.model.until
        if look.state is CLOSED:
            assert look.failures == self.model.streak < self.model.fail_max
        assert self.changes == self.model.changes

    @invariant()
    def never_two_probes(self) -> None:
        live = [p for p, generation in self.out if generation == self.model.generation and p.probe]
        assert len(live) <= 1 or not self.model.probe_out
        if self.model.probe_out:
            assert self.subject.admits(self.now) is (self.model.forced is CLOSED)


TestCircuitMachine = CircuitMachine.TestCase
TestCircuitMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# --- opening ------------------------------------------------------------------------------


def test_opens_after_fail_max_failures_in_a_row() -> None:
    told: list[tuple[str, str, str]] = []
    subject = Circuit(CircuitSettings(fail_max=3), on_change=lambda *change: told.append(change))
    for outcome in (COUNTS, COUNTS, SUCCESS, COUNTS, COUNTS):
        call(subject, outcome)
    assert subject.look(T0).state is CLOSED
    assert subject.look(T0).failures == 2
    call(subject, COUNTS, T0 + 1)
    look = subject.look(T0 + 1)
    assert (look.state, look.since, look.outage_since) == (OPEN, T0 + 1, T0 + 1)
    assert look.open_until == T0 + 31
    assert look.reason == "3 failures in a row, last it broke"
    assert look.opened_by is ErrorKind.PROVIDER_ERROR
    assert told == [("closed", "open", look.reason)]


def test_one_failure_that_opens_says_which() -> None:
    subject = circuit()
    permit = subject.admit(T0)
    assert permit is not None
    subject.settle(permit, OPENS, T0, reason="key revoked", kind=ErrorKind.AUTH_ERROR)
    look = subject.look(T0)
    assert (look.state, look.opened_by, look.reason) == (OPEN, ErrorKind.AUTH_ERROR, "key revoked")


def test_an_enormous_reason_is_cut() -> None:
    subject = circuit()
    permit = subject.admit(T0)
    assert permit is not None
    subject.settle(permit, OPENS, T0, reason="x" * 100_000)
    assert len(subject.look(T0).reason) == REASON_LIMIT


def test_every_circuit_effect_has_its_outcome() -> None:
    assert {Settled(effect.value) for effect in CircuitEffect} == set(Settled) - {SUCCESS}


# --- the probe ----------------------------------------------------------------------------


def test_exactly_one_of_many_gets_the_probe() -> None:
    subject = opened()
    assert not subject.admits(T0 + 29.9)
    assert subject.look(T0 + 30).probe_ready
    permits = [subject.admit(T0 + 30) for _ in range(10)]
    assert [permit for permit in permits if permit is not None] == permits[:1]
    assert not subject.look(T0 + 30).probe_ready


def test_a_cancelled_probe_gives_its_permit_back_once() -> None:
    subject = opened()
    first = subject.admit(T0 + 30)
    assert first is not None
    subject.settle(first, NEUTRAL, T0 + 31)
    assert subject.look(T0 + 31).state is HALF_OPEN
    second = subject.admit(T0 + 31)
    assert second is not None
    subject.settle(first, SUCCESS, T0 + 32)
    assert subject.look(T0 + 32).state is HALF_OPEN
    assert subject.admit(T0 + 32) is None


def test_a_probe_that_answers_closes_and_the_next_outage_begins_short_again() -> None:
    subject = opened(fail_max=1, reset_timeout_s=30, max_reset_timeout_s=300)
    now = T0
    for expected_s in (60, 120, 240, 300, 300):
        open_until = subject.look(now).open_until
        assert open_until is not None
        now = open_until
        call(subject, COUNTS, now)
        assert subject.look(now).open_until == now + expected_s
    assert subject.look(now).outage_since == T0
    now += 300
    call(subject, SUCCESS, now)
    assert subject.look(now).state is CLOSED
    assert subject.look(now).last_success == now
    call(subject, COUNTS, now)
    assert subject.look(now).open_until == now + 30


@given(
    reset_s=st.floats(0.1, 1000),
    max_s=st.floats(0.1, 1000),
    probes=st.integers(0, 20),
)
def test_open_time_is_bounded(reset_s: float, max_s: float, probes: int) -> None:
    subject = opened(reset_timeout_s=reset_s, max_reset_timeout_s=max_s)
    now = T0
    for _ in range(probes):
        open_until = subject.look(now).open_until
        assert open_until is not None
        now = open_until
        call(subject, COUNTS, now)
    last_until = subject.look(now).open_until
    assert last_until is not None
    assert 0 < last_until - now <= max(reset_s, max_s) + 1e-6


def test_results_from_before_the_opening_do_not_prolong_it_or_close_it() -> None:
    subject = circuit(fail_max=1)
    late = [subject.admit(T0) for _ in range(3)]
    call(subject, COUNTS, T0)
    before = subject.dump()
    for permit, outcome in zip(late, (COUNTS, OPENS, SUCCESS), strict=True):
        assert permit is not None
        subject.settle(permit, outcome, T0 + 20)
    assert subject.dump() == before
    probe = subject.admit(T0 + 30)
    assert probe is not None
    assert probe.probe


def test_a_probe_by_hand_goes_before_its_time() -> None:
    subject = opened()
    assert subject.allow_probe(T0 + 1)
    assert subject.look(T0 + 1).probe_ready
    assert subject.admit(T0 + 2) is not None
    assert not subject.allow_probe(T0 + 3)
    assert not circuit().allow_probe(T0)


def test_a_clock_set_back_does_not_keep_it_open_for_hours() -> None:
    subject = opened(reset_timeout_s=30)
    assert not subject.admits(T0 - 5)
    assert subject.admits(T0 - 3600)


# --- the failure rate ---------------------------------------------------------------------


def _alternate(subject: Circuit, pairs: int, *, last_candidate: bool = False) -> None:
    for outcome in [COUNTS, SUCCESS] * pairs:
        permit = subject.admit(T0)
        assert permit is not None
        subject.settle(permit, outcome, T0, last_candidate=last_candidate)


def test_no_rate_unless_it_is_set() -> None:
    subject = circuit()
    _alternate(subject, 200)
    assert subject.look(T0).state is CLOSED


def test_a_rate_opens_once_enough_calls_are_in() -> None:
    subject = circuit(failure_rate=0.5, min_calls=20, window_s=60)
    _alternate(subject, 9)
    call(subject, SUCCESS)
    assert subject.look(T0).state is CLOSED
    call(subject, COUNTS)
    assert subject.look(T0).state is OPEN
    assert subject.look(T0).reason.startswith("10 of 20 calls failed in 60 s")


def test_a_rate_never_shuts_the_last_candidate_but_failures_in_a_row_do() -> None:
    subject = circuit(failure_rate=0.5, min_calls=4, fail_max=3)
    _alternate(subject, 30, last_candidate=True)
    assert subject.look(T0).state is CLOSED
    for _ in range(3):
        permit = subject.admit(T0)
        assert permit is not None
        subject.settle(permit, COUNTS, T0, last_candidate=True)
    assert subject.look(T0).state is OPEN


def test_what_left_the_window_does_not_count() -> None:
    subject = circuit(failure_rate=0.5, min_calls=10, window_s=60, fail_max=100)
    for _ in range(9):
        call(subject, COUNTS, T0)
    call(subject, COUNTS, T0 + 120)
    assert subject.look(T0 + 120).state is CLOSED


def test_a_window_begins_anew_when_the_circuit_closes() -> None:
    subject = circuit(failure_rate=0.5, min_calls=4, fail_max=4, window_s=600)
    for _ in range(4):
        call(subject, COUNTS)
    call(subject, SUCCESS, T0 + 30)
    call(subject, COUNTS, T0 + 31)
    assert subject.look(T0 + 31).state is CLOSED


def test_calls_made_while_forced_closed_do_not_dilute_the_rate() -> None:
    subject = circuit(failure_rate=0.5, min_calls=4, fail_max=100, window_s=600)
    subject.force_close(T0, reason="trial", by="op1", for_s=10)
    for _ in range(20):
        call(subject, SUCCESS)
    for _ in range(4):
        call(subject, COUNTS, T0 + 10)
    assert subject.look(T0 + 10).state is OPEN


# --- by hand ------------------------------------------------------------------------------


def test_forced_open_admits_nobody_until_its_end_and_then_one_probe() -> None:
    subject = circuit()
    subject.force_open(T0, reason="maintenance", by="op1", for_s=600)
    look = subject.look(T0 + 599)
    assert (look.state, look.forced, look.forced_by, look.forced_until) == (
        OPEN,
        OPEN,
        "op1",
        T0 + 600,
    )
    assert (look.reason, look.opened_by) == ("maintenance", None)
    assert not subject.admits(T0 + 599)
    assert not subject.allow_probe(T0 + 599)
    assert subject.look(T0 + 600).forced is None
    probe = subject.admit(T0 + 600)
    assert probe is not None
    assert probe.probe
    assert subject.admit(T0 + 600) is None


def test_forced_open_without_an_end_lasts() -> None:
    subject = circuit()
    subject.force_open(T0, reason="broken", by=None)
    assert not subject.admits(T0 + 1e9)
    subject.reset(T0 + 1e9)
    assert subject.admits(T0 + 1e9)


def test_forced_closed_admits_whatever_fails_and_counts_from_zero_afterwards() -> None:
    subject = circuit(fail_max=2)
    call(subject, COUNTS)
    call(subject, COUNTS)
    assert subject.look(T0).state is OPEN
    subject.force_close(T0, reason="false alarm", by="op1", for_s=60)
    for i in range(10):
        call(subject, COUNTS, T0 + i)
    assert subject.look(T0 + 59).forced is CLOSED
    call(subject, COUNTS, T0 + 60)
    assert subject.look(T0 + 60).state is CLOSED
    call(subject, COUNTS, T0 + 60)
    assert subject.look(T0 + 60).state is OPEN


@pytest.mark.parametrize("for_s", [None, 50.0])
def test_a_forced_state_survives_a_restart(for_s: float | None) -> None:
    subject = circuit()
    subject.force_open(T0, reason="budget", by="op2", for_s=for_s)
    again = circuit()
    again.restore(json.loads(json.dumps(subject.dump())), T0 + 10)
    assert again.look(T0 + 10) == subject.look(T0 + 10)
    assert again.admits(T0 + 51) is (for_s is not None)


# --- restart ------------------------------------------------------------------------------


def test_a_probe_in_flight_at_a_crash_is_given_back() -> None:
    subject = opened()
    assert subject.admit(T0 + 30) is not None
    again = circuit()
    again.restore(subject.dump(), T0 + 40)
    assert again.look(T0 + 40).state is HALF_OPEN
    assert again.admit(T0 + 40) is not None
    assert again.admit(T0 + 40) is None


def test_the_doubling_goes_on_after_a_restart() -> None:
    subject = opened(reset_timeout_s=30)
    again = circuit(fail_max=1, reset_timeout_s=30)
    again.restore(subject.dump(), T0 + 10)
    call(again, COUNTS, T0 + 30)
    assert again.look(T0 + 30).open_until == T0 + 90


def test_a_lower_fail_max_than_before_does_not_break_the_restored_count() -> None:
    subject = circuit(fail_max=5)
    for _ in range(4):
        call(subject, COUNTS)
    again = circuit(fail_max=2)
    again.restore(subject.dump(), T0)
    assert again.look(T0).failures == 1
    call(again, COUNTS)
    assert again.look(T0).state is OPEN


def test_a_clock_set_back_during_the_downtime_keeps_the_time_left() -> None:
    subject = opened(now=T0, reset_timeout_s=30)
    again = circuit()
    again.restore(subject.dump(), T0 - 86_400)
    assert not again.admits(T0 - 86_400 + 29)
    assert again.admits(T0 - 86_400 + 30)


@pytest.mark.parametrize("wrong", [{"state": "ajar"}, {"forced": "ajar"}, {"opened_by": "luck"}])
def test_what_it_did_not_write_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        circuit().restore({**circuit().dump(), **wrong}, T0)


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["open", "closed", "half_open", "timeout"]),
    st.lists(st.none(), max_size=1),
)


@given(
    wrong=st.dictionaries(st.sampled_from(sorted(circuit().dump())), ANYTHING, min_size=1),
    missing=st.sets(st.sampled_from(sorted(circuit().dump())), max_size=1),
)
def test_what_another_hand_wrote_is_refused_or_works(
    wrong: dict[str, object], missing: set[str]
) -> None:
    state = {**opened().dump(), **wrong}
    subject = circuit()
    before = subject.dump()
    try:
        subject.restore({k: v for k, v in state.items() if k not in missing}, T0)
    except (KeyError, TypeError, ValueError):
        assert subject.dump() == before
        return
    assert not missing
    for now in (T0, T0 + 1e6):
        subject.look(now)
        permit = subject.admit(now)
        if permit is not None:
            subject.settle(permit, COUNTS, now, kind=ErrorKind.TIMEOUT)
    json.dumps(subject.dump(), allow_nan=False)


def test_reading_a_new_circuit() -> None:
    look = circuit().look(T0)
    assert (look.state, look.since, look.open_until, look.failures) == (CLOSED, 0, None, 0)
