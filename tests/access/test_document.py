"""`docs/network.md` says of roles, limits and metrics what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ksi_tui.access.limits import Limits
from ksi_tui.access.roles import EVENT_ROLES, LOCAL_ONLY, Role
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.gateway.faults import broken_off, fault_of_kind, fault_of_reply
from ksi_tui.metrics.exposition import Metrics
from tests.access.listener import engine_config

TEXT = (Path(__file__).parents[2] / "docs" / "network.md").read_text(encoding="utf-8")


def row(name: str) -> str:
    return next(line for line in TEXT.splitlines() if line.startswith(f"| {name}"))


@pytest.mark.parametrize("role", list(Role))
def test_it_names_every_event_of_a_role(role: Role) -> None:
    told = set(re.findall(r"`([a-z]+:[a-z_]+)`", row(role.value)))
    assert told == {n for n, r in EVENT_ROLES.items() if r is role} - LOCAL_ONLY
    assert all(f"`{name}`" in TEXT for name in LOCAL_ONLY)


async def test_it_names_every_metric_with_its_type(tmp_path: Path) -> None:
    async with Metrics(CompletionEngine(engine_config(tmp_path))) as metrics:
        families = list(text_string_to_metric_families(metrics.exposed()[0].decode()))
    exposed = {
        (f"{family.name}_total" if family.type == "counter" else family.name, family.type)
        for family in families
        if family.name.startswith("ksi_")
    }
    told = re.findall(r"^\| `(ksi_\w+)` \| (\w+) \|", TEXT, flags=re.MULTILINE)
    assert set(told) == exposed
    assert len(told) == len(exposed)


def test_its_numbers_are_the_limits() -> None:
    limits, loopback = Limits(), Limits.on_loopback()
    assert f"over {limits.body_bytes // 2**20} MiB" in row("413")
    assert f"headers over {limits.header_bytes // 1024} KiB or {limits.header_count}" in row("413")
    assert f"longer than {limits.body_s:.0f} s" in row("408")
    assert f"longer than {limits.head_s:.0f} s" in row("408")
    assert f"over {limits.requests_per_s:,.0f} requests a second" in row("429")
    assert f"({loopback.requests_per_s:,.0f} without" in row("429")


def test_it_names_every_way_in_which_a_completion_fails() -> None:
    told = re.findall(r"^\| (\d{3}) \| `(\w+)` \| (.*) \|$", TEXT, flags=re.MULTILINE)
    says = {(int(status), code): text for status, code, text in told}
    assert len(says) == len(told)
    for kind in ErrorKind:
        fault = fault_of_kind(kind, "")
        assert kind in says[fault.status, fault.code], f"{kind} ends as {fault.code}"
    for code in ("conflict", "queue_full", "not_ready", "no_provider"):
        fault = fault_of_reply({"code": code})
        assert (fault.status, fault.code) in says
    assert (broken_off().status, broken_off().code) in says
