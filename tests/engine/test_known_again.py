"""Requests that are sent again in the moment in which they end: they are known all the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from ksi_tui.engine.models import State
from tests.engine.engine_fixtures import Rig, Upstream, config, held, in_turn, running, until

REQUESTS = [
    {"prompt": "x", "request_id": "ends", "session_id": "s"},
    {"prompt": "y", "request_id": "new", "session_id": "t"},
]


def _ends_meanwhile(rig: Rig, up: Upstream, patch: pytest.MonkeyPatch) -> None:
    """Let a call answer, and its request end, while the store is asked who it knows."""
    store = rig.core.store
    real = store.states

    async def states(request_ids: Sequence[str]) -> Mapping[str, State]:
        found = await real(request_ids)
        up.go.set()
        await until(lambda: "ends" not in rig.core.tickets)
        return found

    patch.setattr(store, "states", states)


async def test_a_batch_knows_who_ends_while_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(config(tmp_path), scripts={"p": in_turn(held)}) as rig:
        await rig.emit("completion:async", **REQUESTS[0])
        (up,) = await rig.calls(1)
        _ends_meanwhile(rig, up, monkeypatch)
        ended, new = (await rig.emit("completion:batch", requests=REQUESTS))["accepted"]
        assert (ended["duplicate"], ended["status"]) == (True, "completed")
        assert new["status"] == "queued"
        monkeypatch.undo()
        (await rig.calls(2))[1].go.set()
        await rig.ended("new")
        assert rig.p.prompts == ["x", "y"]


async def test_a_checkpoint_skips_who_ends_while_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [{"request_id": r["request_id"], "data": {"prompt": r["prompt"]}} for r in REQUESTS]
    checkpoint = {"session_queues": {"s": {"items": items}}}
    async with running(config(tmp_path), scripts={"p": in_turn(held)}) as rig:
        await rig.emit("completion:async", **REQUESTS[0])
        (up,) = await rig.calls(1)
        _ends_meanwhile(rig, up, monkeypatch)
        reply = await rig.emit("checkpoint:restore", **checkpoint)
        assert reply["restored"] == 1
        assert reply["skipped"] == ["ends"]
        monkeypatch.undo()
        (await rig.calls(2))[1].go.set()
        await rig.ended("new")
