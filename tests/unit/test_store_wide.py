"""Many rows in one run come to the same as row by row, by the same indexes, in few runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from ksi_tui.engine.store import migrations, statements, wide
from ksi_tui.engine.store.base import AttemptBooked, CallBooked, SessionSeen, Write
from ksi_tui.engine.store.writer import GroupConnection
from ksi_tui.engine.store.writes import Batch
from tests.engine.store_values import T0, accepted, attempt, call, envelope, finished, moved

COUNT = 350
"""Takes every size of a run, and leaves rows over."""


def _lives() -> Iterator[list[Write]]:
    """What a crowd of requests writes in three transactions; of some, two moves in one."""
    turn = ({"role": "user", "content": "q"}, {"role": "assistant", "content": "a"})
    numbers = range(1, COUNT + 1)
    yield [accepted(number, session_id=f"s-{number % 40}") for number in numbers]
    begun: list[Write] = []
    for number in numbers:
        begun.append(moved(number, State.QUEUED, State.PROCESSING, started_at=T0 + number))
        begun.append(AttemptBooked(attempt=attempt(number)))
        if number % 50 == 0:
            late = {"error_kind": ErrorKind.TIMEOUT, "error_message": f"late {number}"}
            begun.append(moved(number, State.PROCESSING, State.RETRYING, **late))
    yield begun
    ended: list[Write] = []
    for number in numbers:
        was = State.RETRYING if number % 50 == 0 else State.PROCESSING
        told: dict[str, Any] = {"text": f"t{number}", "turn": turn, "was": was}
        if number % 3:
            told["result"] = envelope(f"t{number}")
        ended.append(finished(number, number, session_id=f"s-{number % 40}", **told))
        ended.append(CallBooked(call=call(number, session_id=f"s-{number % 40}")))
        at = T0 + number
        session = f"s-{number % 60}"
        ended.append(SessionSeen(session_id=session, created_at=at, last_activity=at))
    yield ended


def _tables(*, by_row: bool) -> dict[str, list[Any]]:
    with closing(GroupConnection(":memory:", isolation_level=None)) as connection:
        migrations.migrate(connection, 0)
        for writes in _lives():
            batch = Batch()
            for write in writes:
                batch.add(write)
            if by_row:
                for statement, rows in batch.steps():
                    connection.executemany(statement, rows)
            else:
                connection.batch = batch
                connection.commit()
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in names}


def test_many_rows_in_one_run_come_to_the_same_as_row_by_row() -> None:
    found, expected = _tables(by_row=False), _tables(by_row=True)
    assert found == expected
    assert len(found["requests"]) == len(found["calls"]) == COUNT


@pytest.mark.parametrize("statement", sorted(wide._INSERTED | wide._LOOKED_UP))
def test_a_crowd_takes_few_runs_in_the_order_of_its_rows(statement: str) -> None:
    rows: list[tuple[object, ...]] = [(f"r-{number}", number) for number in range(COUNT)]
    runs = list(wide.runs(statement, rows))
    assert [row for _, some in runs for row in some] == rows
    assert [len(some) for _, some in runs] == [256, 64, 16, 4, 4, 4, 2]
    assert [text is statement for text, _ in runs] == [False] * 6 + [True]


def test_of_two_moves_of_one_request_the_last_wins() -> None:
    """One run takes any of them; so they go row by row."""
    rows: list[tuple[object, ...]] = [(f"r-{number % 8}",) for number in range(9)]
    assert list(wide.runs(statements.MOVE, rows)) == [(statements.MOVE, rows)]


@pytest.mark.parametrize("statement", sorted(wide._LOOKED_UP))
def test_a_run_looks_each_request_up(statement: str) -> None:
    columns = {statements.MOVE: 10, statements.FINISH: 16, statements.ADD_REPLY: 3}[statement]
    with closing(GroupConnection(":memory:", isolation_level=None)) as connection:
        migrations.migrate(connection, 0)
        text = wide.wide_text(statement, 256, columns)
        plan = connection.execute(f"EXPLAIN QUERY PLAN {text}", [None] * 256 * columns).fetchall()
    steps = [row[3] for row in plan]
    assert any(step.startswith("SEARCH requests USING") for step in steps)
    assert "SCAN requests" not in steps
