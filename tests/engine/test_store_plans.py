"""That every question is answered from an index: SQLite's own plans, for each statement run."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from ksi_tui.engine.filter import parse
from ksi_tui.engine.models import State
from ksi_tui.engine.store import finding, statements, usage_statements
from ksi_tui.engine.store.base import CallBooked
from ksi_tui.engine.store.found import Find
from ksi_tui.engine.store.journal import JournalQuery
from ksi_tui.engine.store.records import UsageQuery
from ksi_tui.engine.store.series import SeriesQuery
from ksi_tui.engine.store.sqlite import SqliteStore, open_store
from tests.engine.store_values import T0, accepted, call, finished, started

T_LOW = int(T0) // 3600 * 3600
Question = Callable[[SqliteStore], Awaitable[object]]

SELECTORS = [
    {},
    {"since": T0},
    {"since": T0 - 10**6, "until": T0 + 10**6},
    {"session_id": "s-1"},
    {"session_id": "s-1", "since": T0, "model": "gpt-4o"},
    {"agent_id": "a", "model": "m", "provider": "p"},
]

QUESTIONS: dict[str, Question] = {
    "load": lambda store: store.load(),
    "request": lambda store: store.request("r-1"),
    "states": lambda store: store.states(["r-1", "r-2"]),
    "sessions_of": lambda store: store.sessions_of(["r-1", "r-2"]),
    "spent_of": lambda store: store.spent_of(["r-1", "r-2"]),
    "in_order": lambda store: store.in_order(["r-1", "r-2"]),
    "requests_named": lambda store: store.requests_named(["r-1", "r-2"]),
    "specs": lambda store: store.specs(["r-1", "r-2"]),
    "unfinished": lambda store: store.unfinished(["r-1", "r-2"]),
    "session": lambda store: store.session("s-1"),
    "session_requests": lambda store: store.session_requests("s-1", 5),
    "sessions_named": lambda store: store.sessions_named(["s-1", "s-2"]),
    "turns": lambda store: store.turns("s-1", 500),
    "counts": lambda store: store.counts(),
    "pauses": lambda store: store.pauses(),
    "results": lambda store: store.results(after=1),
    "results of a state": lambda store: store.results(state=State.FAILED),
    "results of a session": lambda store: store.results(session_id="s-1", state=State.FAILED),
    "injections": lambda store: store.injections(["i-1", "i-2"]),
    "direct_of": lambda store: store.direct_of(["r-1", "r-2"]),
    "chain": lambda store: store.chain("r-1"),
    "results of some": lambda store: store.results_of(["r-1", "r-2"]),
    "filing": lambda store: store.filing(),
    "unfiled": lambda store: store.unfiled(0, limit=5, max_chars=100),
    "unfiled up to": lambda store: store.unfiled(0, upto=1, limit=5, max_chars=100),
    "expired": lambda store: store.expired(T0, 5, 5, now=T0),
    "session ids": lambda store: store.session_ids("a", 5),
    "deserted": lambda store: store.deserted(["s-1"], T0),
    "series": lambda store: store.series(SeriesQuery(low=0, high=60, step_s=60)),
    "series by model": lambda store: store.series(
        SeriesQuery(low=T_LOW, high=T_LOW + 7200, step_s=3600, by="model")
    ),
    "journal": lambda store: store.journal(JournalQuery(limit=5)),
    "journal of names": lambda store: store.journal(JournalQuery(limit=5, pattern="completion:*")),
    "journal of one": lambda store: store.journal(
        JournalQuery(limit=5, pattern="*:*", provider="p", session_id="s", before=9)
    ),
    "prunable": lambda store: store.prunable(T0, 5),
    "old actions": lambda store: store.old_actions(0, T0, 5),
}
"""Every question that is not about usage."""


async def _usage(store: SqliteStore, query: UsageQuery) -> object:
    return await store.usage(query)


async def _records(store: SqliteStore, query: UsageQuery) -> object:
    return await store.usage_records(query, 0, 9)


def _usage_questions() -> dict[str, Question]:
    found: dict[str, Question] = {}
    for selector in SELECTORS:
        for by in (None, "agent", "model", "day", "session"):
            query = UsageQuery(**selector, by=by)  # type: ignore[arg-type]
            found[f"usage {selector} by {by}"] = partial(_usage, query=query)
        query = UsageQuery(**selector)  # type: ignore[arg-type]
        found[f"records {selector}"] = partial(_records, query=query)
    return found


@pytest.mark.parametrize("name", [*QUESTIONS, *_usage_questions()])
async def test_no_question_scans_requests_or_calls(tmp_path: Path, name: str) -> None:
    ask = {**QUESTIONS, **_usage_questions()}[name]
    store = await open_store(tmp_path / "ksi.db")
    for number in (1, 2):
        await store.write(accepted(number), started(number))
        await store.write(CallBooked(call=call(number)), finished(number, number))
    run: list[str] = []
    await store._reads.set_trace_callback(run.append)
    await ask(store)
    await store._reads.set_trace_callback(lambda _: None)
    asked = [text for text in run if "SELECT" in text]
    plans = [
        (row[3], text)
        for text in asked
        for row in await store._reads.execute_fetchall(f"EXPLAIN QUERY PLAN {text}")
    ]
    await store.aclose()
    assert plans
    assert [plan for plan in plans if _scans(*plan)] == []


def _scans(step: str, text: str) -> bool:
    """Whether a step reads a whole table that grows with the history."""
    words = step.split()
    if words[0] != "SCAN" or {"requests_unfinished", "injections_alive"} & {*words}:
        return False
    # A list by session is as long as there are sessions; it reads their sums, not the calls.
    by_session = "FROM usage_sessions u" in text and "u.session_id AS k" in text
    # `u` is a table of sums, or what a part of the statement in brackets found in them.
    bracketed = ") u WHERE" in text
    short = {
        "locks",
        "pauses",
        "providers",
        "counters",
        "json_each",
        "waiting",
        "piece",
        "found",
        "injection_terms",
        "admissions",
        "g",
        "response_marks",
    }
    return not (
        words[1] in short or "CONSTANT" in words or (words[1] == "u" and (by_session or bracketed))
    )


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (statements.RESULTS_OF_SESSION, "requests_session_finished"),
        (finding.Question(Find(wanted=parse(""), now=T0)).page, "requests_place"),
    ],
)
async def test_a_page_is_read_in_its_order_and_not_sorted(
    tmp_path: Path, statement: str, index: str
) -> None:
    store = await open_store(tmp_path / "ksi.db")
    values = {"limit": 5, "offset": 0} if ":limit" in statement else ("s-1", 0, None, 5)
    found = await store._reads.execute_fetchall(f"EXPLAIN QUERY PLAN {statement}", values)
    await store.aclose()
    plan = " / ".join(row[3] for row in found)
    assert index in plan
    assert "TEMP B-TREE" not in plan


async def test_the_first_call_of_a_time_is_found_by_time(tmp_path: Path) -> None:
    # By row it would be found too, but through every older call.
    store = await open_store(tmp_path / "ksi.db")
    plan = await store._reads.execute_fetchall(
        f"EXPLAIN QUERY PLAN {usage_statements.FIRST_CALL_SINCE}", (T0,)
    )
    await store.aclose()
    assert ["calls_finished" in row[3] for row in plan] == [True]


@pytest.mark.parametrize(
    "statement",
    [*statements.REMOVE_REQUEST, statements.REMOVE_SESSION, *statements.REMOVE_OF_SESSION],
)
async def test_no_removal_scans(tmp_path: Path, statement: str) -> None:
    store = await open_store(tmp_path / "ksi.db")
    values = [1, 1][: 2 if "?2" in statement else 1]
    plan = await store._reads.execute_fetchall(f"EXPLAIN QUERY PLAN {statement}", values)
    await store.aclose()
    assert [row[3] for row in plan if row[3].startswith("SCAN")] == []
    assert any(row[3].startswith("SEARCH") for row in plan)


def test_a_scan_would_be_seen(tmp_path: Path) -> None:
    raw = sqlite3.connect(tmp_path / "some.db")
    raw.execute("CREATE TABLE calls (a, b)")
    plan = raw.execute("EXPLAIN QUERY PLAN SELECT a FROM calls c WHERE b = 1").fetchall()
    raw.close()
    assert [_scans(row[3], "") for row in plan] == [True]
