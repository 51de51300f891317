"""Of many calls that are cancelled at once, every upstream is closed before anything is written."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ksi_tui.engine import bulk
from ksi_tui.engine.providers.base import CallObserver, closes_ahead
from tests.engine.engine_fixtures import Rig, ScriptedProvider, config, held, running

COUNT = 30


class Ahead(ScriptedProvider):
    """A scripted provider that closes ahead, and notes how many tasks it cancelled by then."""

    closed_ahead: list[int]

    def close_ahead(self, observer: CallObserver) -> None:
        up = next(up for up in self.calls if up.observer is observer)
        if not up.over and up.answer != "closed":
            up.answer = "closed"
            self.closed_ahead.append(sum(1 for each in self.calls if each.cancelled))
            up.close()


async def in_flight(rig: Rig) -> list[str]:
    rig.p.__class__ = Ahead
    rig.p.closed_ahead = []  # type: ignore[attr-defined]
    rig.p.closes_at_once = False
    rig.p.script = held
    assert closes_ahead(rig.p)
    ids = [await rig.submit(f"q{number}") for number in range(COUNT)]
    await rig.calls(COUNT)
    return ids


async def test_all_are_closed_before_the_first_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "SLICE_S", -1)  # the loop turns after each
    async with running(config(tmp_path, engine={"max_concurrency": COUNT})) as rig:
        ids = await in_flight(rig)
        reply = await rig.emit("completion:cancel", request_ids=ids)
        assert [each["changed"] for each in reply["cancelled"]] == [True] * COUNT
        assert rig.p.closed_ahead == [0] * COUNT  # type: ignore[attr-defined]
        await rig.settled()
        for request_id in ids:
            status = await rig.status(request_id)
            (call,) = status["attempts"][0]["calls"]
            assert (status["status"], call["outcome"]) == ("cancelled", "cancelled")
            assert call["upstream_closed_ms"] == 1.0
        assert len(rig.events("completion:upstream_closed")) == COUNT


async def test_one_is_closed_before_it_is_ended(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        rig.p.__class__ = Ahead
        rig.p.closed_ahead = []  # type: ignore[attr-defined]
        rig.p.closes_at_once = False
        rig.p.script = held
        request_id = await rig.submit()
        await rig.calls(1)
        await rig.emit("completion:cancel", request_id=request_id)
        assert rig.p.closed_ahead == [0]  # type: ignore[attr-defined]
        await rig.settled()


async def test_who_is_closed_ahead_comes_to_an_end_though_the_caller_goes_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "SLICE_S", -1)
    async with running(config(tmp_path, engine={"max_concurrency": COUNT})) as rig:
        ids = await in_flight(rig)
        task = asyncio.create_task(rig.emit("completion:cancel", request_ids=ids))
        while not rig.p.closed_ahead:  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await rig.ended(*ids)
        await rig.settled()
        assert {(await rig.status(each))["status"] for each in ids} == {"cancelled"}
