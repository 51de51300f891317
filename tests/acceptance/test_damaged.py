"""A database of which a page is broken: every command says so in one line and ends."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

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


def test_a_run_and_a_report_say_so_and_end(machine: Machine) -> None:
    machine.configure(grace_s=60)
    assert machine.run("run", given="one\ntwo\n").code == 0
    _break(machine.database, "replies")
    for arguments, verb in ((("run", "--json"), "write"), (("results",), "read")):
        ended = machine.run(*arguments, given="hello\n")
        assert (ended.code, ended.out) == (2, "")
        assert ended.err == f"ksi-tui: cannot {verb} the database {machine.database}: {TOLD}\n"
