"""A database of which a page is broken: every command says so in one line and ends."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.conftest import Machine

TOLD = "it is damaged; move it away or put a copy in its place"
_PAGE = 4096


def _break(database: Path, table: str) -> None:
    """Overwrite the first page of a table or an index."""
    with closing(sqlite3.connect(database)) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        named = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (page,) = raw.execute(named, (table,)).fetchone()
    with database.open("r+b") as file:
        file.seek((page - 1) * _PAGE)
        file.write(b"\x55" * _PAGE)


@pytest.fixture
def used(machine: Machine) -> Machine:
    machine.configure(grace_s=60)
    assert machine.run("run", given="one\ntwo\n").code == 0
    return machine


@pytest.mark.parametrize("table", ["replies", "counters"])
def test_a_run_says_so_and_ends(used: Machine, table: str) -> None:
    _break(used.database, table)
    ended = used.run("run", "--json", given="hello\n")
    assert ended.code == 2
    assert ended.out == ""
    (line,) = ended.err.splitlines()
    assert line.startswith("ksi-tui: ")
    assert str(used.database) in line
    assert line.endswith(TOLD)


def test_a_report_says_so(used: Machine) -> None:
    _break(used.database, "replies")
    ended = used.run("results")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith(f"{used.database}: {TOLD}\n")
