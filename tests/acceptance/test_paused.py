"""A database in which something is paused, met by commands that cannot resume it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing

from ksi_tui.engine.models import Pause, PauseScope
from ksi_tui.engine.store.base import PauseSaved
from ksi_tui.engine.store.sqlite import open_store
from tests.acceptance.conftest import Machine


def pause(machine: Machine, scope: PauseScope, id_: str | None = None) -> None:
    """Leave behind what an operator has paused."""

    async def write() -> None:
        store = await open_store(machine.database)
        since = 1_800_000_000.0
        paused = Pause(scope=scope, id=id_, since=since, by="op1", reason="deploy\x1b[2J")
        await store.write(PauseSaved(pause=paused))
        await store.aclose()

    asyncio.run(write())


def resume_all(machine: Machine) -> None:
    with closing(sqlite3.connect(machine.database)) as raw:
        raw.execute("DELETE FROM pauses")
        raw.commit()


def test_a_paused_engine_takes_the_input_says_who_paused_it_and_ends(machine: Machine) -> None:
    pause(machine, PauseScope.ENGINE)
    run = machine.run("run", "--json", given="one\ntwo\n")
    assert (run.code, run.out) == (1, "")
    assert "2 of 2 not finished" in run.err
    assert "engine (paused by op1: deploy" in run.err
    assert "since 2027-01-15T08:00:00" in run.err
    assert "run --resume" in run.err
    assert "\x1b" not in run.err

    resumed = machine.run("run", "--resume")
    assert (resumed.code, resumed.out) == (1, "")
    assert "2 of 2 not finished" in resumed.err

    status = machine.run("status")
    assert "held by engine (paused by op1: deploy" in status.out
    assert "\x1b" not in status.out
    assert json.loads(machine.run("status", "--json").out)["paused"][0]["by"] == "op1"

    resume_all(machine)
    done = machine.run("run", "--resume", "--json")
    assert done.code == 0
    assert [record["text"] for record in done.records] == ["one", "two"]
    assert "held by" not in machine.run("status").out


def test_a_paused_session_holds_its_own_and_the_others_end(machine: Machine) -> None:
    pause(machine, PauseScope.SESSION, "acme")
    lines = [
        {"prompt": "held", "session_id": "acme"},
        {"prompt": "behind", "session_id": "acme"},
        {"prompt": "free", "session_id": "b"},
    ]
    run = machine.run("run", machine.file("in", lines), "--json")
    assert run.code == 1
    assert [record["text"] for record in run.records] == ["free"]
    assert "2 of 3 not finished, held by session acme (paused by op1: deploy" in run.err
    assert json.loads(machine.run("status", "--json").out)["unfinished"] == 2


def test_a_pause_that_is_in_nobodys_way_is_not_mentioned(machine: Machine) -> None:
    pause(machine, PauseScope.SESSION, "acme")
    run = machine.run("run", given="hello\n")
    assert (run.code, run.err) == (0, "")
