"""Folds of the rollups: at any moment, cut short anywhere, and no sum ever changes."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksi_tui.engine.models import CallRecord, Usage
from ksi_tui.engine.store import migrations, usage
from ksi_tui.engine.store.base import CallBooked, Store, UsageFolded
from ksi_tui.engine.store.columns import call_row
from ksi_tui.engine.store.folding import DROPPED_AT_ONCE_S
from ksi_tui.engine.store.records import UsageQuery, UsageTotals
from ksi_tui.engine.store.sqlite import open_store
from ksi_tui.engine.store.usage import (
    DAY_S,
    HOUR_S,
    HOURS_KEPT_S,
    MINUTE_S,
    MINUTES_KEPT_S,
    Edges,
)
from ksi_tui.engine.store.writes import Batch
from tests.engine.store_values import accepted, call
from tests.engine.test_store_usage import MIDNIGHT, _asked, _expected, questions

# Calls over two years, so that folds drop minutes and hours of most of them.
ages_s = st.one_of(
    st.integers(0, 3 * HOUR_S), st.integers(0, 12 * DAY_S), st.integers(0, 700 * DAY_S)
)
calls = st.builds(
    lambda number, age, **fields: call(
        number, finished_at=MIDNIGHT - age, started_at=MIDNIGHT - age - 1, **fields
    ),
    number=st.sampled_from([1, 2]),
    age=ages_s,
    provider=st.sampled_from(["openai", "azure"]),
    model=st.sampled_from(["gpt-4o", "claude"]),
    agent_id=st.sampled_from([None, "a1"]),
    usage=st.builds(Usage, input=st.integers(0, 999), cache_read=st.integers(0, 3)),
    cost=st.none() | st.integers(0, 99).map(lambda quarters: quarters / 4),
    mcp=st.booleans(),
    tool_schema_tokens=st.integers(0, 99),
)
# The clean-up's clock may be wrong, too: behind or ahead by days.
folds = st.integers(-500 * DAY_S, 30 * DAY_S).map(lambda by: MIDNIGHT + by)
histories = st.lists(st.one_of(st.lists(calls, min_size=1, max_size=4), folds), max_size=14)
moments = ages_s.map(lambda age: MIDNIGHT - age)


@st.composite
def old_questions(draw: st.DrawFn) -> UsageQuery:
    query = draw(questions())
    if query.session_id is not None or query.by == "session":
        return query
    return replace(query, since=draw(st.none() | moments), until=draw(st.none() | moments))


def _as_asked(query: UsageQuery, edges: Edges) -> UsageQuery:
    """Return the question with its time as wide as the reader promises to take it."""
    step = {None: query.bucket_s or MINUTE_S, "day": DAY_S}.get(query.by, MINUTE_S)
    low, high = edges.widened(*usage.whole(query.since, query.until, step))
    return replace(query, since=float(low), until=float(high))


def _coarse(one: CallRecord, edges: Edges) -> CallRecord:
    """Return a call at the time at which it is still told apart: its hour or day, when old."""
    low, _ = edges.widened(int(one.finished_at), int(one.finished_at) + 1)
    old = one.finished_at < max(edges.hours_from, edges.minutes_from)
    by = one.finished_at - low
    return replace(one, finished_at=float(low), started_at=one.started_at - by) if old else one


def _edges(path: Path) -> Edges:
    with closing(sqlite3.connect(path)) as raw:
        values = dict(raw.execute("SELECT name, value FROM counters"))
    return Edges(values["usage_hours_from"], values["usage_minutes_from"])


@settings(max_examples=120)
@given(history=histories, asked=st.lists(old_questions(), min_size=4, max_size=10))
async def test_sums_are_those_of_the_calls_whenever_it_is_folded(
    history: list[list[CallRecord] | float], asked: list[UsageQuery]
) -> None:
    booked: list[CallRecord] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ksi.db"
        store = await open_store(path)
        await store.write(accepted(1), accepted(2))
        for step in history:
            if isinstance(step, float):
                await store.write(UsageFolded(at=step))
            else:
                booked += step
                await store.write(*[CallBooked(call=one) for one in step])
        answers = [await store.usage(query) for query in asked]
        await store.aclose()
        edges = _edges(path)
    assert edges.hours_from % DAY_S == edges.minutes_from % HOUR_S == 0
    for query, answer in zip(asked, answers, strict=True):
        if query.session_id is not None or query.by == "session":
            assert list(answer) == _expected(_asked(booked, query), query)
            continue
        chosen = _asked(booked, _as_asked(query, edges))
        if query.bucket_s is not None:
            chosen = [_coarse(one, edges) for one in chosen]
        assert list(answer) == _expected(chosen, query)


async def test_calls_and_their_fold_may_share_a_transaction(store: Store) -> None:
    await store.write(
        UsageFolded(at=MIDNIGHT), CallBooked(call=call(1)), UsageFolded(at=MIDNIGHT + 1)
    )
    assert await _whole(store) == 1


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "ksi.db")
    yield opened
    await opened.aclose()


async def _whole(store: Store) -> int:
    ((_, totals),) = await store.usage(UsageQuery())
    return totals.calls


def _rows(path: Path, span_s: int) -> list[tuple[int, int]]:
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute(
            "SELECT start, calls FROM usage_spans WHERE span_s = ? ORDER BY start", (span_s,)
        ).fetchall()


async def test_a_fold_fills_minutes_hours_and_days_and_leaves_nothing_over(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "ksi.db"
    for minute in (0, 0, 1, 61):
        await store.write(CallBooked(call=call(1, finished_at=MIDNIGHT + 60 * minute)))
    for _ in range(2):
        await store.write(UsageFolded(at=MIDNIGHT))
        assert _rows(path, MINUTE_S) == [(MIDNIGHT, 2), (MIDNIGHT + 60, 1), (MIDNIGHT + 3660, 1)]
        assert _rows(path, HOUR_S) == [(MIDNIGHT, 3), (MIDNIGHT + 3600, 1)]
        assert _rows(path, DAY_S) == [(MIDNIGHT, 4)]
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT COUNT(*) FROM usage_unfolded").fetchone() == (0,)


async def test_old_minutes_and_hours_go_a_piece_at_a_time_and_young_ones_stay(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "ksi.db"
    old = MIDNIGHT - HOURS_KEPT_S - 30 * DAY_S
    young = MIDNIGHT - MINUTES_KEPT_S
    for at in (old, old + DAY_S, young - 1, young):
        await store.write(CallBooked(call=call(1, finished_at=at)))
    await store.write(UsageFolded(at=MIDNIGHT))
    # Only the oldest day's first hours went; nothing is taken at one blow.
    assert _edges(path) == Edges(
        int(old) + DROPPED_AT_ONCE_S[HOUR_S], int(old) + DROPPED_AT_ONCE_S[MINUTE_S]
    )
    for _ in range(10):
        await store.write(UsageFolded(at=MIDNIGHT))
    assert _rows(path, MINUTE_S) == [(young, 1)]
    assert _rows(path, HOUR_S) == [(young - HOUR_S, 1), (young, 1)]
    assert len(_rows(path, DAY_S)) == 4
    assert await _whole(store) == 4


async def test_where_only_hours_are_left_a_time_is_widened_to_them(
    store: Store, tmp_path: Path
) -> None:
    at = MIDNIGHT - MINUTES_KEPT_S - DAY_S + 1800
    await store.write(CallBooked(call=call(1, finished_at=at)))
    later = UsageQuery(since=at + 60, until=at + 120)
    assert (await store.usage(later))[0][1].calls == 0
    await store.write(UsageFolded(at=MIDNIGHT))
    await store.write(UsageFolded(at=MIDNIGHT))
    assert _rows(tmp_path / "ksi.db", MINUTE_S) == []
    assert (await store.usage(later))[0][1].calls == 1
    minutes = UsageQuery(since=at - 60, until=at + 60, bucket_s=60)
    assert [key for key, _ in await store.usage(minutes)] == [str(int(at // HOUR_S * HOUR_S))]


def _filled(path: Path, booked: Sequence[CallRecord]) -> sqlite3.Connection:
    migrations.prepare(path)
    connection = sqlite3.connect(path, isolation_level=None)
    batch = Batch()
    for one in booked:
        batch.add(CallBooked(call=one))
    for statement, rows in batch.steps():
        connection.executemany(statement, rows)
    return connection


async def _totals_of(path: Path) -> UsageTotals:
    store = await open_store(path)
    ((_, totals),) = await store.usage(UsageQuery())
    by_day = await store.usage(UsageQuery(by="day"))
    await store.aclose()
    assert sum(each.calls for _, each in by_day) == totals.calls
    return totals


async def test_a_fold_killed_after_any_statement_has_not_happened(tmp_path: Path) -> None:
    booked = [
        call(1, finished_at=MIDNIGHT - DAY_S * age, cost=0.25) for age in (0, 0, 5, 9, 300, 500)
    ]
    fold = Batch()
    fold.add(UsageFolded(at=MIDNIGHT))
    steps = [step for step in fold.steps() if step[1]]
    assert len(steps) == 12
    for survived in range(len(steps) + 1):
        folder = tmp_path / str(survived)
        folder.mkdir()
        connection = _filled(folder / "ksi.db", booked)
        connection.execute("BEGIN IMMEDIATE")
        for statement, rows in steps[:survived]:
            connection.executemany(statement, rows)
        # What a kill leaves: the files as they are, without a commit and without a farewell.
        left = folder / "left"
        left.mkdir()
        for name in ("ksi.db", "ksi.db-wal"):
            (left / name).write_bytes((folder / name).read_bytes())
        connection.close()
        totals = await _totals_of(left / "ksi.db")
        assert (totals.calls, totals.cost) == (6, 1.5)


def _before(path: Path, booked: Sequence[CallRecord]) -> None:
    """Make a database as it was before this migration: every call in three spans, no MCP."""
    older = [each for each in migrations.migrations() if each.number < 3]
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        for migration in older:
            raw.executescript(migration.sql)
        raw.executescript(
            f"PRAGMA application_id={migrations.APPLICATION_ID};"
            f" PRAGMA user_version={older[-1].number}"
        )
        columns = [row[1] for row in raw.execute("PRAGMA table_info(calls)")][1:28]
        for one in booked:
            raw.execute(
                f"INSERT INTO calls ({', '.join(columns)}) VALUES ({', '.join('?' * 27)})",
                call_row(one)[:27],
            )
        sums = [row[1] for row in raw.execute("PRAGMA table_info(usage_spans)")][5:]
        added = f"provider, model, agent_id, {', '.join(f'SUM({name})' for name in sums)}"
        for span in (60, 3600, 86400):
            start = f"CAST(finished_at AS INTEGER) / {span} * {span}"
            raw.execute(
                f"INSERT INTO usage_spans SELECT {span}, {start}, {added}"
                " FROM usage_calls GROUP BY 2, 3, 4, 5"
            )
        raw.execute(
            f"INSERT INTO usage_sessions SELECT session_id, {added}"
            " FROM usage_calls GROUP BY 1, 2, 3, 4"
        )


@settings(max_examples=25)
@given(
    booked=st.lists(
        calls.map(lambda one: replace(one, mcp=False, tool_schema_tokens=0)), max_size=8
    ),
    later=st.lists(calls, max_size=4),
    asked=st.lists(questions(), min_size=3, max_size=6),
)
async def test_an_older_database_keeps_its_sums_and_goes_on(
    booked: list[CallRecord], later: list[CallRecord], asked: list[UsageQuery]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ksi.db"
        _before(path, booked)
        store = await open_store(path)
        await store.write(accepted(1), accepted(2))
        await store.write(*[CallBooked(call=one) for one in later])
        answers = [await store.usage(query) for query in asked]
        listed = [one for _, one in await store.usage_records(UsageQuery(), 0, 1000)]
        await store.aclose()
    assert listed == [*booked, *later]
    for query, answer in zip(asked, answers, strict=True):
        assert list(answer) == _expected(_asked([*booked, *later], query), query)
