"""Which provider may be called now; no call is made and nothing waits."""

from __future__ import annotations

from typing import Any

import pytest

from ksi_tui.config import Config, ProviderSettings
from ksi_tui.engine.circuit import Permit
from ksi_tui.engine.circuit_memory import CircuitState
from ksi_tui.engine.errors import Conflict, ErrorKind, ProviderFault
from ksi_tui.engine.models import Cause, CauseKind, Pause, PauseScope, Verdict, VerdictKind
from ksi_tui.engine.pauses import PauseTable
from ksi_tui.engine.provider_entry import Entry
from ksi_tui.engine.provider_manager import Hopeless, ProviderManager
from ksi_tui.engine.providers.base import CallObserver, CallResult, CallSpec
from ksi_tui.engine.ticket import Route
from ksi_tui.engine.worker_health import WorkerHealth

NOW = 1_000_000.0


class Silent:
    """A provider that is never called."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.name = settings.name

    async def call(self, spec: CallSpec, observer: CallObserver) -> CallResult:
        raise NotImplementedError(spec.request_id, observer)

    async def aclose(self) -> None:
        return


class Desk:
    """A manager, and what it told."""

    def __init__(self, *providers: dict[str, Any], **sections: Any) -> None:
        self.circuits: list[tuple[str, str, str]] = []
        self.freed = 0
        self.starting = False
        self.pauses = PauseTable()
        config = Config.model_validate(
            {"providers": [{"kind": "simulated", **each} for each in providers], **sections}
        )
        self.manager = ProviderManager(
            config,
            Silent,
            WorkerHealth(lambda: self.starting),
            on_circuit=lambda name, before, after, _: self.circuits.append((name, before, after)),
            on_freed=self._on_freed,
            pauses=self.pauses,
        )

    def _on_freed(self) -> None:
        self.freed += 1

    def pause(self, name: str) -> None:
        pause = Pause(scope=PauseScope.PROVIDER, id=name, since=NOW, by="op1", reason="deploy")
        assert self.pauses.add(pause)

    def entry(self, name: str) -> Entry:
        entry = self.manager.get(name)
        assert entry is not None
        return entry

    def admit(self, name: str, model: str = "m", now: float = NOW) -> Permit:
        got = self.manager.admit(self.entry(name), model, now)
        assert isinstance(got, Permit), got
        return got

    def fail(self, name: str, kind: ErrorKind, model: str = "m", **details: Any) -> None:
        now = details.pop("now", NOW)
        permit = self.admit(name, model, now)
        fault = ProviderFault(kind, "scripted", **details)
        entry = self.entry(name)
        self.manager.failed(entry, permit, route(model), fault, now, model=model, latency_ms=1)
        self.manager.slot_freed(entry)

    def check(self, *, model: str = "m", now: float = NOW, **needs: Any) -> Any:
        return self.manager.check(route(model, **needs), now)


def route(
    model: str = "m", *, stream: bool = False, mcp: bool = False, avoid: tuple[str, ...] = ()
) -> Route:
    return Route(model, stream, mcp, frozenset(avoid))


def p(name: str, *models: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "models": models or ("m",), **settings}


# --- candidates ----------------------------------------------------------------------------


def test_candidates_match_by_pattern_and_go_by_priority() -> None:
    desk = Desk(p("late", "m*", priority=2), p("other", "x"), p("first", "m", priority=1))
    assert [c.entry.name for c in desk.manager.candidates(route()).usable] == ["first", "late"]
    assert desk.manager.serves("mmm")
    assert not desk.manager.serves("y")


def test_who_cannot_do_what_is_needed_is_passed_over_with_the_reason() -> None:
    desk = Desk(p("plain", supports_streaming=False), p("mcp", supports_mcp=True), p("streams"))
    found = desk.manager.candidates(route(stream=True, mcp=True, avoid=()))
    assert [c.entry.name for c in found.usable] == ["mcp"]
    assert {v.provider: (v.kind, v.detail) for v in found.passed_over} == {
        "plain": (VerdictKind.UNSUITED, "cannot stream"),
        "streams": (VerdictKind.UNSUITED, "cannot run MCP servers"),
    }


def test_who_is_to_be_avoided_is_passed_over() -> None:
    desk = Desk(p("a"), p("b"))
    found = desk.manager.candidates(route(avoid=("a",)))
    assert [c.entry.name for c in found.usable] == ["b"]
    assert [v.kind for v in found.passed_over] == [VerdictKind.AVOIDED]


def test_equals_share_the_load_and_priority_comes_first() -> None:
    desk = Desk(p("a"), p("b"), p("c", priority=2))
    desk.admit("a")
    assert [c.entry.name for c in desk.manager.ordered(route())] == ["b", "a", "c"]


def test_a_provider_that_stands_in_names_the_model_that_answers() -> None:
    desk = Desk(p("same", model="openai/{model}"), p("other", model="openai/cheap", kind="litellm"))
    same, other = desk.entry("same"), desk.entry("other")
    assert (same.upstream_model("m"), same.answering_model("m")) == ("openai/m", "m")
    assert (other.upstream_model("m"), other.answering_model("m")) == ("openai/cheap", "cheap")


# --- slots ---------------------------------------------------------------------------------


def test_slots_are_exact() -> None:
    desk = Desk(p("a", max_concurrency=2))
    desk.admit("a")
    desk.admit("a")
    refused = desk.manager.admit(desk.entry("a"), "m", NOW)
    assert isinstance(refused, Verdict)
    assert (refused.kind, refused.detail) == (VerdictKind.FULL, "a at 2 of 2")
    cause = desk.check()
    assert isinstance(cause, Cause)
    assert (cause.kind, cause.target, cause.until) == (CauseKind.SLOT, "a", None)
    desk.manager.slot_freed(desk.entry("a"))
    assert desk.freed == 1
    assert desk.check() is None


# --- circuits and cooldowns ----------------------------------------------------------------


def test_failures_in_a_row_open_and_the_earliest_back_is_waited_for() -> None:
    circuit = {"fail_max": 2, "reset_timeout_s": 30}
    desk = Desk(p("a", circuit=circuit), p("b", circuit={**circuit, "reset_timeout_s": 10}))
    for name in ("a", "b"):
        for _ in range(2):
            desk.fail(name, ErrorKind.PROVIDER_ERROR)
    assert desk.circuits == [("a", "closed", "open"), ("b", "closed", "open")]
    cause = desk.check()
    assert isinstance(cause, Cause)
    assert (cause.kind, cause.target, cause.until) == (CauseKind.CIRCUIT, "b", NOW + 10)


def test_exactly_one_probe() -> None:
    desk = Desk(p("a", circuit={"fail_max": 1, "reset_timeout_s": 10}))
    desk.fail("a", ErrorKind.PROVIDER_ERROR)
    permit = desk.admit("a", now=NOW + 10)
    assert permit.probe
    refused = desk.manager.admit(desk.entry("a"), "m", NOW + 10)
    assert isinstance(refused, Verdict)
    assert refused.kind is VerdictKind.OPEN
    cause = desk.check(now=NOW + 10)
    assert isinstance(cause, Cause)
    assert (cause.text, cause.until) == ("a probing", None)


@pytest.mark.parametrize("kind", [ErrorKind.AUTH_ERROR, ErrorKind.QUOTA_EXCEEDED])
def test_what_does_not_heal_by_waiting_is_hopeless(kind: ErrorKind) -> None:
    desk = Desk(p("a"))
    desk.fail("a", kind, status=401)
    hopeless = desk.check()
    assert isinstance(hopeless, Hopeless)
    assert hopeless.kind is kind
    assert "scripted" in hopeless.message


def test_a_403_may_be_one_model_and_opens_nothing() -> None:
    desk = Desk(p("a"))
    desk.fail("a", ErrorKind.AUTH_ERROR, status=403)
    assert desk.check() is None


def test_a_429_cools_one_model_for_as_long_as_it_asked_and_no_longer_than_allowed() -> None:
    desk = Desk(p("a", "m", "n", circuit={"max_cooldown_s": 60}))
    desk.fail("a", ErrorKind.API_RATE_LIMIT, retry_after_s=20)
    cause = desk.check()
    assert isinstance(cause, Cause)
    assert (cause.kind, cause.target, cause.until) == (CauseKind.COOLDOWN, "a", NOW + 20)
    assert desk.check(model="n") is None
    assert desk.check(now=NOW + 20) is None
    desk.fail("a", ErrorKind.API_RATE_LIMIT, retry_after_s=9_999, now=NOW + 20)
    assert desk.entry("a").cooling_until("m", NOW + 20) == NOW + 80
    assert desk.circuits == []


def test_a_shorter_429_does_not_end_a_longer_cooldown() -> None:
    desk = Desk(p("a"))
    first, second = desk.admit("a"), desk.admit("a")
    for permit, wait_s in ((first, 50), (second, 5)):
        fault = ProviderFault(ErrorKind.API_RATE_LIMIT, "", retry_after_s=wait_s)
        desk.manager.failed(desk.entry("a"), permit, route(), fault, NOW, model="m", latency_ms=1)
    assert desk.entry("a").cooling_until("m", NOW) == NOW + 50


def test_a_cooldown_of_an_earlier_life_is_as_short_when_the_clock_went_back() -> None:
    desk = Desk(p("a", circuit={"max_cooldown_s": 60}))
    desk.fail("a", ErrorKind.API_RATE_LIMIT, retry_after_s=50)
    later = Desk(p("a", circuit={"max_cooldown_s": 60}))
    later.manager.restore(dict(desk.manager.dirty()), NOW - 7200)
    assert later.entry("a").cooling_until("m", NOW - 7200) == NOW - 7140


@pytest.mark.parametrize(
    ("kind", "asked", "obeyed"),
    [
        (ErrorKind.API_RATE_LIMIT, 500.0, 60.0),
        (ErrorKind.API_RATE_LIMIT, 5.0, 5.0),
        (ErrorKind.API_RATE_LIMIT, None, None),
        (ErrorKind.PROVIDER_ERROR, 500.0, 500.0),
    ],
)
def test_a_cooldowns_retry_after_has_a_limit(
    kind: ErrorKind, asked: float | None, obeyed: float | None
) -> None:
    desk = Desk(p("a", circuit={"max_cooldown_s": 60}))
    fault = ProviderFault(kind, "", retry_after_s=asked)
    assert desk.entry("a").wait_s(fault) == obeyed


RATE = {"fail_max": 100, "failure_rate": 0.5, "min_calls": 4, "window_s": 60}


def test_a_rate_shuts_a_provider_that_has_another_beside_it() -> None:
    desk = Desk(p("a", circuit=RATE), p("b"))
    for _ in range(4):
        desk.fail("a", ErrorKind.PROVIDER_ERROR)
    assert desk.entry("a").circuit.look(NOW).state is CircuitState.OPEN


def test_a_rate_never_shuts_a_models_last_candidate() -> None:
    desk = Desk(p("a", circuit=RATE), p("b", circuit={"fail_max": 1}), p("c", "other"))
    desk.fail("b", ErrorKind.PROVIDER_ERROR)
    for _ in range(20):
        desk.fail("a", ErrorKind.PROVIDER_ERROR)
    assert desk.entry("a").circuit.look(NOW).state is CircuitState.CLOSED


# --- nobody --------------------------------------------------------------------------------


def test_nobody_left_says_why() -> None:
    desk = Desk(p("a", supports_streaming=False), p("b"))
    hopeless = desk.check(stream=True, avoid=("b",))
    assert isinstance(hopeless, Hopeless)
    assert hopeless.kind is ErrorKind.MODEL_NOT_FOUND
    assert "a cannot stream" in hopeless.message
    assert "b is left out" in hopeless.message


def test_a_starting_worker_is_waited_for_until_patience_ends() -> None:
    desk = Desk(p("a", kind="litellm"), p("b", priority=2))
    desk.starting = True
    cause = desk.check()
    assert isinstance(cause, Cause)
    assert (cause.kind, cause.target) == (CauseKind.WORKER, "a")
    for _ in range(3):
        desk.manager.workers.lost("died")
    assert desk.check() is None


# --- statistics and memory -----------------------------------------------------------------


def test_only_routes_whose_providers_stand_in_one_order_wait_for_the_same() -> None:
    desk = Desk(
        p("far", "a", kind="litellm", model="openai/{model}"),
        p("near", "b"),
        routing={"fallbacks": {"a": ["b"], "b": ["a"]}},
    )
    desk.starting = True
    assert isinstance(desk.check(model="a"), Cause)
    assert desk.check(model="b") is None
    names = {model: desk.manager.candidates(route(model)).names for model in "ab"}
    assert names == {"a": ("far", "near"), "b": ("near", "far")}


def test_an_interruption_is_neither_success_nor_failure() -> None:
    desk = Desk(p("a"))
    desk.fail("a", ErrorKind.WORKER_LOST)
    stats = desk.entry("a").health.stats(NOW)
    assert (stats.total_calls, stats.failed_calls, stats.successful_calls) == (1, 0, 0)
    assert desk.entry("a").circuit.look(NOW).failures == 0


def test_what_survives_a_restart() -> None:
    desk = Desk(p("a", circuit={"fail_max": 1, "reset_timeout_s": 30}), p("b"))
    desk.fail("a", ErrorKind.PROVIDER_ERROR)
    desk.fail("b", ErrorKind.API_RATE_LIMIT, retry_after_s=20)
    saved = dict(desk.manager.dirty())
    assert desk.manager.dirty() == []
    later = Desk(p("a"), p("b"))
    later.manager.restore({**saved, "gone": {}}, NOW + 5)
    assert later.entry("a").circuit.look(NOW + 5).state is CircuitState.OPEN
    assert later.entry("b").cooling_until("m", NOW + 5) == NOW + 20
    assert later.entry("a").health.stats(NOW + 5).failed_calls == 1
    late = Desk(p("a"), p("b"))
    late.manager.restore(saved, NOW + 21)
    assert late.entry("b").cooldowns == {}


def test_giving_up_a_probe_gives_its_permit_back() -> None:
    desk = Desk(p("a", circuit={"fail_max": 1, "reset_timeout_s": 10}))
    desk.fail("a", ErrorKind.PROVIDER_ERROR)
    permit = desk.admit("a", now=NOW + 10)
    freed = desk.freed
    desk.manager.gave_up(desk.entry("a"), permit, NOW + 11)
    assert desk.freed == freed + 1
    assert desk.admit("a", now=NOW + 11).probe


# --- pauses and additions ------------------------------------------------------------------


def test_a_paused_provider_is_passed_over_with_who_and_why() -> None:
    desk = Desk(p("a"), p("b"))
    desk.pause("a")
    got = desk.manager.admit(desk.entry("a"), "m", NOW)
    assert isinstance(got, Verdict)
    assert (got.kind, got.detail, got.until) == (
        VerdictKind.PAUSED,
        "paused by op1: deploy",
        None,
    )
    assert desk.entry("a").in_flight == 0
    assert desk.check() is None


def test_a_pause_is_the_last_of_the_reasons_to_wait() -> None:
    desk = Desk(p("a"), p("b", max_concurrency=1))
    desk.pause("a")
    desk.admit("b")
    assert desk.check().kind is CauseKind.SLOT
    desk.pause("b")
    cause = desk.check()
    assert (cause.kind, cause.target) == (CauseKind.PAUSE, "provider:a")


def test_a_rate_does_not_shut_the_one_beside_a_paused_one() -> None:
    circuit = {"failure_rate": 0.5, "min_calls": 2, "fail_max": 99}
    desk = Desk(p("a"), p("b"), circuit=circuit)
    desk.pause("a")
    for _ in range(4):
        desk.fail("b", ErrorKind.PROVIDER_ERROR)
    assert desk.entry("b").circuit.look(NOW).state is CircuitState.CLOSED
    desk.pauses.remove(PauseScope.PROVIDER, "a")
    desk.fail("b", ErrorKind.PROVIDER_ERROR)
    assert desk.entry("b").circuit.look(NOW).state is CircuitState.OPEN


def test_an_added_provider_is_a_candidate_of_routes_that_were_asked_for_before() -> None:
    desk = Desk(p("a", "m"))
    assert [e.entry.name for e in desk.manager.candidates(route()).usable] == ["a"]
    assert not desk.manager.serves("new")
    settings = ProviderSettings(name="b", kind="simulated", models=("m", "new"), priority=0)
    freed = desk.freed
    desk.manager.add(settings)
    assert [e.entry.name for e in desk.manager.candidates(route()).usable] == ["b", "a"]
    assert desk.manager.serves("new")
    assert desk.freed > freed
    with pytest.raises(Conflict, match="the name 'b' is taken; in use are: a, b"):
        desk.manager.add(settings)


def test_one_corrupt_part_costs_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(p("a"), p("gone"), circuit={"fail_max": 1})
    desk.fail("a", ErrorKind.API_RATE_LIMIT, retry_after_s=50)
    desk.fail("a", ErrorKind.PROVIDER_ERROR, model="other")
    (saved,) = [state for name, state in desk.manager.dirty() if name == "a"]
    for part in ("circuit", "health", "cooldowns"):
        again = Desk(p("a"), circuit={"fail_max": 1})
        again.manager.restore({"a": {**saved, part: "?"}}, NOW)
        assert f"the saved {part} of provider a cannot be read" in caplog.text
        entry = again.entry("a")
        is_open = entry.circuit.look(NOW).state is CircuitState.OPEN
        assert is_open is (part != "circuit")
        assert entry.health.stats(NOW).failed_calls == (0 if part == "health" else 2)
        assert bool(entry.cooldowns) is (part != "cooldowns")
