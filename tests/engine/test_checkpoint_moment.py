"""A checkpoint of an engine at work is of one moment, whatever ends while it is collected."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from ksi_tui.engine.errors import StoreUnavailable
from ksi_tui.engine.models import State
from ksi_tui.engine.store.reader import SqliteReader
from ksi_tui.engine.store.records import SessionFound
from ksi_tui.engine.store.sqlite import open_store
from tests.engine.engine_fixtures import config, held, running


async def test_what_ends_meanwhile_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.emit(
            "injection:inject",
            session_id="s",
            content="hint",
            mode="next",
            position="after_prompt",
        )
        name = await rig.submit("ask", session_id="s")
        (up,) = await rig.calls(1)
        sent = up.prompt
        read = SqliteReader.session

        async def read_late(self: SqliteReader, session_id: str) -> SessionFound | None:
            up.go.set()
            await rig.ended(name)
            return await read(self, session_id)

        with monkeypatch.context() as patched:
            patched.setattr(SqliteReader, "session", read_late)
            checkpoint = json.loads(json.dumps(await rig.emit("checkpoint:collect")))
        assert (await rig.status(name))["status"] == State.COMPLETED
    assert [item["request_id"] for item in checkpoint["session_queues"]["s"]["items"]] == [name]
    assert checkpoint["active_completions"][name]["session_id"] == "s"
    assert checkpoint["sessions"]["s"]["transcript"] == []
    assert [each["request_id"] for each in checkpoint["injections"]["pending"]] == [name]
    (tmp_path / "other").mkdir()
    async with running(config(tmp_path / "other")) as rig:
        reply = await rig.engine.emit("checkpoint:restore", checkpoint)
        assert reply["restored"] == 1
        await rig.ended(name)
        (again,) = rig.p.calls
        assert (again.prompt, list(again.spec.history)) == (sent, [])
        assert "hint" in sent


async def test_a_store_that_closes_waits_for_who_looks_at_a_moment(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "ksi.db")
    async with store.moment() as moment:
        closing = asyncio.create_task(store.aclose())
        await store.write()
        assert (await moment.load()).unfinished == []
        assert not closing.done()
    await closing
    with pytest.raises(StoreUnavailable, match="is closed"):
        async with store.moment():
            pass
