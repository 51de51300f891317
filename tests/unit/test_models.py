"""The engine's values."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine import models
from ksi_tui.engine.models import CallRecord, Outcome, Priority, RequestSpec, State, Usage

counts = st.integers(0, 10**12)
usages = st.builds(
    Usage,
    input=counts,
    cache_read=counts,
    cache_write=counts,
    output=counts,
    reasoning=counts,
    estimated=st.booleans(),
)


@given(usages, usages, usages)
def test_usage_adds_up(first: Usage, second: Usage, third: Usage) -> None:
    assert (first + second).total == first.total + second.total
    assert first + second == second + first
    assert (first + second) + third == first + (second + third)
    assert first + Usage() == first
    assert sum([first, second, third], Usage()) == first + second + third


@given(usages)
def test_a_total_is_its_five_buckets(usage: Usage) -> None:
    buckets = [getattr(usage, f.name) for f in dataclasses.fields(usage) if f.name != "estimated"]
    assert len(buckets) == 5
    assert usage.total == sum(buckets)


@given(usages, usages)
def test_an_estimate_stays_one_in_a_sum(first: Usage, second: Usage) -> None:
    assert (first + second).estimated is (first.estimated or second.estimated)


def test_final_states() -> None:
    assert {state for state in State if state.final} == {
        State.COMPLETED,
        State.FAILED,
        State.CANCELLED,
    }


def test_priorities_in_the_contracts_order() -> None:
    ordered = sorted(Priority, key=lambda priority: priority.rank)
    assert [priority.value for priority in ordered] == [
        "critical",
        "high",
        "inject",
        "normal",
        "low",
        "background",
    ]
    assert len({priority.rank for priority in Priority}) == len(Priority)


def test_an_injection_is_of_normals_class_among_sessions() -> None:
    levels = {priority.value: priority.level for priority in Priority}
    assert levels == {
        "critical": 0,
        "high": 1,
        "inject": 2,
        "normal": 2,
        "low": 3,
        "background": 4,
    }


@pytest.mark.parametrize(
    ("params", "needs"),
    [
        ({}, False),
        ({"extra_body": None}, False),
        ({"extra_body": {"ksi": "text"}}, False),
        ({"extra_body": {"ksi": {"mcp_config_path": ""}}}, False),
        ({"extra_body": {"mcp_config_path": "x.json"}}, False),
        ({"extra_body": {"ksi": {"mcp_config_path": "x.json"}}}, True),
    ],
)
def test_who_needs_mcp(params: dict[str, Any], needs: bool) -> None:
    spec = RequestSpec(request_id="r", session_id="s", model="m", prompt="p", params=params)
    assert spec.needs_mcp is needs


def test_only_the_answer_is_no_waste() -> None:
    made = {outcome: _call(outcome).waste for outcome in Outcome}
    assert [outcome for outcome, waste in made.items() if not waste] == [Outcome.ANSWERED]


def _call(outcome: Outcome) -> CallRecord:
    return CallRecord(
        request_id="r",
        attempt=1,
        ordinal=1,
        provider="p",
        model="m",
        agent_id=None,
        session_id="s",
        started_at=1.0,
        finished_at=2.0,
        outcome=outcome,
    )


VALUES = [
    value
    for value in vars(models).values()
    if dataclasses.is_dataclass(value) and isinstance(value, type)
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.__name__)
def test_values_are_frozen_slotted_and_named(value: type) -> None:
    parameters = value.__dataclass_params__  # type: ignore[attr-defined]
    assert parameters.frozen
    assert "__slots__" in vars(value)
    assert all(item.kw_only for item in dataclasses.fields(value))
