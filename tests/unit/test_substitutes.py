"""Models that answer in place of others: who is a candidate, in which order, as which model."""

from __future__ import annotations

from typing import Any

import pytest

from ksi_tui.config import CircuitSettings, Config, ProviderSettings
from ksi_tui.engine.errors import Conflict, ErrorKind, ProviderFault
from ksi_tui.engine.models import CauseKind, Verdict, VerdictKind
from tests.unit.test_provider_manager import NOW, Desk, p, route


def chain(desk: Desk, model: str) -> list[tuple[str, str]]:
    return [(c.entry.name, c.model) for c in desk.manager.candidates(route(model)).usable]


def routed(*providers: dict[str, Any], **tables: Any) -> Desk:
    return Desk(*providers, routing=tables)


def test_fallbacks_come_after_every_provider_of_the_model_itself() -> None:
    desk = routed(p("b", "beta"), p("late", "m", priority=9), p("a"), fallbacks={"m": ["beta"]})
    assert chain(desk, "m") == [("a", "m"), ("late", "m"), ("b", "beta")]
    assert chain(desk, "beta") == [("b", "beta")]


def test_a_fallback_has_its_own_fallbacks_and_none_comes_twice() -> None:
    desk = routed(
        *(p(name, name) for name in "abc"),
        fallbacks={"a": ["b"], "b": ["c", "a"], "c": ["a"]},
    )
    assert chain(desk, "a") == [("a", "a"), ("b", "b"), ("c", "c")]
    assert chain(desk, "c") == [("c", "c"), ("a", "a"), ("b", "b")]


def test_those_of_any_model_serve_models_that_have_none_and_are_served() -> None:
    desk = routed(*(p(name, name) for name in "abc"), fallbacks={"*": ["c"], "a": ["b"]})
    assert chain(desk, "a") == [("a", "a"), ("b", "b")]
    assert chain(desk, "b") == [("b", "b"), ("c", "c")]
    assert chain(desk, "unknown") == []
    assert not desk.manager.serves("unknown")


def test_an_alias_is_another_name_and_a_model_that_only_a_fallback_serves_is_served() -> None:
    desk = routed(p("a", "alpha"), aliases={"fast": "alpha"}, fallbacks={"gone": ["fast"]})
    assert chain(desk, "fast") == [("a", "alpha")]
    assert chain(desk, "gone") == [("a", "alpha")]
    assert desk.manager.serves("gone")
    assert desk.manager.model_patterns() == ["alpha", "fast"]


def test_one_provider_may_be_asked_for_both_models_and_cools_for_one_only() -> None:
    desk = routed(p("a", "big", "small"), fallbacks={"big": ["small"]})
    permit = desk.admit("a", "big")
    fault = ProviderFault(ErrorKind.API_RATE_LIMIT, "", retry_after_s=9)
    desk.manager.failed(
        desk.entry("a"), permit, route("big"), fault, NOW, model="big", latency_ms=1
    )
    refused = desk.manager.admit(desk.entry("a"), "big", NOW)
    assert isinstance(refused, Verdict)
    assert refused.kind is VerdictKind.COOLING
    desk.admit("a", "small")
    assert desk.check(model="big") is None  # the small one answers


def test_a_catch_all_serves_what_nobody_else_does_the_closest_pattern_first() -> None:
    desk = Desk(
        p("any", "*", catch_all=True),
        p("house", "house/*", catch_all=True),
        p("exact", "house/one"),
    )
    assert chain(desk, "house/one") == [("exact", "house/one")]
    assert chain(desk, "house/two") == [("house", "house/two")]
    assert chain(desk, "other") == [("any", "other")]


@pytest.mark.parametrize(
    ("settings", "asked", "sent", "answers"),
    [
        ({"models": ["house/*"], "model": "anthropic/{match}"}, "house/x", "anthropic/x", "x"),
        ({"models": ["*"], "model": "openrouter/{match}"}, "a/b", "openrouter/a/b", "a/b"),
        ({"models": ["a*z"], "model": "openai/{match}"}, "abcz", "openai/bc", "bc"),
        ({"models": ["openai/*"], "model": "{model}"}, "openai/x", "openai/x", "openai/x"),
        (
            {"models": ["m"], "model": "azure/eu", "params": {"base_model": "azure/gpt-4o"}},
            "m",
            "azure/eu",
            "gpt-4o",
        ),
    ],
)
def test_what_is_sent_and_who_is_said_to_answer(
    settings: dict[str, Any], asked: str, sent: str, answers: str
) -> None:
    desk = Desk({"name": "a", "kind": "litellm", **settings})
    entry = desk.entry("a")
    assert (entry.upstream_model(asked), entry.answering_model(asked)) == (sent, answers)


def test_what_a_model_refuses_goes_to_those_that_are_named_for_it() -> None:
    desk = routed(
        *(p(name, name) for name in "abc"),
        context_window_fallbacks={"a": ["b"]},
        content_policy_fallbacks={"*": ["c"]},
    )
    (a,) = desk.manager.candidates(route("a")).usable

    def after(kind: ErrorKind) -> list[str]:
        return [c.model for c in desk.manager.after(a, route("a"), kind)]

    assert after(ErrorKind.CONTEXT_WINDOW) == ["b"]
    assert after(ErrorKind.CONTENT_POLICY) == ["c"]
    assert after(ErrorKind.INVALID_REQUEST) == []


# --- added while it runs ---------------------------------------------------------------------


def test_a_provider_that_is_added_is_a_candidate_at_once() -> None:
    desk = Desk(p("a"))
    assert chain(desk, "m") == [("a", "m")]
    assert not desk.manager.serves("new")
    more = ProviderSettings(
        name="b",
        kind="simulated",
        models=("m", "new"),
        rpm=1,
        circuit=CircuitSettings(fail_max=1),
    )
    desk.manager.add(more)
    assert chain(desk, "m") == [("a", "m"), ("b", "m")]
    assert desk.manager.serves("new")
    assert desk.manager.names == ["a", "b"]
    assert desk.freed == 1
    desk.fail("b", ErrorKind.PROVIDER_ERROR)
    assert desk.circuits == [("b", "closed", "open")]
    entry = desk.entry("b")
    assert entry.limit is not None
    assert entry.limit.rpm == 1


def test_a_name_that_is_taken_is_a_conflict() -> None:
    desk = Desk(p("a"))
    again = ProviderSettings(name="a", kind="simulated", models=("x",))
    with pytest.raises(Conflict, match="the name 'a' is taken"):
        desk.manager.add(again)
    assert not desk.manager.serves("x")


# --- what a provider inherits ------------------------------------------------------------------


def test_a_providers_circuit_inherits_what_it_does_not_set() -> None:
    config = Config.model_validate(
        {
            "circuit": {"fail_max": 9, "reset_timeout_s": 7, "max_cooldown_s": 11},
            "providers": [p("a", circuit={"fail_max": 2}), p("b"), p("c", circuit={})],
        }
    )
    first, second, third = (config.circuit_of(each) for each in config.providers)
    assert (first.fail_max, first.reset_timeout_s, first.max_cooldown_s) == (2, 7, 11)
    assert second == third == config.circuit


def test_clocks_are_the_engines_where_a_provider_sets_none() -> None:
    desk = Desk(p("a", idle_timeout_s=3), engine={"idle_timeout_s": 30, "reply_timeout_s": 50})
    clocks = desk.entry("a").clocks
    assert (clocks.idle_timeout_s, clocks.reply_timeout_s) == (3, 50)
    assert clocks.first_token_timeout_s == 60


def test_a_limited_provider_is_waited_for() -> None:
    desk = Desk(p("a", rpm=1), p("b", rpm=1))
    for name, at in (("a", NOW), ("b", NOW + 10)):
        limit = desk.entry(name).limit
        assert limit is not None
        limit.admit(at, 0)
    cause = desk.check(now=NOW + 20)
    assert (cause.kind, cause.target, cause.until) == (CauseKind.RATE, "a", NOW + 60)
    assert desk.check(now=NOW + 60) is None
