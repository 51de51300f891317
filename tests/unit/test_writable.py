"""What a run says of a database that cannot be written: once for each reason, and once after it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest

from ksi_tui.client import EngineClient
from ksi_tui.commands import writable
from ksi_tui.engine.errors import StoreUnavailable
from ksi_tui.engine.views import Level, Snapshot, Verdict
from tests.door.visiting import NO_TOTALS

FULL = "cannot write the database k.db: the disk is full; free some space"
LOCKED = "cannot write the database k.db: another program holds it locked; end that one"


class Looked:
    """An engine whose database is as a test says, one look after another."""

    def __init__(self, faults: list[str | None], *, damaged: bool = False) -> None:
        self._faults: Iterator[str | None] = iter(faults)
        self._damaged = damaged

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        assert name == "completion:status"
        return {"database": {"fault": "…", "damaged": self._damaged}}

    def snapshot(self, _: object) -> Snapshot:
        fault = next(self._faults, "over")
        if fault == "over":
            raise asyncio.CancelledError
        level = Level.READ_ONLY if fault else Level.PAUSED
        verdict = Verdict(level=level, cause=fault or "engine paused by op1")
        return Snapshot(at=1_800_000_000.0, verdict=verdict, totals=NO_TOTALS)


async def _watched(engine: Looked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writable, "_LOOK_EVERY_S", 0)
    await writable.watched(cast(EngineClient, engine))


async def test_each_reason_is_told_once_and_its_end_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(asyncio.CancelledError):
        await _watched(Looked([None, FULL, FULL, LOCKED, None, None, FULL]), monkeypatch)
    assert capsys.readouterr().err.splitlines() == [
        f"ksi-tui: {FULL}; what has finished waits for that",
        f"ksi-tui: {LOCKED}; what has finished waits for that",
        "ksi-tui: the database can be written again",
        f"ksi-tui: {FULL}; what has finished waits for that",
    ]


async def test_a_broken_one_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StoreUnavailable, match="it is damaged"):
        await _watched(Looked(["it is damaged"], damaged=True), monkeypatch)
    assert capsys.readouterr().err == ""
