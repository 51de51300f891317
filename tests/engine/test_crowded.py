"""That a crowd which is written at once is what single submits would have left."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from ksi_tui.engine import CompletionEngine
from tests.engine.crowded import STUCK, fill
from tests.engine.engine_fixtures import config, provider

QUEUED, SESSIONS = 12, 5
_OF_ITS_TIME = {"queued_at", "created_at", "last_activity", "since", "at"}
_OF_THE_LOAD = {"schema_version", "journal", "actions", "actions_told"}


def _rows(database: Path) -> Mapping[str, list[dict[str, Any]]]:
    """Return all rows of all tables, without what differs with the time they were written at."""
    with closing(sqlite3.connect(database)) as raw:
        raw.row_factory = sqlite3.Row
        return {
            name: list(_timeless(raw.execute(f"SELECT * FROM {name}")))
            for (name,) in raw.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            ).fetchall()
            if name not in _OF_THE_LOAD
        }


def _timeless(rows: Iterator[sqlite3.Row]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {name: row[name] for name in row.keys() if name not in _OF_ITS_TIME}  # noqa: SIM118


async def test_a_filled_backlog_is_what_submits_leave(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider(STUCK, "stuck/*")])
    async with CompletionEngine(settings) as engine:
        assert "error" not in await engine.emit("queue:pause", {"scope": "provider", "id": STUCK})
        for number in range(1, QUEUED + 1):
            asked = {
                "request_id": f"old-{number}",
                "session_id": f"s-{number % SESSIONS}",
                "prompt": "question",
                "model": "stuck/x",
            }
            assert "error" not in await engine.emit("completion:async", asked)
    filled = tmp_path / "filled" / "ksi.db"
    fill(filled, queued=QUEUED, sessions=SESSIONS)
    submitted = _rows(tmp_path / "ksi.db")
    assert submitted["requests"]
    assert _rows(filled) == submitted
