"""Ids that are handed out before their requests: new, used once, and never another's."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine import reservations
from ksi_tui.engine.reservations import Reservations, number_of
from ksi_tui.engine.store.numbering import NumbersGiven
from ksi_tui.engine.store.writer import GroupConnection
from tests.engine.engine_fixtures import Rig, config, running


async def _reserve(rig: Rig) -> str:
    return str((await rig.emit("completion:reserve"))["request_id"])


async def test_a_reserved_id_becomes_a_request_without_a_look_at_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(config(tmp_path)) as rig:
        request_id = await _reserve(rig)
        assert await _reserve(rig) != request_id

        async def unwanted(*_: Any) -> Any:
            raise AssertionError("it is known to be new")

        monkeypatch.setattr(rig.core.store, "states", unwanted)
        monkeypatch.setattr(rig.core.store, "sessions_named", unwanted)
        assert await rig.submit(request_id=request_id) == request_id
        monkeypatch.undo()
        await rig.ended(request_id)
        report = await rig.status(request_id)
        assert (report["status"], report["session_id"]) == ("completed", request_id)


async def test_it_is_new_only_once(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        request_id = await _reserve(rig)
        both = [
            asyncio.create_task(rig.emit("completion:async", prompt=p, request_id=request_id))
            for p in ("a", "b")
        ]
        one, other = await asyncio.gather(*both)
        assert not one.get("duplicate")
        assert other["duplicate"]
        await rig.ended(request_id)
        again = await rig.emit("completion:async", prompt="c", request_id=request_id)
        assert (again["duplicate"], again["status"]) == (True, "completed")
        twice = [{"prompt": "d", "request_id": await _reserve(rig)}] * 2
        reply = await rig.emit("completion:batch", requests=twice)
        assert [bool(each.get("duplicate")) for each in reply["accepted"]] == [False, True]
        await rig.settled()
        assert rig.p.prompts == ["a", "d"]


async def test_one_that_runs_out_between_look_and_entry_does_not_run_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(config(tmp_path)) as rig:
        request_id = await _reserve(rig)
        looking, go = asyncio.Event(), asyncio.Event()
        states = rig.core.store.states

        async def slow(ids: Any) -> Any:
            looking.set()
            await go.wait()
            return await states(ids)

        monkeypatch.setattr(rig.core.store, "states", slow)
        items = [{"prompt": "x", "request_id": "named"}, {"prompt": "b", "request_id": request_id}]
        late = asyncio.create_task(rig.emit("completion:batch", requests=items), name="late")
        await looking.wait()
        await rig.submit("a", request_id=request_id)
        await rig.ended(request_id)
        go.set()
        accepted = (await late)["accepted"]
        assert accepted[1]["duplicate"]
        await rig.settled()
        assert sorted(rig.p.prompts) == ["a", "x"]


async def test_the_numbers_go_on_after_it(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        reserved = await _reserve(rig)
        generated = await rig.submit()
        assert generated != reserved
        await rig.submit(request_id=reserved)
        await rig.ended(generated, reserved)
    async with running(config(tmp_path)) as rig:
        assert await rig.submit() not in (reserved, generated)


async def test_one_that_nobody_has_used_is_nobody_elses_in_the_next_life(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        reserved = [await _reserve(rig) for _ in range(3)]
    async with running(config(tmp_path)) as rig:
        other = await rig.submit("theirs")
        assert other == "r-4", "the numbers go on where they were"
        reply = await rig.emit("completion:async", prompt="mine", request_id=reserved[0])
        assert "duplicate" not in reply
        await rig.ended(other, reserved[0])
        assert sorted(rig.p.prompts) == ["mine", "theirs"]


async def test_nor_after_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservations, "STEP", 10)
    async with running(config(tmp_path)) as rig:
        await rig.submit(request_id="r-77")
        for number in range(78, 118):
            assert await _reserve(rig) == f"r-{number}"
            if number % 7 == 0:
                later = tmp_path / str(number)
                _as_a_crash_leaves_it(tmp_path, later)
                async with running(config(later)) as other:
                    assert number < number_of(await other.submit()) <= number + 16


async def test_a_write_gives_many_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservations, "STEP", 10)
    async with running(config(tmp_path)) as rig:
        written: list[NumbersGiven] = []
        write = rig.core.store.write

        def counted(*writes: Any) -> asyncio.Future[None]:
            written.extend(each for each in writes if isinstance(each, NumbersGiven))
            return write(*writes)

        monkeypatch.setattr(rig.core.store, "write", counted)
        ids = await asyncio.gather(*(_reserve(rig) for _ in range(25)))
        assert len({*ids, *[await _reserve(rig) for _ in range(25)]}) == 50
        assert len(written) <= 10


async def test_none_leaves_while_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = GroupConnection.commit

    def broken(_: GroupConnection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async with running(config(tmp_path)) as rig:
        monkeypatch.setattr(GroupConnection, "commit", broken)
        assert (await rig.emit("completion:reserve"))["code"] == "not_ready"
        monkeypatch.setattr(GroupConnection, "commit", commit)
        assert number_of(await _reserve(rig))


def _as_a_crash_leaves_it(folder: Path, copied: Path) -> None:
    copied.mkdir()
    with (
        closing(sqlite3.connect(folder / "ksi.db")) as here,
        closing(sqlite3.connect(copied / "ksi.db")) as there,
    ):
        here.backup(there)


async def test_an_engine_that_ends_hands_out_none(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        rig.core.draining = True
        assert (await rig.emit("completion:reserve"))["code"] == "not_ready"
        rig.core.draining = False


def test_what_nobody_uses_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservations, "MOST", 2)
    kept = Reservations()
    for name in "abc":
        kept.add(name)
    assert [name in kept for name in "abc"] == [False, True, True]
    kept.use("b")
    kept.use("unknown")
    assert "b" not in kept
