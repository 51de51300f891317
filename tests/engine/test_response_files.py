"""Response files of a whole engine: what is in them, and what happens when they cannot be."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.errors import ConfigError, ErrorKind
from ksi_tui.engine.store import migrations
from ksi_tui.engine.store.response_files import file_name
from ksi_tui.engine.store.sqlite import open_store
from ksi_tui.engine.upkeep import response_writer
from tests.engine.engine_fixtures import (
    HandClock,
    Rig,
    answers,
    config,
    fails,
    held,
    in_turn,
    running,
    until,
)
from tests.engine.store_values import accepted, envelope, finished, started


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_writer, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(response_writer, "FIRST_DELAY_S", 0.001)
    monkeypatch.setattr(response_writer, "LAST_DELAY_S", 0.01)
    monkeypatch.setattr(response_writer, "REST_FACTOR", 0.0)


def lines(folder: Path, session_id: str) -> list[dict[str, Any]]:
    """Return the envelopes in a session's file."""
    path = folder / "responses" / file_name(session_id)
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def ids(folder: Path, session_id: str) -> list[str]:
    return [line["ksi"]["request_id"] for line in lines(folder, session_id)]


async def filed(rig: Rig) -> None:
    """Wait until no result is without its file."""
    await rig.settled()
    await until(lambda: rig.engine.snapshot().housekeeping.unfiled == 0, "all are in files")


async def test_each_result_is_a_line_as_it_was_told(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        sent = [await rig.submit(f"p{n}\nü", session_id="acme/7") for n in range(3)]
        other = await rig.submit(session_id="b")
        await rig.ended(*sent, other)
        await filed(rig)
        told = [rig.events("completion:result", each)[0]["result"] for each in sent]
        assert lines(tmp_path, "acme/7") == told
        assert ids(tmp_path, "b") == [other]
        status = await rig.emit("completion:status")
        assert status["housekeeping"]["response_files"] == {"pending": 0, "fault": None}
    assert lines(tmp_path, "acme/7") == told
    folder = tmp_path / "responses"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert {path.name for path in folder.iterdir()} == {file_name("acme/7"), file_name("b")}


async def test_what_failed_or_was_cancelled_has_no_line(tmp_path: Path) -> None:
    script = in_turn(fails(ErrorKind.INVALID_REQUEST), held, answers)
    async with running(config(tmp_path), scripts={"p": script}) as rig:
        failed = await rig.submit(session_id="s")
        await rig.ended(failed)
        cancelled = await rig.submit(session_id="s")
        await rig.calls(2)
        await rig.emit("completion:cancel", request_id=cancelled)
        await rig.ended(cancelled, good := await rig.submit(session_id="s"))
    assert ids(tmp_path, "s") == [good]


async def test_the_end_of_the_engine_waits_for_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_writer, "LOOK_EVERY_S", 3600)
    async with running(config(tmp_path)) as rig:
        await rig.ended(await rig.submit(session_id="first"))
        await until(lambda: rig.core.upkeep.filed_seq > 0 or rig.core.next_finish_seq > 1)
        sent = [await rig.submit(session_id="s") for _ in range(5)]
        await rig.ended(*sent)
    assert ids(tmp_path, "s") == sent


async def test_it_goes_on_where_an_earlier_life_stopped(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        (tmp_path / "responses").write_text("in the way")
        first = await rig.submit(session_id="s")
        await rig.ended(first)
        await until(lambda: rig.core.upkeep.response_fault)
    (tmp_path / "responses").unlink()
    async with running(config(tmp_path)) as rig:
        assert rig.engine.snapshot().housekeeping.unfiled == 1
        second = await rig.submit(session_id="s")
        await rig.ended(second)
    async with running(config(tmp_path)) as rig:
        assert rig.engine.snapshot().housekeeping.unfiled == 0
        third = await rig.submit(session_id="s")
        await rig.ended(third)
    assert ids(tmp_path, "s") == [first, second, third]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("link", "it is a symbolic link, which is not followed; move it away"),
        ("folder", "it is a folder; move it away"),
        ("pipe", "it is no plain file; move it away"),
    ],
)
async def test_what_stands_in_the_way_is_named_and_waited_for(
    tmp_path: Path, kind: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    path = tmp_path / "responses" / file_name("s")
    path.parent.mkdir()
    match kind:
        case "link":
            path.symlink_to(target)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
    async with running(config(tmp_path)) as rig:
        sent = [await rig.submit(session_id="s") for _ in range(2)]
        with caplog.at_level(logging.ERROR):
            await rig.ended(*sent)
            await until(lambda: rig.core.upkeep.response_fault)
            fault = f"cannot write the response file {path}: {reason}"
            shot = rig.engine.snapshot()
            assert shot.notices == (fault,)
            assert (shot.housekeeping.unfiled, shot.housekeeping.response_fault) == (2, fault)
            status = await rig.emit("completion:status")
            assert status["housekeeping"]["response_files"] == {"pending": 2, "fault": fault}
            await rig.ended(await rig.submit(session_id="other"))
        assert sum(fault in record.getMessage() for record in caplog.records) == 1
        assert target.read_text() == "precious"
        path.rmdir() if kind == "folder" else path.unlink()
        await filed(rig)
        assert rig.engine.snapshot().notices == ()
        assert ids(tmp_path, "s") == sent


@pytest.mark.parametrize("kind", ["file", "pipe", "circle", "dangling"])
async def test_an_engine_does_not_start_where_no_folder_can_be(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "responses"
    match kind:
        case "file":
            place.touch()
        case "pipe":
            os.mkfifo(place)
        case "circle":
            place.symlink_to(place)
        case "dangling":
            place.symlink_to("nowhere/at/all")
    with pytest.raises(ConfigError, match="is no folder; move it away"):
        async with running(config(tmp_path)):
            pass


async def test_a_fault_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        (tmp_path / "responses").write_text("in the way")
        await rig.ended(await rig.submit(session_id="s"))
    assert (tmp_path / "responses").read_text() == "in the way"


@pytest.mark.parametrize("how", ["removed", "renamed", "shortened", "folder removed"])
async def test_files_are_their_users(tmp_path: Path, how: str) -> None:
    path = tmp_path / "responses" / file_name("s")
    async with running(config(tmp_path)) as rig:
        first = await rig.submit(session_id="s")
        await rig.ended(first)
        await filed(rig)
        match how:
            case "removed":
                path.unlink()
            case "renamed":
                path.rename(path.with_suffix(".old"))
            case "shortened":
                path.write_bytes(path.read_bytes()[:10])
            case "folder removed":
                path.unlink()
                path.parent.rmdir()
        second = await rig.submit(session_id="s")
        await rig.ended(second)
        await filed(rig)
    assert json.loads(path.read_text().splitlines()[-1])["ksi"]["request_id"] == second
    if how == "renamed":
        assert first in path.with_suffix(".old").read_text()
    assert len(path.read_text().splitlines()) == (2 if how == "shortened" else 1)


async def test_results_of_an_older_database_are_written_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = [each for each in migrations.migrations() if each.number < 5]
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "migrations", lambda: tuple(older))
        store = await open_store(tmp_path / "ksi.db")
        for number in (1, 2):
            await store.write(accepted(number, session_id="s"), started(number))
            await store.write(
                finished(number, number, session_id="s", result=envelope(f"text {number}"))
            )
        await store.aclose()
    with closing(sqlite3.connect(tmp_path / "ksi.db")) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (older[-1].number,)
    async with running(config(tmp_path), clock=HandClock(1_700_000_100.0)) as rig:
        assert rig.engine.snapshot().housekeeping.unfiled == 2
        await filed(rig)
    assert lines(tmp_path, "s") == [envelope("text 1"), envelope("text 2")]


async def test_a_batch_is_bounded_by_what_is_in_it(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "ksi.db")
    for number in range(1, 101):
        await store.write(accepted(number), started(number))
        await store.write(finished(number, number, result=envelope("x" * 1000)))
    some = await store.unfiled(0, limit=1000, max_chars=40_000)
    assert 40 <= len(some.results) < 100
    assert some.upto == len(some.results)
    few = await store.unfiled(some.upto, limit=7, max_chars=40_000)
    assert (len(few.results), few.upto) == (7, some.upto + 7)
    again = await store.unfiled(some.upto, upto=few.upto, limit=1, max_chars=1)
    assert (again.results, again.upto) == (few.results, few.upto)
    await store.write(accepted(101), finished(101, 101))
    rest = await store.unfiled(few.upto, limit=1000, max_chars=10**9)
    assert (len(rest.results), rest.upto) == (100 - few.upto, 101)
    await store.aclose()
