"""Grouping by statement never changes what a sequence of writes comes to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import Lock, State
from ksi_tui.engine.store import migrations, statements
from ksi_tui.engine.store.base import (
    AttemptBooked,
    CallBooked,
    LockGone,
    LockSaved,
    ProviderSaved,
    SessionSeen,
    Write,
)
from ksi_tui.engine.store.writer import GroupConnection
from ksi_tui.engine.store.writes import Batch
from tests.engine.store_values import T0, accepted, attempt, call, finished, moved

ENDS = (State.COMPLETED, State.FAILED, State.CANCELLED)
STEPS = {
    State.QUEUED: (State.PROCESSING, State.QUEUED, State.CANCELLED),
    State.PROCESSING: (State.RETRYING, State.QUEUED, *ENDS),
    State.RETRYING: (State.PROCESSING, State.CANCELLED, State.FAILED),
    **dict.fromkeys(ENDS, (State.QUEUED,)),
}


class _Story:
    """Draws a sequence of writes that an engine could hand over."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._states: dict[int, State] = {}
        self._seq = 0
        self._clock = 0

    def next(self) -> Write:
        self._clock += 1
        other = self._draw(st.integers(0, 9))
        if other == 0:
            return self._other()
        number = self._draw(st.integers(1, 4))
        was = self._states.get(number)
        if was is None:
            self._states[number] = State.QUEUED
            return accepted(number, session_id=f"s-{number % 2}", at=T0 + self._clock)
        if other == 1:
            return CallBooked(call=call(number, finished_at=T0 + self._clock))
        if other == 2:
            return AttemptBooked(attempt=attempt(number, walk=self._clock % 5))
        state = self._draw(st.sampled_from(STEPS[was]))
        self._states[number] = state
        return self._finish(number, was, state) if state.final else self._move(number, was, state)

    def _finish(self, number: int, was: State, state: State) -> Write:
        self._seq += 1
        turn = ({"role": "user", "content": "q"}, {"role": "assistant", "content": "a"})
        return finished(
            number,
            self._seq,
            state,
            was=was,
            session_id=f"s-{number % 2}",
            started_at=self._draw(st.sampled_from([None, T0 + self._clock])),
            text=f"text {self._clock}",
            turn=turn if state is State.COMPLETED else None,
        )

    def _move(self, number: int, was: State, state: State) -> Write:
        given: dict[str, Any] = {}
        if was.final:
            given = {"queued_at": T0 + self._clock, "place": 100 + self._clock}
        elif self._draw(st.booleans()):
            given = {"model": f"m{self._clock}", "avoid": ("p",)}
        elif self._draw(st.booleans()):
            given = {"error_kind": ErrorKind.TIMEOUT, "error_message": f"e{self._clock}"}
        return moved(number, was, state, attempts=self._clock, **given)

    def _other(self) -> Write:
        now = T0 + self._clock
        lock = Lock(session_id="s-0", holder="a", granted_at=now, expires_at=now, hold_s=1.0)
        seen = SessionSeen(session_id="s-1", created_at=now, last_activity=now, agent_id="a")
        idle = SessionSeen(session_id="s-1", created_at=now, last_activity=now, ended_at=now)
        saved = ProviderSaved(provider="p", state={"at": now})
        choices: list[Write] = [LockSaved(lock=lock), LockGone(session_id="s-0"), seen, idle, saved]
        return self._draw(st.sampled_from(choices))


@st.composite
def stories(draw: st.DrawFn) -> list[list[Write]]:
    story = _Story(draw)
    return [
        [story.next() for _ in range(size)]
        for size in draw(st.lists(st.integers(0, 12), max_size=5))
    ]


def _outcome(groups: Iterable[Iterable[Write]]) -> dict[str, list[Any]]:
    """What is in every table after each group was written in one transaction."""
    with closing(GroupConnection(":memory:", isolation_level=None)) as connection:
        migrations.migrate(connection, 0)
        for group in groups:
            connection.batch = Batch()
            for write in group:
                connection.batch.add(write)
            connection.commit()
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
            for (name,) in names
        }


@settings(max_examples=200)
@given(stories())
def test_grouping_changes_nothing(groups: list[list[Write]]) -> None:
    one_by_one = [[write] for group in groups for write in group]
    at_once = [[write for group in groups for write in group]]
    expected = _outcome(one_by_one)
    assert _outcome(groups) == expected
    assert _outcome(at_once) == expected


@settings(max_examples=100)
@given(stories())
def test_the_counters_are_the_counts(groups: list[list[Write]]) -> None:
    tables = _outcome(groups)
    states = [row[6] for row in tables["requests"]]
    counters = dict(tables["counters"])
    assert {state: counters[state] for state in State} == {
        state: states.count(state) for state in State
    }
    seqs = [write.finish_seq for group in groups for write in group if hasattr(write, "finish_seq")]
    assert counters["next_finish_seq"] == max(seqs, default=0) + 1


def test_writes_of_many_requests_share_statements() -> None:
    batch = Batch()
    for number in range(1, 11):
        batch.add(accepted(number))
        batch.add(moved(number, State.QUEUED, State.PROCESSING))
        batch.add(finished(number, number))
    steps = {statement: len(rows) for statement, rows in batch.steps() if rows}
    assert steps[statements.ACCEPT] == steps[statements.MOVE] == steps[statements.FINISH] == 10
    assert len(steps) == len([rows for _, rows in batch.steps() if rows])


def test_a_move_is_not_written_when_the_same_transaction_ends_its_request() -> None:
    batch = Batch()
    for number in (1, 2, 3):
        batch.add(moved(number, State.QUEUED, State.PROCESSING, started_at=T0 + 1))
    batch.add(finished(1, 1, started_at=T0 + 1))
    batch.add(finished(2, 2))  # its start is told by the move alone
    assert [row[0] for row in dict(batch.steps())[statements.MOVE]] == ["r-2", "r-3"]


def test_a_failure_writes_nothing() -> None:
    with closing(GroupConnection(":memory:", isolation_level=None)) as connection:
        migrations.migrate(connection, 0)
        connection.batch = Batch()
        for write in (accepted(1), accepted(2, request_id="r-1")):
            connection.batch.add(write)
        with pytest.raises(sqlite3.IntegrityError):
            connection.commit()
        assert not connection.in_transaction
        assert connection.execute("SELECT COUNT(*) FROM sessions").fetchone() == (0,)
        connection.commit()
