"""`completion:series` and the groups of `completion:token_usage`: they are the calls' own sums."""

from __future__ import annotations

import math
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksi_tui.engine.clock import iso
from ksi_tui.engine.errors import ErrorKind, InvalidRequest
from ksi_tui.engine.models import CallRecord, Outcome, Usage
from ksi_tui.engine.payloads import TokenUsage
from ksi_tui.engine.store import migrations
from ksi_tui.engine.store.base import CallBooked, UsageFolded
from ksi_tui.engine.store.columns import call_row
from ksi_tui.engine.store.records import UsageQuery
from ksi_tui.engine.store.series import SeriesQuery
from ksi_tui.engine.store.sqlite import open_store
from ksi_tui.engine.usage_groups import usage_groups
from ksi_tui.engine.usage_payloads import Series
from ksi_tui.engine.usage_series import Steps, series_report
from tests.engine.engine_fixtures import config, provider
from tests.engine.store_values import accepted, call
from tests.engine.telling import Step, told
from tests.engine.test_store_usage import MIDNIGHT, _sum, calls

NOW = MIDNIGHT + 200_000.0
windows = st.builds(
    Series,
    hours=st.sampled_from([0.25, 1, 6.5, 24, 168]),
    by=st.sampled_from([None, "model", "provider"]),
    points=st.integers(2, 300),
    limit=st.integers(1, 3),
)


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _amounts(
    reply: dict[str, Any], rates: Sequence[float | None], per_s: float = 1.0
) -> list[float]:
    """Return what was summed in each step, from its rate; nan where that is unknown."""
    widths = [reply["step_s"]] * (len(rates) - 1) + [reply["last_s"]]
    return [
        math.nan if rate is None else rate * width / per_s
        for rate, width in zip(rates, widths, strict=True)
    ]


def _check(reply: dict[str, Any], lists: dict[str, Any], chosen: Sequence[CallRecord]) -> None:
    """One series of a reply is the sum of these calls, in all and step by step."""
    start, step = _epoch(reply["start"]), reply["step_s"]
    for index in range(len(lists["tokens"])):
        low = start + index * step
        sums = _sum(one for one in chosen if low <= one.finished_at < low + step)
        used = sums.usage

        def amount(name: str, per_s: float = 1.0, index: int = index) -> float:
            return _amounts(reply, lists[name], per_s)[index]

        assert amount("tokens") == pytest.approx(used.output + used.reasoning, abs=1e-3)
        taken_in = used.input + used.cache_read + used.cache_write
        assert amount("input") == pytest.approx(taken_in, abs=1e-3)
        assert amount("requests") == pytest.approx(sums.requests, abs=1e-3)
        assert amount("errors") == pytest.approx(sums.failed_calls, abs=1e-3)
        if sums.unpriced and not sums.cost:
            assert lists["cost"][index] is None
        else:
            assert amount("cost", 3600) == pytest.approx(sums.cost, abs=1e-3)
        mean = sums.latency_s * 1000 / sums.timed_calls if sums.timed_calls else None
        assert lists["latency_ms"][index] == (mean and pytest.approx(mean, abs=1e-3))
        first = sums.ttft_s * 1000 / sums.ttft_calls if sums.ttft_calls else None
        assert lists["ttft_ms"][index] == (first and pytest.approx(first, abs=1e-3))


@settings(max_examples=60)
@given(
    batches=st.lists(st.lists(calls, max_size=6) | st.none(), max_size=5),
    asked=st.lists(windows, min_size=2, max_size=5),
)
async def test_every_series_is_the_sum_of_its_calls(
    batches: list[list[CallRecord] | None], asked: list[Series]
) -> None:
    booked = [one for batch in batches for one in batch or () if one.finished_at < NOW]
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(Path(folder) / "ksi.db")
        await store.write(accepted(1), accepted(2))
        for batch in batches:
            some = [one for one in batch or () if one.finished_at < NOW]
            writes = [CallBooked(call=one) for one in some]
            await store.write(*(writes if batch is not None else [UsageFolded(at=NOW)]))
        replies = [await series_report(store, data, NOW) for data in asked]
        await store.aclose()
    for data, reply in zip(asked, replies, strict=True):
        start = _epoch(reply["start"])
        inside = [one for one in booked if start <= one.finished_at]
        assert len(reply["total"]["tokens"]) <= data.points
        assert start <= NOW < start + len(reply["total"]["tokens"]) * reply["step_s"]
        _check(reply, reply["total"], inside)
        assert reply["names"] == [each["name"] for each in reply["series"]]
        if data.by is None:
            assert (reply["names"], reply["others"]) == ([], None)
            continue
        by_name: dict[str, list[CallRecord]] = {}
        for one in inside:
            by_name.setdefault(getattr(one, data.by), []).append(one)
        assert set(reply["names"]) <= set(by_name)
        assert len(reply["names"]) == min(data.limit, len(by_name))
        for each in reply["series"]:
            _check(reply, each, by_name.pop(each["name"]))
        if by_name:
            assert reply["others"]["names"] == len(by_name)
            _check(reply, reply["others"], [one for some in by_name.values() for one in some])
        else:
            assert reply["others"] is None


@given(
    hours=st.floats(0.25, 168),
    points=st.integers(2, 300),
    now=st.integers(1_600_000_000_000, 1_900_000_000_000).map(lambda ms: ms / 1000),
)
def test_steps_cover_the_time_with_no_more_points_than_asked(
    hours: float, points: int, now: float
) -> None:
    steps = Steps.over(hours, points, now)
    assert 1 <= steps.count <= points
    assert steps.step_s % 60 == steps.start % steps.step_s == 0
    assert steps.end - steps.step_s <= now < steps.end
    assert steps.count * steps.step_s >= hours * 3600
    assert 1.0 <= steps.last_s <= steps.step_s


async def test_times_before_the_first_call_are_told_apart_from_quiet_ones(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "ksi.db")
    assert (await series_report(store, Series(hours=1), NOW))["since"] is None
    await store.write(accepted(1), CallBooked(call=call(1, finished_at=NOW - 600.0)))
    told_since = (await series_report(store, Series(hours=1), NOW))["since"]
    assert _epoch(told_since) == (NOW - 600) // 60 * 60
    await store.write(UsageFolded(at=NOW))
    assert _epoch((await series_report(store, Series(hours=1), NOW))["since"]) <= NOW - 600
    await store.aclose()


async def test_an_answer_in_one_piece_has_no_time_to_its_first_token(tmp_path: Path) -> None:
    ends = NOW - 60.0
    whole = call(1, started_at=ends - 4, finished_at=ends, first_token_at=ends)
    streamed = call(2, started_at=ends - 2, finished_at=ends, first_token_at=ends - 1.5)
    failed = call(2, started_at=ends - 9, finished_at=ends, outcome=Outcome.FAILED)
    store = await open_store(tmp_path / "ksi.db")
    await store.write(accepted(1), accepted(2))
    await store.write(*[CallBooked(call=one) for one in (whole, streamed, failed)])
    reply = await series_report(store, Series(hours=0.25), NOW)
    await store.aclose()
    known = [value for value in reply["total"]["latency_ms"] if value is not None]
    assert known == [3000.0]
    assert [value for value in reply["total"]["ttft_ms"] if value is not None] == [500.0]


async def test_a_series_by_something_else_is_refused_by_the_store(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "ksi.db")
    with pytest.raises(ValueError, match="series by 'agent'"):
        await store.series(SeriesQuery(low=0, high=60, step_s=60, by="agent"))
    with pytest.raises(ValueError, match="whole minutes"):
        await store.series(SeriesQuery(low=0, high=60, step_s=59))
    await store.aclose()


# --- groups of token_usage ------------------------------------------------------------------


@settings(max_examples=40)
@given(
    booked=st.lists(calls, max_size=12),
    by=st.sampled_from(["agent", "model", "provider", "session", "day", "hour", "minute"]),
    limit=st.none() | st.integers(1, 3),
)
async def test_groups_are_the_sums_of_their_calls(
    booked: list[CallRecord], by: str, limit: int | None
) -> None:
    data = TokenUsage(by=by, limit=limit)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(Path(folder) / "ksi.db")
        await store.write(accepted(1), accepted(2))
        await store.write(*[CallBooked(call=one) for one in booked])
        found = await usage_groups(store, data, MIDNIGHT + 86_400)
        await store.aclose()
    by_name: dict[str, list[CallRecord]] = {}
    for one in booked:
        by_name.setdefault(_key(one, by), []).append(one)
    assert len(found) == min(limit or 100, len(by_name))
    if by in ("day", "hour", "minute"):
        assert [each[by] for each in found] == sorted(by_name, reverse=True)[: limit or 100]
    tokens = [each["usage"]["total_tokens"] for each in found]
    assert by in ("day", "hour", "minute") or tokens == sorted(tokens, reverse=True)
    for each in found:
        sums = _sum(by_name[each[by]])
        assert each["usage"]["request_count"] == sums.requests
        assert each["usage"]["total_tokens"] == sums.usage.total
        assert each["waste"]["tokens"] == sums.waste_tokens
        assert each["waste"]["unpriced"] == sums.unpriced_waste
        assert each["errors"] == sums.failed_calls
        latency = sums.latency_s * 1000 / sums.timed_calls if sums.timed_calls else None
        assert each["latency_ms"] == (latency and pytest.approx(latency, abs=0.06))


def _key(one: CallRecord, by: str) -> str:
    if by in ("day", "hour", "minute"):
        span = {"day": 86400, "hour": 3600, "minute": 60}[by]
        at = datetime.fromtimestamp(one.finished_at // span * span, UTC)
        return at.date().isoformat() if by == "day" else iso(at.timestamp()) or ""
    names = {"agent": one.agent_id or "", "session": one.session_id}
    return names[by] if by in names else str(getattr(one, by))


async def test_sessions_take_no_hours(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "ksi.db")
    with pytest.raises(InvalidRequest, match="by session takes no hours"):
        await usage_groups(store, TokenUsage(by="session", hours=1), NOW)
    await store.aclose()


async def test_the_engine_answers_with_both(tmp_path: Path) -> None:
    fault = Step(kind=ErrorKind.PROVIDER_ERROR, usage=Usage(input=6, output=2), cost=0.5)
    steps = {"r": [fault, Step(usage=Usage(input=7, output=3), cost=0.25)]}
    settings = config(tmp_path, providers=[provider("p"), provider("q", priority=2)])
    async with told(settings, steps) as rig:
        await rig.ended(await rig.submit(request_id="r"))
        await rig.core.store.write()
        reply = await rig.emit("completion:series", hours=1, by="provider")
        assert sorted(reply["names"]) == ["p", "q"]
        errors = {each["name"]: sum(_amounts(reply, each["errors"])) for each in reply["series"]}
        assert errors == {"p": pytest.approx(1, abs=1e-3), "q": 0}
        usage = await rig.emit("completion:token_usage", by="provider", hours=1)
        assert {each["provider"]: each["errors"] for each in usage["groups"]} == {"p": 1, "q": 0}
        assert usage["usage"]["request_count"] == 1
        bad = await rig.emit("completion:series", hours=0.1)
        assert bad["code"] == "invalid_request"
        refused = await rig.emit("completion:token_usage", by="session", hours=1)
        assert refused["code"] == "invalid_request"


# --- old databases --------------------------------------------------------------------------


def _older(path: Path, booked: Sequence[CallRecord], folded: int) -> None:
    """Make a database as it was before: the first `folded` calls are in spans, the others not."""
    older = [each for each in migrations.migrations() if each.number < 7]
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        for migration in older:
            raw.executescript(migration.sql)
        raw.executescript(
            f"PRAGMA application_id={migrations.APPLICATION_ID};"
            f" PRAGMA user_version={older[-1].number}"
        )
        columns = [row[1] for row in raw.execute("PRAGMA table_info(calls)")][1:]
        sums = [row[1] for row in raw.execute("PRAGMA table_info(usage_unfolded)")][4:]
        names = "provider, model, agent_id"
        total = ", ".join(f"SUM({name})" for name in sums)
        insert = f"INSERT INTO calls ({', '.join(columns)}) VALUES ({', '.join('?' * 30)})"
        raw.executemany(insert, [call_row(one) for one in booked])
        old, new = f"row <= {folded}", f"row > {folded}"
        for span in (60, 3600, 86400):
            start = f"CAST(finished_at AS INTEGER) / {span} * {span}"
            raw.execute(
                f"INSERT INTO usage_spans SELECT {span}, {start} AS at, {names}, {total}"
                f" FROM usage_calls WHERE {old} GROUP BY at, {names}"
            )
        for facet, name in {"all": "''", "provider": "provider", "model": "model"}.items():
            raw.execute(
                f"INSERT INTO usage_facets SELECT '{facet}', span_s, start, {name} AS who, {total}"
                " FROM usage_spans GROUP BY span_s, start, who"
            )
        start = "CAST(finished_at AS INTEGER) / 60 * 60"
        raw.execute(
            f"INSERT INTO usage_unfolded SELECT {start} AS at, {names}, {total}"
            f" FROM usage_calls WHERE {new} GROUP BY at, {names}"
        )
        raw.execute(
            f"INSERT INTO usage_sessions SELECT session_id, {names}, {total}"
            f" FROM usage_calls GROUP BY session_id, {names}"
        )


@settings(max_examples=25)
@given(booked=st.lists(calls, min_size=1, max_size=12), data=st.data())
async def test_a_database_from_before_the_series_is_filled_from_its_calls(
    booked: list[CallRecord], data: st.DataObject
) -> None:
    folded = data.draw(st.integers(0, len(booked)))
    # Half of them in one minute, so that a minute is half folded.
    booked = [
        replace(one, finished_at=MIDNIGHT + 30, started_at=MIDNIGHT + 29) if index % 2 else one
        for index, one in enumerate(booked)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ksi.db"
        _older(path, booked, folded)
        store = await open_store(path)
        for fold in (False, True):
            if fold:
                await store.write(UsageFolded(at=NOW))
            ((_, totals),) = await store.usage(UsageQuery())
            assert totals == _sum(booked)
            for by in ("provider", "session"):
                found = dict(await store.usage(UsageQuery(by=by)))
                assert sum(each.failed_calls for each in found.values()) == totals.failed_calls
                assert sum(each.latency_s for each in found.values()) == totals.latency_s
                assert sum(each.ttft_calls for each in found.values()) == totals.ttft_calls
            one = UsageQuery(provider="openai", model="claude")
            mine = [c for c in booked if (c.provider, c.model) == ("openai", "claude")]
            ((_, totals),) = await store.usage(one)
            assert totals == _sum(mine)
        await store.aclose()
