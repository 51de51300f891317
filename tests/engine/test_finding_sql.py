"""That SQLite judges a request by a filter as `filter.matches` does, term by term.

Many requests with every combination of known and unknown, in a real database; filters of any
kind, hard ones included. What is only in memory (`why`, what runs) comes along as it would.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ksi_tui.engine.filter import Facts, Filter, Pattern, TextTerm, matches, parse
from ksi_tui.engine.filter.match import labels
from ksi_tui.engine.models import Priority, RequestSpec, State
from ksi_tui.engine.store import finding, migrations, statements
from ksi_tui.engine.store.columns import payload, to_json
from ksi_tui.engine.store.found import Find, RunningNow, SortBy
from ksi_tui.engine.views import Phase

NOW = 1_700_000_000.0
NAMES = ("acme-42", "ACME", "a%b_c", "50%", "Ünder_Score", "back\\slash", "a,b c", 'say "hi"', "*")
ERRORS = ("timeout", "api_rate_limit", None)
PRIORITIES = tuple(Priority)


@dataclass(frozen=True)
class Row:
    """One request: what is known of it, and its place."""

    place: int
    facts: Facts

    @property
    def final(self) -> bool:
        return self.facts.status.final


def _pick(index: int, *values: object) -> object:
    return values[index % len(values)]


def _rows() -> Iterator[Row]:
    states = [*State, State.QUEUED, State.PROCESSING]
    for place, (state, name) in enumerate(product(states, NAMES), start=1):
        phases = {State.QUEUED: _pick(place, Phase.QUEUED, Phase.WAITING)}
        phases |= {State.PROCESSING: _pick(place, Phase.STREAMING, Phase.NO_TOKEN)}
        why = None if state.final else _pick(place, "behind r-1", "lock held by a7", name)
        ended = place / 7 if state.final else None
        running = state is State.PROCESSING
        facts = Facts(
            request_id=f"r-{place}",
            session_id=name,
            agent_id=_pick(place, None, name, "agent"),  # type: ignore[arg-type]
            asked_model="gpt-4o",
            model=_pick(place, "gpt-4o", name),  # type: ignore[arg-type]
            provider=_pick(place, None, "openai", name) if ended or running else None,  # type: ignore[arg-type]
            status=state,
            phase=phases.get(state, Phase(state.value) if state is not State.PROCESSING else None),  # type: ignore[arg-type]
            error_kind=_pick(place, *ERRORS),  # type: ignore[arg-type]
            error_message=name if place % 3 != 2 else None,
            why=why,  # type: ignore[arg-type]
            priority=PRIORITIES[place % len(PRIORITIES)],
            metadata={"customer": name, "tier": place % 3} if place % 2 else {},
            age_s=100.0 - place,
            tokens=_pick(place, None, 0, place * 100),  # type: ignore[arg-type]
            cost=_pick(place, None, place / 1000),  # type: ignore[arg-type]
            attempts=place % 4,
            latency_s=None if ended is None else ended,
            ttft_s=_pick(place, None, place / 10) if ended or running else None,  # type: ignore[arg-type]
        )
        yield Row(place, facts)


ROWS = tuple(_rows())
_INSERT = """
INSERT INTO requests (row, request_id, session_id, agent_id, asked_model, model, state, rank, place,
    queued_at, finished_at, finish_seq, attempts, max_attempts, timeout_s, needs_mcp, lock_fails,
    provider, answered_model, ttft_ms, error_kind, error_message, tokens, cost)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 3, 900, 0, 0, ?, ?, ?, ?, ?, ?, ?)"""


def _columns(row: Row) -> tuple[object, ...]:
    # Of what runs the disk knows less than memory: nothing about its provider and its tokens.
    f, final = row.facts, row.final
    running = f.status is State.PROCESSING
    return (
        row.place,
        f.request_id,
        f.session_id,
        f.agent_id,
        f.asked_model,
        "old" if final or running else f.model,
        f.status,
        f.priority.rank,
        row.place,
        NOW - (f.age_s or 0),
        NOW - (f.age_s or 0) + row.place / 7 if final else None,
        row.place if final else None,
        0 if running else f.attempts,
        f.provider if final else None,
        f.model if final else None,
        None if f.ttft_s is None or not final else f.ttft_s * 1000,
        f.error_kind,
        f.error_message if f.error_kind else None,
        None if running else f.tokens,
        f.cost,
    )


def _as_stored(row: Row) -> Row:
    """Return a request as engine and store know it: no text of an error without its kind."""
    values = {name: getattr(row.facts, name) for name in Facts.__dataclass_fields__}
    if row.facts.error_kind is None:
        values["error_message"] = None
    return Row(row.place, Facts(**values))


STORED = tuple(map(_as_stored, ROWS))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path: Path = tmp_path_factory.mktemp("finding") / "ksi.db"
    migrations.prepare(path)
    with closing(sqlite3.connect(path)) as raw:
        for row in ROWS:
            raw.execute(_INSERT, _columns(row))
            raw.execute(statements.ADD_PAYLOAD, (row.place, _payload(row)))
            for key, value in labels(row.facts.metadata):
                raw.execute(statements.ADD_LABEL, (row.place, key, value))
        counts = {state: sum(row.facts.status is state for row in ROWS) for state in State}
        raw.executemany(statements.ADD_TO_COUNTER, counts.items())
        raw.commit()
        yield raw


def _payload(row: Row) -> str:
    spec = RequestSpec(
        request_id=row.facts.request_id,
        session_id=row.facts.session_id,
        model="gpt-4o",
        prompt="x",
        metadata=row.facts.metadata,
    )
    return payload(spec)


def _find(wanted: Filter, sort: SortBy = SortBy.QUEUED, *, descending: bool = True) -> Find:
    """Return the question with what the engine would have found in memory."""
    unknown, changing = finding.in_memory(wanted), finding.changing(wanted)
    waiting = None
    if unknown:
        places = [
            row.place for row in STORED if not row.final and matches(Filter(unknown), row.facts)
        ]
        waiting = to_json(places)
    running = [
        RunningNow(
            place=row.place,
            holds=matches(changing, row.facts),
            sort_value=_sort_values(row.facts).get(sort)
            if sort in finding.CHANGING_SORTS
            else None,  # type: ignore[arg-type]
        )
        for row in STORED
        if row.facts.status is State.PROCESSING
    ]
    return Find(
        wanted=wanted,
        now=NOW,
        sort=sort,
        descending=descending,
        limit=1000,
        running=running,
        waiting=waiting,
    )


def _sort_values(facts: Facts) -> dict[SortBy, object]:
    place = int(facts.request_id.removeprefix("r-"))
    return {
        SortBy.QUEUED: -(facts.age_s or 0),
        SortBy.AGE: facts.age_s,
        SortBy.SESSION: facts.session_id,
        SortBy.AGENT: facts.agent_id,
        SortBy.MODEL: facts.model,
        SortBy.PROVIDER: facts.provider,
        SortBy.STATUS: str(facts.status),
        SortBy.ATTEMPTS: facts.attempts,
        SortBy.TOKENS: facts.tokens,
        SortBy.COST: facts.cost,
        SortBy.LATENCY: facts.latency_s,
        SortBy.TTFT: None if facts.ttft_s is None else facts.ttft_s * 1000,
        SortBy.FINISHED: place if facts.status.final else None,
        SortBy.WORST: _worst(facts.status, place),
    }


def _worst(state: State, place: int) -> int | None:
    """Unfinished before failed, the oldest first; the rest has no rank."""
    if not state.final:
        return sys.maxsize - place
    return 0 if state is State.FAILED else None


def _found(database: sqlite3.Connection, find: Find) -> list[int]:
    question = finding.Question(find)
    page = [row for row, _ in database.execute(question.page, question.parameters)]
    ((count,),) = database.execute(question.count, question.parameters)
    ((ids,),) = database.execute(question.ids, question.parameters)
    assert count == len(page)
    assert ids == to_json([f"r-{row}" for row in page])
    return page


def _expected(wanted: Filter) -> set[int]:
    return {row.place for row in STORED if matches(wanted, row.facts)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "acme",
        "-acme",
        "a*",
        "50%",
        "%",
        "_",
        "\\",
        "ünder",
        "Ünder",
        '"a,b c"',
        r'"say \"hi\""',
        '"*"',
        "*",
        "session=acme",
        "session:acme,50",
        "-session:*",
        "agent:*",
        "-agent:*",
        "model:gpt",
        "model=gpt-4o",
        "provider:openai",
        "-provider:openai",
        "status:queued",
        "status:waiting",
        "-status:waiting",
        "status:queued,waiting",
        "status:processing",
        "status:streaming",
        "status:no*",
        "-status:no*",
        "status:cancel",
        "status:*",
        "error:timeout",
        "-error:*",
        "why:behind",
        "-why:behind",
        "why:*",
        "-why:*",
        "why:lock status:waiting",
        "why:acme -status:processing",
        "priority:high,low",
        "-priority:*",
        "meta.customer:acme",
        "-meta.customer:acme",
        "meta.tier:1",
        "meta.Customer:acme",
        "-meta.none:*",
        "id:r-1",
        "id=r-1",
        "age>30s",
        "-age>30s",
        "tokens>1k",
        "tokens=0",
        "-tokens>1k",
        "cost<0.02",
        "attempts>=2",
        "latency>2s",
        "-latency>2s",
        "ttft>1s",
        "-ttft>1s",
        "acme status:failed,processing -tokens>5k age<80s",
    ],
)
def test_the_disk_finds_what_the_filter_matches(database: sqlite3.Connection, text: str) -> None:
    wanted = parse(text)
    found = _found(database, _find(wanted))
    assert set(found) == _expected(wanted)
    assert found == sorted(found, reverse=True)


pieces = st.sampled_from(
    [
        "a",
        "acme",
        "ACME",
        "%",
        "_",
        "\\",
        "50%",
        " ",
        ",",
        '"',
        "*",
        "-",
        "ü",
        "Ü",
        "gpt",
        "r-1",
        "4",
    ]
)
parts = st.lists(pieces, min_size=1, max_size=2).map("".join)
patterns = st.lists(parts, min_size=1, max_size=3).map(
    lambda found: Pattern(parts=tuple(found))
) | parts.map(lambda part: Pattern(parts=("", part, "")))
text_terms = st.builds(
    TextTerm,
    field=st.sampled_from(
        ["", "session", "agent", "model", "provider", "error", "why", "id", "meta"]
    ),
    key=st.just("customer"),
    patterns=st.lists(patterns, min_size=1, max_size=2).map(tuple),
    exact=st.booleans(),
    negated=st.booleans(),
)
others = st.sampled_from(
    [
        "status:waiting",
        "-status:queued",
        "status:streaming,failed",
        "-status:no",
        "priority:high",
        "-priority:normal,inject",
        "tokens>500",
        "-tokens<=500",
        "attempts=1",
        "-ttft<2s",
        "cost>=0.01",
        "latency<5s",
        "-age<20s",
        "meta.tier:2",
        "-meta.tier:0,1",
    ]
).map(lambda text: parse(text).terms[0])


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300
)
@example([parse("session=a,acme").terms[0]])
@given(st.lists(text_terms | others, min_size=1, max_size=4))
def test_any_filter_is_judged_alike(database: sqlite3.Connection, terms: list[TextTerm]) -> None:
    wanted = Filter(tuple(terms))
    assert set(_found(database, _find(wanted))) == _expected(wanted)


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("sort", SortBy)
def test_every_order_is_by_what_is_shown_and_what_is_not_known_comes_last(
    database: sqlite3.Connection, sort: SortBy, descending: bool
) -> None:
    page = _found(database, _find(parse(""), sort, descending=descending))
    values = [_sort_values(STORED[row - 1].facts)[sort] for row in page]
    known = [
        value.lower() if isinstance(value, str) else value for value in values if value is not None
    ]
    assert values[len(known) :] == [None] * (len(values) - len(known))
    assert known == sorted(known, reverse=descending)  # type: ignore[type-var]
    assert len(set(page)) == len(ROWS)


def test_the_largest_filter_is_not_too_deep_for_the_database(
    database: sqlite3.Connection,
) -> None:
    wanted = parse(",".join(["a"] * 100))
    assert set(_found(database, _find(wanted))) == _expected(wanted)
    wanted = parse(" ".join(["-q"] * 100))
    assert set(_found(database, _find(wanted))) == _expected(wanted)
    wanted = parse(" ".join(["q"] * 99) + ' "' + "%_" * 200 + '"')
    assert _found(database, _find(wanted)) == []
