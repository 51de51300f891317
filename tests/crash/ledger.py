"""What the files of a round hold: read with SQLite alone, without a line of the product.

Values only; what they must be is `judge`'s.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FINAL: Final = ("completed", "failed", "cancelled")
_SUMS: Final = (
    "requests", "calls", "input", "cache_read", "cache_write", "output", "reasoning", "cost",
    "unpriced", "estimated", "waste_tokens", "waste_cost", "waste_calls", "failed_calls",
    "timed_calls",
)  # fmt: skip
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """A database as it is on disk. `sums` are totals over calls by where they are kept."""

    integrity: str
    foreign: Sequence[Any]
    requests: Mapping[str, Row]
    calls: Sequence[Row]
    sums: Mapping[str, Sequence[float]]
    counters: Mapping[str, int]
    locks: Sequence[Row]
    pauses: Sequence[Row]
    providers: Mapping[str, Mapping[str, Any]]
    injections: Sequence[Row]
    turns: Mapping[str, Sequence[str]]
    spent: Mapping[str, int]

    def in_session(self, session_id: str) -> list[Row]:
        """Return a session's requests by the order of their arrival."""
        found = [each for each in self.requests.values() if each["session_id"] == session_id]
        return sorted(found, key=lambda each: int(each["row"]))

    def calls_of(self, request_id: str) -> list[Row]:
        """Return a request's calls."""
        return [call for call in self.calls if call["request_id"] == request_id]


def version_of(database: Path) -> int:
    """Return the version of a database's schema, 0 of one that is none yet."""
    if not database.exists():
        return 0
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def ids_in(database: Path) -> set[str]:
    """Return the ids of the requests in a database of any version, which is sound."""
    with closing(sqlite3.connect(database)) as connection:
        if (found := connection.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            raise ValueError(f"integrity_check: {found}")
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'requests'").fetchone():
            return set()
        return {row[0] for row in connection.execute("SELECT request_id FROM requests")}


def ledger(database: Path) -> Ledger:
    """Read a database of today's schema, which nobody may be writing."""
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row

        def rows(statement: str) -> list[Row]:
            return [dict(row) for row in connection.execute(statement)]

        turns: dict[str, list[str]] = {}
        for row in rows("SELECT session_id, pair FROM turns ORDER BY row"):
            turns.setdefault(row["session_id"], []).append(json.loads(row["pair"])[0]["content"])
        return Ledger(
            integrity=connection.execute("PRAGMA integrity_check").fetchone()[0],
            foreign=connection.execute("PRAGMA foreign_key_check").fetchall(),
            requests={
                row["request_id"]: row
                for row in rows(
                    "SELECT r.*, y.text AS reply, y.result FROM requests r"
                    " LEFT JOIN replies y ON y.row = r.row"
                )
            },
            calls=rows("SELECT * FROM calls ORDER BY row"),
            sums=_sums(connection),
            counters=dict(connection.execute("SELECT name, value FROM counters").fetchall()),
            locks=rows("SELECT * FROM locks"),
            pauses=rows("SELECT * FROM pauses"),
            providers={
                row["provider"]: json.loads(row["state"])
                for row in rows("SELECT provider, state FROM providers")
            },
            injections=rows("SELECT * FROM injections ORDER BY row"),
            turns=turns,
            spent={row["request_id"]: row["tokens"] or 0 for row in rows(
                "SELECT request_id, tokens FROM requests")},
        )  # fmt: skip


def _sums(connection: sqlite3.Connection) -> dict[str, list[float]]:
    """Return the sums over all calls, from each place that keeps them."""

    def total(table: str, where: str = "1") -> list[float]:
        columns = ", ".join(f"TOTAL({name})" for name in _SUMS)
        return list(connection.execute(f"SELECT {columns} FROM {table} WHERE {where}").fetchone())

    unfolded = total("usage_unfolded")

    def folded(table: str, where: str) -> list[float]:
        return [a + b for a, b in zip(total(table, where), unfolded, strict=True)]

    return {
        "calls": total("usage_calls"),
        "sessions": total("usage_sessions"),
        **{f"spans of {s} s": folded("usage_spans", f"span_s = {s}") for s in (60, 3600, 86400)},
        **{
            f"facets by {facet}": folded("usage_facets", f"span_s = 86400 AND facet = '{facet}'")
            for facet in ("all", "provider", "model", "agent")
        },
    }


def response_lines(folder: Path, *, whole: bool) -> dict[str, list[Row]]:
    """Return each response file's lines; a last one that is no line is left out unless `whole`.

    Raises ValueError for any other line that is none.
    """
    found: dict[str, list[Row]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        *lines, rest = path.read_bytes().split(b"\n")
        if whole and rest:
            raise ValueError(f"{path.name} ends with half a line: {rest[:80]!r}")
        found[path.name] = [json.loads(line) for line in lines]
    return found
