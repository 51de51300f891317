"""Usage questions: that the sums kept are the sums of the calls, whatever is asked."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import CallRecord, Outcome, Usage
from ksi_tui.engine.store.base import CallBooked, Store
from ksi_tui.engine.store.records import UsageQuery, UsageTotals
from ksi_tui.engine.store.sqlite import open_store
from tests.engine.store_values import T0, accepted, call

DAY = 86400.0
MIDNIGHT = 1_700_006_400.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "ksi.db")
    yield opened
    await opened.aclose()


def _sum(calls: Iterable[CallRecord]) -> UsageTotals:
    """The sums as the contract words them, computed the plain way."""
    chosen = list(calls)
    known = [one.usage for one in chosen if one.usage is not None]
    wasted = [one for one in chosen if one.waste]
    answered = [one for one in chosen if not one.waste]
    streamed = [
        (one, one.first_token_at)
        for one in answered
        if one.first_token_at is not None and one.first_token_at < one.finished_at
    ]
    return UsageTotals(
        usage=sum(known, Usage()),
        requests=sum(one.outcome is Outcome.ANSWERED for one in chosen),
        calls=len(chosen),
        cost=sum(one.cost or 0.0 for one in chosen),
        unpriced=sum(
            one.cost is None and (one.usage is not None or not one.waste) for one in chosen
        ),
        estimated=sum(usage.estimated for usage in known),
        waste_tokens=sum(one.usage.total for one in wasted if one.usage is not None),
        waste_cost=sum(one.cost or 0.0 for one in wasted),
        waste_calls=len(wasted),
        waste_s=sum(max(0.0, one.finished_at - one.started_at) for one in wasted),
        mcp_requests=sum(one.mcp and one.outcome is Outcome.ANSWERED for one in chosen),
        tool_schema_tokens=sum(one.tool_schema_tokens for one in chosen),
        cache_savings=sum(one.cache_savings or 0.0 for one in chosen),
        unpriced_savings=sum(
            one.cache_savings is None and one.usage is not None and one.usage.cache_read > 0
            for one in chosen
        ),
        unpriced_waste=sum(one.cost is None and one.usage is not None for one in wasted),
        failed_calls=sum(one.outcome is Outcome.FAILED for one in chosen),
        latency_s=sum(max(0.0, one.finished_at - one.started_at) for one in answered),
        timed_calls=len(answered),
        ttft_s=sum(max(0.0, first - one.started_at) for one, first in streamed),
        ttft_calls=len(streamed),
    )


def _grouped(
    calls: Sequence[CallRecord], key: Callable[[CallRecord], str]
) -> list[tuple[str, UsageTotals]]:
    keys = sorted({key(one) for one in calls})
    return [(name, _sum(one for one in calls if key(one) == name)) for name in keys]


def _day(one: CallRecord) -> str:
    return datetime.fromtimestamp(one.finished_at, UTC).date().isoformat()


usages = st.builds(
    Usage,
    input=st.integers(0, 10**6),
    cache_read=st.integers(0, 100),
    cache_write=st.integers(0, 100),
    output=st.integers(0, 10**5),
    reasoning=st.integers(0, 100),
    estimated=st.booleans(),
)
# Quarters of a second and of a dollar add up without rounding, in any order.
calls = st.builds(
    lambda number, ended, took, first, **fields: call(
        number,
        finished_at=MIDNIGHT + ended / 4,
        started_at=MIDNIGHT + (ended - took) / 4,
        first_token_at=None if first is None else MIDNIGHT + (ended - first) / 4,
        **fields,
    ),
    number=st.sampled_from([1, 2]),
    ended=st.integers(-4 * 200_000, 4 * 200_000),
    took=st.integers(-40, 400),
    first=st.none() | st.integers(-4, 440),
    provider=st.sampled_from(["openai", "azure"]),
    model=st.sampled_from(["gpt-4o", "claude"]),
    agent_id=st.sampled_from([None, "a1", "a2"]),
    outcome=st.sampled_from(Outcome),
    usage=st.none() | usages,
    cost=st.none() | st.integers(0, 1000).map(lambda quarters: quarters / 4),
    mcp=st.booleans(),
    tool_schema_tokens=st.integers(0, 5000),
    cache_savings=st.none() | st.integers(0, 1000).map(lambda quarters: quarters / 4),
)
minutes = st.integers(-4000, 4000).map(lambda minute: MIDNIGHT + 60.0 * minute)


@st.composite
def questions(draw: st.DrawFn) -> UsageQuery:
    by = draw(st.sampled_from([None, "agent", "model", "provider", "session", "day"]))
    bucket_s = draw(st.sampled_from([None, 60, 300, 3600, 7200, 86400])) if by is None else None
    step = 86400 if by == "day" else bucket_s or 60
    since, until = draw(st.none() | minutes), draw(st.none() | minutes)
    return UsageQuery(
        agent_id=draw(st.sampled_from([None, "a1", "a9"])),
        model=draw(st.sampled_from([None, "claude"])),
        provider=draw(st.sampled_from([None, "azure"])),
        session_id=draw(st.sampled_from([None, "s-2"])),
        since=since if since is None else since // step * step,
        until=until if until is None else until // step * step,
        by=by,
        bucket_s=bucket_s,
    )


def _asked(calls: Sequence[CallRecord], query: UsageQuery) -> list[CallRecord]:
    return [
        one
        for one in calls
        if query.agent_id in (None, one.agent_id)
        and query.model in (None, one.model)
        and query.provider in (None, one.provider)
        and query.session_id in (None, one.session_id)
        and (query.since is None or one.finished_at >= query.since)
        and (query.until is None or one.finished_at < query.until)
    ]


def _expected(calls: Sequence[CallRecord], query: UsageQuery) -> list[tuple[str, UsageTotals]]:
    if query.bucket_s is not None:
        bucket = query.bucket_s
        return _grouped(calls, lambda one: str(int(one.finished_at // bucket * bucket)))
    keys: dict[str | None, Callable[[CallRecord], str]] = {
        "agent": lambda one: one.agent_id or "",
        "model": lambda one: one.model,
        "provider": lambda one: one.provider,
        "session": lambda one: one.session_id,
        "day": _day,
        None: lambda one: "",
    }
    return _grouped(calls, keys[query.by]) or ([] if query.by else [("", UsageTotals())])


@settings(max_examples=60)
@given(
    batches=st.lists(st.lists(calls, max_size=6), max_size=5),
    asked=st.lists(questions(), min_size=4, max_size=12),
)
async def test_every_answer_is_the_sum_over_the_calls(
    batches: list[list[CallRecord]], asked: list[UsageQuery]
) -> None:
    booked = [one for batch in batches for one in batch]
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(Path(folder) / "ksi.db")
        await store.write(accepted(1), accepted(2))
        for batch in batches:
            await store.write(*[CallBooked(call=one) for one in batch])
        answers = [await store.usage(query) for query in asked]
        records = [await store.usage_records(query, 0, 1000) for query in asked]
        await store.aclose()
    for query, answer, listed in zip(asked, answers, records, strict=True):
        chosen = _asked(booked, query)
        assert list(answer) == _expected(chosen, query)
        assert [one for _, one in listed] == chosen


async def test_unpriced_is_what_used_something_and_has_no_price(store: Store) -> None:
    refused = call(1, outcome=Outcome.FAILED, usage=None, cost=None)
    broken = call(1, outcome=Outcome.FAILED, usage=Usage(output=1), cost=None)
    unknown = call(1, usage=None, cost=None)
    free = call(1, cost=0.0)
    await store.write(*[CallBooked(call=one) for one in (refused, broken, unknown, free)])
    for query in (UsageQuery(), UsageQuery(session_id="s-1")):
        ((_, totals),) = await store.usage(query)
        assert (totals.calls, totals.unpriced, totals.requests) == (4, 2, 2)


async def test_a_time_is_widened_to_whole_minutes(store: Store) -> None:
    # T0 is 20 s after a full minute.
    await store.write(CallBooked(call=call(1, finished_at=T0)))
    inside = UsageQuery(since=T0 + 30, until=T0 + 31)
    before, after = UsageQuery(until=T0 - 20), UsageQuery(since=T0 + 40)
    for query, calls_in_it in ((inside, 1), (before, 0), (after, 0)):
        ((_, totals),) = await store.usage(query)
        assert totals.calls == calls_in_it


@pytest.mark.parametrize(
    "query",
    [
        UsageQuery(by="colour"),
        UsageQuery(by="day", bucket_s=60),
        UsageQuery(bucket_s=90),
        UsageQuery(bucket_s=0),
        UsageQuery(bucket_s=-60, session_id="s"),
    ],
)
async def test_a_question_without_sense_is_refused(store: Store, query: UsageQuery) -> None:
    with pytest.raises(ValueError, match=r"usage|bucket"):
        await store.usage(query)


async def test_records_come_in_pages(store: Store) -> None:
    kept = call(
        1,
        outcome=Outcome.FAILED,
        error_kind=ErrorKind.TIMEOUT,
        raw_usage={"prompt_tokens": 1},
        usage=None,
        agent_id="a1",
    )
    later = [call(2, finished_at=T0 + 3600 * hour) for hour in range(1, 6)]
    await store.write(accepted(1), accepted(2))
    await store.write(CallBooked(call=kept), *[CallBooked(call=one) for one in later])
    everything = UsageQuery()
    first = await store.usage_records(everything, 0, 4)
    rest = await store.usage_records(everything, first[-1][0], 4)
    assert [one for _, one in [*first, *rest]] == [kept, *later]
    assert first[0][1].error_kind is ErrorKind.TIMEOUT
    recent = UsageQuery(since=T0 + 3600 * 4, until=T0 + 3600 * 5)
    assert [one for _, one in await store.usage_records(recent, 0, 9)] == [later[3]]
    assert [one for _, one in await store.usage_records(UsageQuery(agent_id="a1"), 0, 9)] == [kept]
    assert await store.usage_records(UsageQuery(since=T0 + DAY), 0, 9) == []
    assert await store.usage_records(everything, rest[-1][0], 9) == []


async def test_calls_of_one_transaction_are_gathered_in_their_minute(
    store: Store, tmp_path: Path
) -> None:
    await store.write(*[CallBooked(call=call(number)) for number in range(1, 101)])
    with closing(sqlite3.connect(tmp_path / "ksi.db")) as raw:
        minutes = raw.execute("SELECT start, calls FROM usage_unfolded").fetchall()
        spans = raw.execute("SELECT span_s, calls FROM usage_spans").fetchall()
    assert (minutes, spans) == ([(1_699_999_980, 100)], [])
