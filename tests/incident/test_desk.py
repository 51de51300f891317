"""The desk takes a moment at one refresh and packs it at the next; a bundle lacks neither."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from ksi_tui.client import EngineClient, Snapshot, SnapshotQuery
from ksi_tui.incident import desk
from ksi_tui.incident.desk import IncidentDesk
from ksi_tui.incident.recorder import EVERY_S, Recorder
from ksi_tui.incident.save import Wanted
from tests.ui.scripted import busy


class Looked:
    """An engine that counts how often it is looked at."""

    def __init__(self) -> None:
        self.times = 0

    def snapshot(self, query: SnapshotQuery | None = None) -> Snapshot:
        self.times += 1
        return busy()


def test_a_moment_is_taken_once_and_is_in_a_bundle_that_is_saved_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames: list[int] = []

    async def saved(_client: object, recorder: Recorder, *_: object) -> None:
        frames.append(len(recorder))

    monkeypatch.setattr(desk, "save_bundle", saved)
    engine, at = Looked(), IncidentDesk(dict)
    client = cast(EngineClient, engine)

    def save() -> None:
        asyncio.run(at.save(client, (), cast(Wanted, None), cast(Any, None)))

    at.look(client, 100.0)
    save()
    for beat in range(1, 10):
        at.look(client, 100.0 + beat / 10)
    save()
    at.look(client, 100.0 + EVERY_S)
    at.look(client, 100.1 + EVERY_S)
    save()
    assert engine.times == 2
    assert frames == [1, 1, 2]
