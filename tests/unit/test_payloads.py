"""The edge: what events may carry, what is refused and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from ksi_tui.engine.errors import InvalidRequest
from ksi_tui.engine.injection.payloads import ProcessResult
from ksi_tui.engine.injection.policy import ChainBounds, InjectionTerms, InjectMode, Position
from ksi_tui.engine.models import OnConflict, Priority, RequestSpec
from ksi_tui.engine.payloads import (
    AcquireLock,
    BreakerConfig,
    Cancel,
    Completion,
    ReleaseLock,
    Results,
    Retry,
    TokenUsage,
    parse,
)


def completion(**data: Any) -> Completion:
    return parse(Completion, {"prompt": "p", **data}, "completion:async")


def spec(*, inject: bool = False, **data: Any) -> RequestSpec:
    asked = completion(**data)
    return asked.spec(
        request_id="r-1",
        session_id=asked.session_id or "own",
        model="m",
        timeout_s=900,
        max_attempts=3,
        lock_timeout_s=300,
        inject=inject,
    )


def refused(model: type[Any], data: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        parse(model, data, "some:event")
    assert str(caught.value).startswith("some:event: ")
    return str(caught.value)


# --- completions --------------------------------------------------------------------------


def test_defaults_are_the_settings() -> None:
    plain = spec()
    assert (plain.model, plain.timeout_s, plain.max_attempts) == ("m", 900, 3)
    assert (plain.session_id, plain.priority, plain.stream) == ("own", Priority.NORMAL, None)
    assert plain.history
    assert plain.lock is None
    assert plain.params == {}


def test_what_is_given_wins() -> None:
    given = spec(
        model="m",
        session_id="s",
        agent_id="a",
        client_id="c",
        priority="low",
        stream=False,
        timeout_s=5,
        max_attempts=1,
        history="none",
        temperature=0,
        max_tokens=7,
        tools=[{"type": "function"}],
        extra_body={"x": 1},
        metadata={"y": 2},
    )
    assert (given.model, given.session_id, given.agent_id, given.client_id) == ("m", "s", "a", "c")
    assert (given.priority, given.stream, given.timeout_s) == (Priority.LOW, False, 5)
    assert (given.max_attempts, given.history) == (1, False)
    assert given.params == {
        "temperature": 0,
        "max_tokens": 7,
        "tools": [{"type": "function"}],
        "extra_body": {"x": 1},
    }
    assert given.metadata == {"y": 2}


def test_inject_is_a_priority_that_no_caller_can_name() -> None:
    assert spec(inject=True).priority is Priority.INJECT
    assert "priority" in refused(Completion, {"prompt": "p", "priority": "inject"})


def test_older_spellings_are_understood() -> None:
    old = spec(conversation_id="s", originator_id="a", conversation_lock={"timeout": 9})
    assert (old.session_id, old.agent_id) == ("s", "a")
    assert old.lock is not None
    assert (old.lock.timeout_s, old.lock.on_conflict) == (9, OnConflict.WAIT)
    both = spec(session_id="s", conversation_id="s", agent_id="a", originator_id="c")
    assert (both.session_id, both.agent_id, both.client_id) == ("s", "a", "c")
    assert (old.client_id, spec(client_id="d", originator_id="c").client_id) == ("a", "d")
    lock = parse(AcquireLock, {"conversation_id": "s", "originator_id": "a", "timeout": 3}, "e")
    assert (lock.session_id, lock.agent_id, lock.timeout_s) == ("s", "a", 3)


def test_the_older_metadata_of_a_result_wrap_both_configs() -> None:
    wrapped = {"injection_config": {"mode": "direct"}, "circuit_breaker_config": {"max_depth": 2}}
    given = spec(injection_metadata=wrapped)
    assert given.injection == InjectionTerms(mode=InjectMode.DIRECT)
    assert given.chain == ChainBounds(max_depth=2)
    asked = {"request_id": "r", "result": "text", "injection_metadata": wrapped}
    assert parse(ProcessResult, asked, "e").circuit_breaker_config == BreakerConfig(max_depth=2)
    twice = {"prompt": "p", "injection_config": {}, "injection_metadata": wrapped}
    assert "injection_config is given twice" in refused(Completion, twice)


def test_null_is_the_default_of_what_has_one() -> None:
    given = spec(priority=None, history=None, stream=None, max_tokens=None)
    assert (given.priority, given.history) == (Priority.NORMAL, True)


def test_an_injection_has_the_contracts_defaults_or_is_switched_off() -> None:
    assert spec().injection is None
    assert spec(injection_config={}).injection == InjectionTerms()
    assert spec(injection_config={"enabled": False}).injection is None
    given = spec(
        injection_metadata={
            "mode": "direct",
            "position": "postscript",
            "target_sessions": ["originating", "b"],
            "trigger_type": "done",
            "follow_up_guidance": "go on",
            "ttl_s": 60,
        }
    )
    assert given.injection == InjectionTerms(
        mode=InjectMode.DIRECT,
        position=Position.POSTSCRIPT,
        targets=("originating", "b"),
        trigger_type="done",
        follow_up_guidance="go on",
        ttl_s=60,
    )
    alone = spec(injection_config={"target_sessions": "originating"}).injection
    assert alone == InjectionTerms()


def test_the_bounds_of_a_chain_have_the_contracts_defaults() -> None:
    assert spec().chain is None
    assert spec(circuit_breaker_config={}).chain == ChainBounds()
    given = completion(circuit_breaker_config={"max_depth": 2, "parent_request_id": "r-0"})
    assert given.parent_request_id == "r-0"
    assert completion().parent_request_id is None


def test_a_lock_takes_the_default_hold_or_is_switched_off() -> None:
    taken = spec(agent_id="a", conversation_lock={"on_conflict": "fail"}).lock
    assert taken is not None
    assert (taken.timeout_s, taken.on_conflict) == (300, OnConflict.FAIL)
    assert spec(conversation_lock={"enabled": False}).lock is None


def test_mcp_is_asked_for_in_the_extra_body() -> None:
    assert spec(extra_body={"ksi": {"mcp_config_path": "/m.json"}}).needs_mcp
    assert not spec(extra_body={"ksi": {"mcp_config_path": ""}}).needs_mcp
    assert not spec(extra_body={"ksi": "odd"}).needs_mcp


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "exactly one of prompt and messages"),
        ({"prompt": "p", "messages": [{"role": "user"}]}, "exactly one of prompt and messages"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, "messages.0"),
        ({"messages": [{"content": "hi"}]}, "message 0 has no role"),
        ({"prompt": "p", "promt": "q"}, "unknown key 'promt'"),
        ({"prompt": "p", "conversation_lock": {"held": 1}}, "unknown key 'conversation_lock.held'"),
        ({"prompt": "p", "injection_config": {"to": 1}}, "unknown key 'injection_config.to'"),
        ({"prompt": "p", "injection_config": {}, "injection_metadata": {}}, "injection_metadata"),
        (
            {"prompt": "p", "injection_config": {"target_sessions": ["s"] * 21}},
            "injection_config.target_sessions: List should have at most 20 items",
        ),
        (
            {"prompt": "p", "injection_config": {"trigger_type": "a\nb"}},
            "injection_config.trigger_type",
        ),
        ({"prompt": "p", "circuit_breaker_config": {"max_depth": 0}}, "max_depth"),
        ({"prompt": "p", "conversation_lock": {}}, "conversation_lock needs agent_id"),
        ({"prompt": "p", "session_id": ""}, "session_id"),
        ({"prompt": "p", "session_id": "a\nb"}, "session_id"),
        ({"prompt": "p", "request_id": "x" * 201}, "request_id"),
        ({"prompt": "p", "request_id": 5}, "request_id"),
        ({"prompt": "p", "timeout_s": 0}, "timeout_s"),
        ({"prompt": "p", "timeout_s": float("inf")}, "timeout_s"),
        ({"prompt": "p", "timeout_s": float("nan")}, "timeout_s"),
        ({"prompt": "p", "max_attempts": 0}, "max_attempts"),
        ({"prompt": "p", "temperature": -1}, "temperature"),
        ({"prompt": "p", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "p", "max_tokens": True}, "max_tokens"),
        ({"prompt": "p", "max_tokens": "12"}, "max_tokens"),
        ({"prompt": "p", "max_attempts": "2"}, "max_attempts"),
        ({"prompt": "p", "timeout_s": "5"}, "timeout_s"),
        ({"prompt": "p", "stream": "yes"}, "stream"),
        ({"prompt": "p", "history": "all"}, "history"),
        ({"prompt": "p", "priority": "urgent"}, "priority"),
        ({"prompt": "p", "metadata": []}, "metadata"),
        ({"prompt": "p", "metadata": {"x": object()}}, "metadata: not plain JSON"),
        ({"prompt": "p", "metadata": {"x": _nested(101)}}, "metadata: nested too deep: 100 levels"),
        ({"prompt": "p", "metadata": {"x": {1}}}, "metadata: not plain JSON"),
        ({"prompt": "p", "metadata": {"x": float("nan")}}, "metadata: not plain JSON"),
        ({"prompt": "p", "extra_body": {"x": b"x"}}, "extra_body: not plain JSON"),
        ({"messages": [{"role": "user", "content": {1, 2}}]}, "messages: not plain JSON"),
        ({"prompt": "lone \ud800"}, "prompt"),
        ({1: 2, "prompt": "p"}, "1"),
    ],
)
def test_what_is_wrong_is_named(data: dict[Any, Any], says: str) -> None:
    assert says in refused(Completion, data)


def test_an_unknown_key_is_answered_with_those_that_are_known() -> None:
    text = refused(Completion, {"prompt": "p", "sesion_id": "s"})
    assert "session_id" in text.partition("allowed:")[2]


def test_unknown_keys_are_free_where_they_belong_to_others() -> None:
    assert completion(metadata={"anything": 1}, extra_body={"top_k": 3}).extra_body == {"top_k": 3}


def test_what_is_nested_beyond_reason_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(50_000):
        deep = {"a": deep}
    assert "metadata: not plain JSON" in refused(Completion, {"prompt": "p", "metadata": deep})


def test_what_was_found_is_shown_shortened() -> None:
    text = refused(Completion, {"prompt": "p", "max_tokens": "x" * 10_000})
    assert len(text) < 400


# --- the other events ---------------------------------------------------------------------


@pytest.mark.parametrize("model", [Cancel, Retry])
def test_one_target(model: type[Any]) -> None:
    assert parse(model, {"request_id": "r"}, "e").request_id == "r"
    assert parse(model, {"session_id": "s"}, "e").session_id == "s"
    for wrong in ({}, {"request_id": "r", "session_id": "s"}):
        assert "exactly one of request_id, request_ids and session_id" in refused(model, wrong)


def test_a_lock_is_released_by_somebody_or_by_force() -> None:
    assert parse(ReleaseLock, {"session_id": "s", "force": True}, "e").agent_id is None
    assert "give agent_id" in refused(ReleaseLock, {"session_id": "s"})
    assert "session_id is missing" in refused(AcquireLock, {"agent_id": "a"})


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (Results, {"after": -1}),
        (Results, {"after": 2**63}),
        (Results, {"limit": 0}),
        (Results, {"status": "queued"}),
        (TokenUsage, {"hours": 0}),
        (TokenUsage, {"hours": float("inf")}),
        (TokenUsage, {"bucket_minutes": 0}),
        (TokenUsage, {"bucket_minutes": 1.5}),
    ],
)
def test_questions_have_bounds(model: type[Any], data: dict[str, Any]) -> None:
    assert next(iter(data)) in refused(model, data)
