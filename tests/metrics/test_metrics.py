"""The metrics, read by Prometheus's own parser, are what the engine did and how it is."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from ksi_tui import __version__
from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine, events
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.events import Router
from ksi_tui.metrics.counting import MOST_MODELS
from ksi_tui.metrics.exposition import Metrics
from ksi_tui.metrics.labels import OTHER, Bounded, OneOf
from tests.engine.engine_fixtures import (
    Rig,
    answers,
    config,
    fails,
    held,
    provider,
    running,
    until,
)


def scrape(metrics: Metrics) -> dict[str, dict[str, float]]:
    """Return every sample by name and then by its labels, as `a=1,b=2`."""
    body, _ = metrics.exposed()
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            of = found.setdefault(sample.name, {})
            assert labels not in of, f"{sample.name} has {labels} twice"
            of[labels] = sample.value
    return found


@asynccontextmanager
async def counted(settings: Config) -> AsyncIterator[tuple[Rig, Metrics]]:
    async with running(settings) as rig, Metrics(rig.engine, lambda: 3) as metrics:
        yield rig, metrics


# --- what happened --------------------------------------------------------------------------


async def test_requests_are_counted_by_how_they_ended(tmp_path: Path) -> None:
    async with counted(config(tmp_path, retry={"max_attempts": 1})) as (rig, metrics):
        for _ in range(3):
            await rig.ended(await rig.submit())
        rig.p.script = fails(ErrorKind.TIMEOUT)
        await rig.ended(await rig.submit())
        rig.p.script = held
        gone = await rig.submit()
        await rig.calls(5)
        await rig.emit("completion:cancel", request_id=gone)
        await rig.event(events.UPSTREAM_CLOSED, gone)
        found = scrape(metrics)
    assert found["ksi_requests_accepted_total"] == {"": 5}
    assert found["ksi_requests_total"] == {
        "kind=,outcome=completed": 3,
        "kind=timeout,outcome=failed": 1,
        "kind=,outcome=cancelled": 1,
    }
    ended = {"answered": 3, "failed": 1, "cancelled": 1, "sent_elsewhere": 0, "interrupted": 0}
    assert found["ksi_calls_total"] == {
        f"model=m1,outcome={outcome},provider=p": count for outcome, count in ended.items()
    }


async def test_tokens_and_cost_are_those_of_all_calls(tmp_path: Path) -> None:
    prices = {"m1": {"input": 100, "output": 1000}}
    async with counted(config(tmp_path, prices=prices)) as (rig, metrics):
        await rig.ended(await rig.submit(), await rig.submit())
        await rig.ended(await rig.submit(model="m2"))
        found = scrape(metrics)
        usage = await rig.emit("completion:token_usage", model="m1")
    tokens = found["ksi_tokens_total"]
    assert tokens["direction=input,model=m1,provider=p"] == usage["usage"]["input_tokens"] == 14
    assert tokens["direction=output,model=m1,provider=p"] == usage["usage"]["output_tokens"] == 6
    assert tokens["direction=input,model=m2,provider=p"] == 7
    assert sum(tokens.values()) == 30
    cost = found["ksi_cost_dollars_total"]
    assert math.isclose(cost["model=m1,provider=p"], usage["usage"]["cost"])
    assert math.isclose(cost["model=m1,provider=p"], (14 * 100 + 6 * 1000) / 1e6)
    assert cost["model=m2,provider=p"] == 0
    unpriced = found["ksi_calls_unpriced_total"]
    assert unpriced == {"model=m1,provider=p": 0, "model=m2,provider=p": 1}


async def test_histograms_hold_each_answer_once(tmp_path: Path) -> None:
    async with counted(config(tmp_path)) as (rig, metrics):
        ids = [await rig.submit() for _ in range(4)]
        await rig.ended(*ids)
        told = [event["result"]["ksi"] for event in rig.events(events.RESULT)]
        found = scrape(metrics)
    duration = found["ksi_completion_duration_seconds_count"]
    assert duration == {"model=m1,provider=p": 4}
    total = found["ksi_completion_duration_seconds_sum"]["model=m1,provider=p"]
    assert math.isclose(total, sum(each["duration_ms"] for each in told) / 1000, abs_tol=1e-9)
    buckets = found["ksi_completion_duration_seconds_bucket"]
    assert buckets["le=+Inf,model=m1,provider=p"] == 4
    ordered = [buckets[key] for key in sorted(buckets, key=bound_of)]
    assert ordered == sorted(ordered)
    first = [each for each in told if each["ttft_ms"] is not None]
    assert sum(found.get("ksi_first_token_seconds_count", {}).values()) == len(first)


def bound_of(labels: str) -> float:
    found = re.search(r"le=([^,]+)", labels)
    assert found is not None
    return float(found[1].replace("+Inf", "inf"))


async def test_retries_failovers_and_circuits_are_counted(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        providers=[
            provider("a", priority=1, circuit={"fail_max": 2, "reset_timeout_s": 300}),
            provider("b", priority=2),
        ],
        retry={"max_attempts": 2},
    )
    async with counted(settings) as (rig, metrics):
        rig.providers["a"].script = fails(ErrorKind.TIMEOUT)
        await rig.ended(await rig.submit())
        rig.providers["b"].script = fails(ErrorKind.NETWORK_ERROR)
        await rig.ended(await rig.submit())
        found = scrape(metrics)
        retried = rig.events(events.RETRYING)
        changed = rig.events(events.CIRCUIT)
    assert found["ksi_failovers_total"]["provider=b"] >= 2
    assert sum(found["ksi_retries_total"].values()) == len(retried) == 1
    assert sum(found["ksi_circuit_changes_total"].values()) == len(changed) >= 1
    assert found["ksi_circuit_state"]["provider=a,state=open"] == 1
    assert found["ksi_circuit_state"]["provider=a,state=closed"] == 0
    assert found["ksi_circuit_state"]["provider=b,state=closed"] == 1
    assert found["ksi_wasted_tokens_total"].keys() == found["ksi_cost_dollars_total"].keys()


# --- how it is ------------------------------------------------------------------------------


async def test_gauges_are_those_of_the_moment(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"max_concurrency": 1})
    async with counted(settings) as (rig, metrics):
        before = scrape(metrics)
        rig.p.script = held
        ids = [await rig.submit(f"p{n}") for n in range(3)]
        await rig.calls(1)
        await rig.emit("conversation:acquire_lock", session_id="s", agent_id="a")
        found = scrape(metrics)
        for each in list(rig.p.calls):
            each.go.set()
        rig.p.script = answers
        await rig.ended(*ids)
        await rig.emit("queue:pause", scope="engine")
        after = scrape(metrics)
    idle = {"ksi_requests_in_flight": 0, "ksi_requests_queued": 0, "ksi_conversation_locks": 0}
    busy = {"ksi_requests_in_flight": 1, "ksi_requests_queued": 2, "ksi_conversation_locks": 1}
    assert {name: before[name][""] for name in idle} == idle
    assert {name: found[name][""] for name in busy} == busy
    assert found["ksi_provider_in_flight"] == {"provider=p": 1}
    assert found["ksi_queue_oldest_wait_seconds"][""] > 0
    assert before["ksi_queue_oldest_wait_seconds"][""] == 0
    assert found["ksi_concurrency_limit"][""] == 1
    assert found["ksi_attached_clients"][""] == 3
    assert before["ksi_engine_state"]["state=ok"] == 1
    assert after["ksi_engine_state"]["state=paused"] == 1
    assert after["ksi_engine_state"]["state=ok"] == 0
    assert after["ksi_pauses"][""] == 1
    assert after["ksi_requests_queued"][""] == 0
    assert before["ksi_build_info"] == {f"version={__version__}": 1}
    assert before["process_resident_memory_bytes"][""] > 1e6


async def test_a_scrape_of_an_engine_that_has_ended_is_no_fault(tmp_path: Path) -> None:
    settings = config(tmp_path)
    async with running(settings) as rig:
        metrics = Metrics(rig.engine)
        await metrics.__aenter__()
        await rig.ended(await rig.submit())
    found = scrape(metrics)
    await metrics.__aexit__()
    assert found["ksi_engine_state"]["state=stopping"] == 1
    assert found["ksi_requests_total"]["kind=,outcome=completed"] == 1


# --- conventions ----------------------------------------------------------------------------


async def test_names_helps_and_types_are_by_the_conventions(tmp_path: Path) -> None:
    async with counted(config(tmp_path)) as (rig, metrics):
        await rig.ended(await rig.submit())
        body, kind = metrics.exposed()
        open_body, open_kind = metrics.exposed("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("text/plain; version=0.0.4")
    assert open_kind.startswith("application/openmetrics-text; version=1.0.0")
    families = list(text_string_to_metric_families(body.decode()))
    opened = openmetrics(open_body.decode())  # type: ignore[no-untyped-call]
    assert {each.name for each in opened} == {each.name for each in families}
    for family in families:
        assert family.documentation.endswith("."), family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
        assert re.fullmatch(r"(ksi|process)_[a-z_]+", family.name), family.name
        names = {sample.name for sample in family.samples}
        assert not [name for name in names if name.endswith("_created")]
        if family.type == "counter":
            assert all(name.endswith("_total") for name in names), family.name
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
        assert not re.search(r"_(ms|milliseconds|percent|kb|minutes)\b", family.name)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/html",
        "application/openmetrics-text; version=nonsense",
        "application/openmetrics-text; version=9.9.9; escaping=odd",
        "text/plain; =;,;",
        "\udcff",
    ],
)
async def test_whatever_is_accepted_is_answered(tmp_path: Path, accept: str) -> None:
    async with counted(config(tmp_path)) as (_, metrics):
        body, kind = metrics.exposed(accept)
    assert body
    assert "\n" not in kind
    kind.encode("ascii")


# --- bounds ---------------------------------------------------------------------------------


def test_a_label_keeps_its_first_values_and_the_rest_is_other() -> None:
    label = Bounded(2)
    found = [label(each) for each in ("", "a", "b", "c", "a", None)]
    assert found == [OTHER, "a", "b", OTHER, "a", OTHER]
    assert label("x" * 1000) == OTHER


def test_what_a_label_holds_can_be_written() -> None:
    label = Bounded(10)
    assert label("a\nb\x1b[31m\u202e") == "a?b?[31m?"
    label("\udcff").encode()
    assert len(label("y" * 1000)) == 100


def test_a_label_of_known_values_has_no_others() -> None:
    kind = OneOf(ErrorKind)
    assert kind(ErrorKind.TIMEOUT) == kind("timeout") == "timeout"
    assert kind("made up") == OTHER


async def test_a_thousand_models_are_a_bounded_number_of_series(tmp_path: Path) -> None:
    async with counted(config(tmp_path)) as (rig, metrics):
        ids = [await rig.submit(model=f'm-{n}-"odd"\\') for n in range(MOST_MODELS + 30)]
        await rig.ended(*ids)
        found = scrape(metrics)
    series = found["ksi_completion_duration_seconds_count"]
    assert len(series) == MOST_MODELS + 1
    assert series[f"model={OTHER},provider=p"] == 30
    assert found["ksi_tokens_total"][f"direction=input,model={OTHER},provider=p"] == 30 * 7
    assert sum(found["ksi_calls_total"].values()) == MOST_MODELS + 30


async def test_what_was_lost_still_counts_under_its_name(tmp_path: Path) -> None:
    router = Router(lambda: 1.0)

    class Client:
        async def emit(self, name: str, data: Any = None) -> dict[str, Any]:
            raise AssertionError(name)

        def subscribe(self, pattern: str = "*") -> Any:
            return router.subscribe(pattern, {}, capacity=10)

        def snapshot(self, query: Any = None) -> Any:
            return quiet.snapshot(query)

    quiet = CompletionEngine(config(tmp_path))
    async with Metrics(Client()) as metrics:
        for number in range(25):
            router.publish(events.CANCELLED, {"request_id": f"r-{number}"})
        found = scrape(metrics)
    assert found["ksi_requests_total"]["kind=,outcome=cancelled"] == 25
    assert found["ksi_events_lost_total"][""] == 15


async def test_counting_goes_on_without_a_scrape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ksi_tui.metrics.exposition.COUNT_EVERY_S", 0.001)
    async with counted(config(tmp_path)) as (rig, metrics):
        await rig.ended(await rig.submit())
        counting = metrics._counting
        assert counting is not None
        subscription = counting._subscriptions[events.RESULT]
        await until(lambda: not subscription._buffer, "all is counted")


async def test_one_that_cannot_be_counted_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ksi_tui.metrics.exposition.COUNT_EVERY_S", 0.001)
    async with counted(config(tmp_path)) as (rig, metrics):
        rig.engine._router.publish(events.RESULT, {"request_id": "odd"})
        await until(lambda: "could not be counted" in caplog.text, "it is recorded")
        await rig.ended(await rig.submit())
        found = scrape(metrics)
    assert found["ksi_completion_duration_seconds_count"]["model=m1,provider=p"] == 1


async def test_it_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        before = len(rig.engine._router._subscriptions)
        async with Metrics(rig.engine):
            assert len(rig.engine._router._subscriptions) > before
        assert len(rig.engine._router._subscriptions) == before
        names = {task.get_name() for task in asyncio.all_tasks()}
    assert "metrics" not in names
