"""Rounds on the clean-up: old requests go as a whole or not at all, and are filed before."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from typing import Final

from tests.crash import load
from tests.crash.home import Home, Life, must
from tests.crash.ledger import response_lines
from tests.crash.load import Record
from tests.crash.migrating import make
from tests.crash.points import PRUNING
from tests.crash.stage import Round, clean, ended_well, killed_in

POINTS: Final = {f"clean-up: {point.name}": point for point in PRUNING}
_DAYS_S: Final = 40 * 86_400.0
_MEETS_S: Final = 10.0
_CLEANED_S: Final = 1.2
"""After so long the first round of a life's clean-up is under way; whether it ends is all one."""


async def pruned(round_: Round) -> None:
    """Kill the engine while it takes away what is over; it goes on with it later."""
    home, dice = round_.home, round_.dice
    home.configure(load.SETTINGS)
    ids = make(home.database, dice, Record(), old_s=_DAYS_S)
    for trap in (POINTS[round_.kind], POINTS[round_.kind], None):
        life = await home.start("serve", traps=[trap.drawn(dice)] if trap is not None else [])
        if trap is not None:
            round_.note(round_.kind, met=await killed_in(life, _MEETS_S))
            clean(life)
        else:
            await _lived(life)
        _whole(home, ids)
    filed = _filed(home)
    must(set(filed) == ids, f"of {len(ids)} results {len(filed)} are in files")
    must(max(filed.values()) == 1, "a result is filed twice")


async def _lived(life: Life) -> None:
    try:
        must(await life.serves(), f"it does not start again: {life.err}")
        await asyncio.sleep(_CLEANED_S)
        await ended_well(life)
    finally:
        life.kill()


def _filed(home: Home) -> Counter[str]:
    lines = response_lines(home.state / "responses", whole=False).values()
    return Counter(line["ksi"]["request_id"] for each in lines for line in each)


def _whole(home: Home, ids: set[str]) -> None:
    """Requests are there with all that is theirs, or gone with all of it; their sums stay."""
    with closing(sqlite3.connect(home.copied())) as raw:
        must(_one(raw, "PRAGMA integrity_check") == "ok", "the database is damaged")
        there = {row[0] for row in raw.execute("SELECT request_id FROM requests")}
        counted = _one(raw, "SELECT SUM(value) FROM counters WHERE name IN ('completed', 'queued')")
        must(counted == len(there), f"{counted} counted, {len(there)} there")
        for table, key in (("payloads", "row"), ("replies", "row"), ("calls", "request_id")):
            lost = _one(
                raw, f"SELECT COUNT(*) FROM {table} WHERE {key} NOT IN (SELECT {key} FROM requests)"
            )
            must(lost == 0, f"{lost} rows of {table} are nobody's")
        sums = _one(raw, "SELECT TOTAL(calls) FROM usage_spans WHERE span_s = 86400")
        must(sums == len(ids), f"sums of {sums} calls, there were {len(ids)}")
    gone = ids - there
    must(gone <= set(_filed(home)), f"gone and not filed: {sorted(gone - set(_filed(home)))}")


def _one(raw: sqlite3.Connection, question: str) -> object:
    return raw.execute(question).fetchone()[0]
