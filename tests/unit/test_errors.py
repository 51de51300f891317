"""The error tree and its table, held against contract sections 2 and 4."""

from __future__ import annotations

import inspect
import re

import pytest

from ksi_tui.engine import errors
from ksi_tui.engine.errors import (
    POLICY,
    CircuitEffect,
    ErrorKind,
    EventError,
    KsiError,
    ProviderFault,
    circuit_effect,
)
from ksi_tui.engine.models import Usage

NEUTRAL, COUNTS, OPENS = CircuitEffect.NEUTRAL, CircuitEffect.COUNTS, CircuitEffect.OPENS

CONTRACT: dict[str, tuple[bool, bool, CircuitEffect]] = {
    "api_rate_limit": (True, True, NEUTRAL),
    "quota_exceeded": (False, True, OPENS),
    "timeout": (True, True, COUNTS),
    "deadline_exceeded": (False, False, NEUTRAL),
    "network_error": (True, True, COUNTS),
    "provider_error": (True, True, COUNTS),
    "auth_error": (False, True, OPENS),
    "model_not_found": (False, True, NEUTRAL),
    "invalid_request": (False, False, NEUTRAL),
    "context_window": (False, False, NEUTRAL),
    "content_policy": (False, False, NEUTRAL),
    "temporary_failure": (True, True, COUNTS),
    "lock_denied": (False, False, NEUTRAL),
    "daemon_restart": (True, False, NEUTRAL),
    "worker_lost": (True, False, NEUTRAL),
    "cancelled": (False, False, NEUTRAL),
}


def test_every_kind_has_its_line() -> None:
    found = {
        kind.value: (line.retried, line.fails_over, line.circuit) for kind, line in POLICY.items()
    }
    assert found == CONTRACT
    assert set(POLICY) == set(ErrorKind)


def test_only_rate_limits_cool_down_and_only_two_are_interruptions() -> None:
    assert [kind for kind, line in POLICY.items() if line.cools_down] == [ErrorKind.API_RATE_LIMIT]
    assert {kind for kind, line in POLICY.items() if line.interruption} == {
        ErrorKind.DAEMON_RESTART,
        ErrorKind.WORKER_LOST,
    }


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        POLICY[ErrorKind.TIMEOUT] = POLICY[ErrorKind.CANCELLED]  # type: ignore[index]


@pytest.mark.parametrize(
    ("kind", "status", "effect"),
    [
        (ErrorKind.AUTH_ERROR, 401, OPENS),
        (ErrorKind.AUTH_ERROR, None, OPENS),
        (ErrorKind.AUTH_ERROR, 403, NEUTRAL),
        (ErrorKind.QUOTA_EXCEEDED, 429, OPENS),
        (ErrorKind.QUOTA_EXCEEDED, 403, OPENS),
        (ErrorKind.API_RATE_LIMIT, 429, NEUTRAL),
        (ErrorKind.PROVIDER_ERROR, 503, COUNTS),
        (ErrorKind.INVALID_REQUEST, 400, NEUTRAL),
    ],
)
def test_what_a_failure_means_to_the_circuit(
    kind: ErrorKind, status: int | None, effect: CircuitEffect
) -> None:
    assert circuit_effect(kind, status) is effect


def test_reply_codes_are_the_contracts() -> None:
    codes = {each.code for each in EventError.__subclasses__()}
    assert codes == {
        "invalid_request",
        "not_found",
        "not_ready",
        "queue_full",
        "no_provider",
        "lock_denied",
        "conflict",
    }
    assert all(isinstance(each("why"), KsiError) for each in EventError.__subclasses__())


def test_the_tree_at_the_top_is_the_tree() -> None:
    tree = inspect.getdoc(errors)
    assert tree is not None
    drawn = re.findall(r"^[│ ]*[├└]── (\w+)", tree, re.MULTILINE)
    raised = [
        value.__name__
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, KsiError) and value is not KsiError
    ]
    assert sorted(drawn) == sorted(raised)


def test_a_fault_carries_what_was_consumed() -> None:
    usage = Usage(input=3)
    fault = ProviderFault(
        ErrorKind.TIMEOUT,
        "no first token in 30 s",
        status=408,
        retry_after_s=2.5,
        usage=usage,
        cost=0.1,
        price_version="litellm 1",
    )
    assert str(fault) == fault.message == "no first token in 30 s"
    assert (fault.kind, fault.status, fault.retry_after_s) == (ErrorKind.TIMEOUT, 408, 2.5)
    assert (fault.usage, fault.cost, fault.price_version) == (usage, 0.1, "litellm 1")
    bare = ProviderFault(ErrorKind.PROVIDER_ERROR, "bad")
    assert (bare.status, bare.retry_after_s, bare.usage, bare.cost) == (None, None, None, None)
