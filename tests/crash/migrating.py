"""Rounds on a database of an older version, killed while it becomes one of today."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from ksi_tui.engine.store import migrations
from tests.crash import load
from tests.crash.home import Life, must
from tests.crash.judge import Judge
from tests.crash.load import Record, at_the_door
from tests.crash.points import MIGRATING
from tests.crash.stage import MEETS_S, Round, all_ended, clean, ended_well, killed_in

POINTS: Final = {point.name: point for point in MIGRATING}
_OLD_S: Final = 3600.0
_SUMS: Final = (
    "requests, calls, input, cache_read, cache_write, output, reasoning, cost, unpriced, estimated,"
    " waste_tokens, waste_cost, waste_calls, waste_s"
)
_TOTALS: Final = ", ".join(f"SUM({name})" for name in _SUMS.split(", "))


async def migrated(round_: Round) -> None:
    """Kill the engine in mid-migration, then let it migrate and finish what was left."""
    home, dice = round_.home, round_.dice
    home.configure(load.SETTINGS)
    record = Record()
    make(home.database, dice, record)
    judge = Judge(home=home, record=record)
    for _ in range(dice.randint(2, 3)):
        life = await home.start("serve", traps=[POINTS[round_.kind].drawn(dice)])
        round_.note(round_.kind, met=await killed_in(life, MEETS_S))
        clean(life)
        judge.after_a_kill()
    await _finished(await home.start("serve"))
    found = judge.at_the_end()
    states = {each["state"] for each in found.requests.values()}
    must(states == {"completed"}, f"the old requests are {states}")


async def _finished(life: Life) -> None:
    try:
        must(await life.serves(), f"it does not start again: {life.err}")
        async with at_the_door(life.home.socket) as visitor:
            await all_ended(visitor)
        await ended_well(life)
    finally:
        life.kill()


def make(
    database: Path, dice: random.Random, record: Record, *, old_s: float | None = None
) -> set[str]:
    """Make a database as the first version left it, and bring it to some older one.

    With `old_s` all of its requests have ended, so many seconds ago. Returns who has ended.
    """
    database.parent.mkdir(parents=True, mode=0o700)
    done, waiting = dice.randint(1, 20), dice.randint(1, 20)
    if old_s is not None:
        done, waiting = done + 100, 0
    began = time.time() - (old_s or _OLD_S)
    version = dice.randint(1, migrations.latest() - 1)
    with closing(sqlite3.connect(database, isolation_level=None)) as raw:
        _migrate(raw, 1)
        for row in range(1, done + waiting + 1):
            _add(raw, row, began + row, "completed" if row <= done else "queued", record)
        if waiting > 1:
            raw.execute("UPDATE requests SET state = 'processing' WHERE row = ?", (done + 1,))
        counters = {
            "completed": done,
            "queued": waiting - (waiting > 1),
            "processing": int(waiting > 1),
            "next_place": done + waiting + 1,
            "next_number": 1000,
            "next_finish_seq": done + 1,
        }
        for name, value in counters.items():
            raw.execute("UPDATE counters SET value = ? WHERE name = ?", (value, name))
        _sum(raw)
        for number in range(2, version + 1):
            _migrate(raw, number)
        raw.execute("PRAGMA journal_mode=WAL")
    return {f"old-{row}" for row in range(1, done + 1)}


def _migrate(raw: sqlite3.Connection, number: int) -> None:
    sql = migrations.migrations()[number - 1].sql
    mark = f"PRAGMA application_id={migrations.APPLICATION_ID}; PRAGMA user_version={number}"
    raw.executescript(f"BEGIN; {sql}; {mark}; COMMIT")


def _add(raw: sqlite3.Connection, row: int, at: float, state: str, record: Record) -> None:
    request_id, session_id = f"old-{row}", f"s{row % 4}"
    record.accepted[request_id] = at
    raw.execute(
        "INSERT INTO requests (row, request_id, session_id, asked_model, model, state, rank, place,"
        " queued_at, max_attempts, timeout_s, needs_mcp, lock_fails)"
        " VALUES (?1, ?2, ?3, 'sim/echo', 'sim/echo', ?4, 3, ?1, ?5, 3, 900, 0, 0)",
        (row, request_id, session_id, state, at),
    )
    asked = {"prompt": request_id, "max_attempts": 3, "metadata": {"row": row}}
    raw.execute("INSERT INTO payloads VALUES (?, ?)", (row, json.dumps(asked)))
    raw.execute(
        "INSERT INTO sessions VALUES (?1, ?2, ?2, 1, 0, NULL) ON CONFLICT DO UPDATE SET"
        " request_count = request_count + 1",
        (session_id, at),
    )
    if state == "completed":
        raw.execute(
            "UPDATE requests SET started_at = ?2, finished_at = ?2 + 0.5, finish_seq = ?1,"
            " attempts = 1, walks = 1, provider = 'one', answered_model = 'sim/echo'"
            " WHERE row = ?1",
            (row, at),
        )
        raw.execute(
            "INSERT INTO replies VALUES (?, NULL, ?)", (row, _result(request_id, session_id))
        )
        raw.execute(
            "INSERT INTO calls (request_id, attempt, ordinal, provider, model, session_id,"
            " started_at, finished_at, outcome, asked_model, input, cache_read, cache_write,"
            " output, reasoning, estimated, cost)"
            " VALUES (?1, 1, 1, 'one', 'sim/echo', ?2, ?3, ?3 + 0.5, 'answered',"
            " 'sim/echo', 3, 1, 0, 2, 0, 0, 0.25)",
            (request_id, session_id, at),
        )


def _result(request_id: str, session_id: str) -> str:
    message = {"role": "assistant", "content": request_id}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    ksi: dict[str, Any] = {"request_id": request_id, "session_id": session_id}
    return json.dumps({"ksi": ksi, "response": {"choices": [choice]}})


def _sum(raw: sqlite3.Connection) -> None:
    """Fill the sums of the first version from its calls."""
    raw.execute(
        f"INSERT INTO usage_spans SELECT span_s, CAST(finished_at AS INTEGER) / span_s * span_s,"
        f" provider, model, agent_id, {_TOTALS} FROM usage_calls,"
        " (SELECT 60 AS span_s UNION ALL SELECT 3600 UNION ALL SELECT 86400) GROUP BY 1, 2, 3, 4, 5"
    )
    raw.execute(
        f"INSERT INTO usage_sessions SELECT session_id, provider, model, agent_id, {_TOTALS}"
        " FROM usage_calls GROUP BY 1, 2, 3, 4"
    )
