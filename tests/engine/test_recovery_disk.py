"""A disk that is full for a while: nothing is promised that is not on it, nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ksi_tui.engine import dispatch
from ksi_tui.engine.models import State
from ksi_tui.engine.store.sqlite import SqliteStore
from ksi_tui.engine.views import Level
from tests.engine.engine_fixtures import Rig, config, held, running, until, until_turn


async def limit(rig: Rig, pages: int) -> None:
    store = rig.core.store
    assert isinstance(store, SqliteStore)
    await store._writer._connection.execute(f"PRAGMA max_page_count={pages}")


async def fill(rig: Rig) -> None:
    """Let the database not grow by a single page; it is filled up to there."""
    await limit(rig, 1)
    for _ in range(50):
        reply = await rig.emit("completion:async", prompt="x" * 20_000, session_id="filler")
        if "code" in reply:
            break
    assert reply["code"] == "not_ready"
    assert "nothing was accepted" in reply["error"]


@asynccontextmanager
async def full_disk(rig: Rig) -> AsyncIterator[None]:
    """Fill the disk for a while."""
    await fill(rig)
    try:
        yield
    finally:
        await limit(rig, 2**30)


async def test_nothing_is_accepted_while_nothing_can_be_kept(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.submit("runs", session_id="s")
        await rig.calls(1)
        async with full_disk(rig):
            before = dict(rig.core.counts)
            refused = await rig.emit("completion:async", prompt="y" * 20_000, request_id="no")
            assert refused["code"] == "not_ready"
            shot = rig.engine.snapshot()
            assert shot.verdict.level is Level.READ_ONLY
            assert shot.notices == (shot.verdict.cause,)
            assert dict(rig.core.counts) == before
            assert rig.core.entering == {}
        assert "code" not in await rig.emit("completion:async", prompt="z", request_id="no")
        assert rig.engine.snapshot().verdict.level is Level.OK


async def test_an_answer_waits_for_the_disk_before_it_is_told(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit("runs", session_id="s")
        behind = await rig.submit("behind", session_id="s")
        (up,) = await rig.calls(1)
        async with full_disk(rig):
            up.answer = "a" * 50_000
            up.go.set()
            await until_turn(lambda: request_id in rig.core.finishing)
            await until(lambda: rig.core.store.fault is not None)
            assert rig.events("completion:result") == []
            assert "behind" not in rig.p.prompts
            told = asyncio.create_task(rig.emit("completion:cancel", request_id=behind))
        await rig.event("completion:result", request_id)
        assert (await told)["status"] == "cancelled"
        assert (await rig.core.store.states([request_id]))[request_id] is State.COMPLETED


async def test_a_disk_that_is_well_again_is_found_so_though_nobody_writes(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        async with full_disk(rig):
            assert rig.engine.snapshot().verdict.level is Level.READ_ONLY
        await until(lambda: rig.engine.snapshot().verdict.level is Level.OK)


async def test_an_end_that_is_not_on_disk_is_told_as_interrupted_and_goes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "WRITTEN_WITHIN_S", 0.2)
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit("runs", session_id="s")
        (up,) = await rig.calls(1)
        await fill(rig)
        up.answer = "a" * 50_000
        up.go.set()
        await until_turn(lambda: request_id in rig.core.finishing)
        await until(lambda: rig.core.store.fault is not None)
        assert (await rig.emit("system:shutdown", grace_s=0))["interrupted"] == 1
    async with running(config(tmp_path)) as rig:
        await rig.ended(request_id)
        assert rig.p.prompts == ["runs"]
